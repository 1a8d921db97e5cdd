-- Holds of an earlier boot that had ended in it. Its clock had come at least to where it stood when the latest hold
-- got its time: what ended by then isn't held anew.
DELETE FROM locking_hold WHERE expires <= (SELECT max(expires - lasts) FROM locking_hold)
