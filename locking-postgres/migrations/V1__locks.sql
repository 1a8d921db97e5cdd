CREATE TABLE locking (key text PRIMARY KEY);

-- What the migrations have made so far: their number.
CREATE FUNCTION locking_version() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
