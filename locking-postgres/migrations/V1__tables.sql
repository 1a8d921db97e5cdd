-- The tables of the locks. Everything is made in the schema that `search_path` names first.
--
-- A hold is a row of `locking` or of `locking_guard`:
--   locking        leases, and guards of clients behind a pooler: durable
--   locking_guard  guards of clients that have a session of their own: unlogged, so that they cost no
--                  write-ahead log; after a crash they are gone, and `locking_epoch` says so
-- One key has at most one row in both together. A row whose time is over, or whose client is dead, counts
-- as none, and is removed before another is written.
--
-- kind: 'o' a lease of an owner, 'a' an anonymous lease, 'g' a guard, 'r' a key that is kept for a moment
-- for a request for several keys; then token is how often that was moved, and owner the seat that it had, if it stands
-- in no queue meanwhile. request: the 16 characters of the client that asked, and a count.
-- owner: '' for none. expires: by the server's clock; 'infinity' for a lease without expiry.

-- unconfirmed: granted from the queue, for a moment; its client hasn't said yet that it heard of it.
CREATE TABLE locking (
    key         text COLLATE "C" PRIMARY KEY,
    token       bigint NOT NULL,
    kind        "char" NOT NULL,
    request     text COLLATE "C" NOT NULL,
    owner       text COLLATE "C" NOT NULL,
    expires     timestamptz NOT NULL,
    unconfirmed boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5);

-- What an owner holds: release_all costs what it frees.
CREATE INDEX locking_owner ON locking (owner, key) WHERE kind = 'o';

-- client: the number whose session holds the hold up; 0 for none.
CREATE UNLOGGED TABLE locking_guard (
    key     text COLLATE "C" PRIMARY KEY,
    token   bigint NOT NULL,
    kind    "char" NOT NULL,
    request text COLLATE "C" NOT NULL,
    owner   text COLLATE "C" NOT NULL,
    expires timestamptz NOT NULL,
    client  integer NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5);

CREATE VIEW locking_held AS
    SELECT key, token, kind, request, owner, expires, 0 AS client, true AS logged FROM locking
    UNION ALL
    SELECT key, token, kind, request, owner, expires, client, false FROM locking_guard;

-- Who waits for a key, first come first. A request stands in one queue at a time. ms: the expiry that it
-- asks for, NULL for none. keys: all that it wants, if that is more than this one; else NULL. told: this key
-- was free for it, while another was held: it stands aside until it has asked again. moves: how often it was
-- sent from one key's queue to another's. asked: when its client last asked; who waits asks twice a second.
CREATE UNLOGGED TABLE locking_queue (
    key     text COLLATE "C" NOT NULL,
    seat    bigint NOT NULL,
    request text COLLATE "C" NOT NULL UNIQUE,
    kind    "char" NOT NULL,
    owner   text COLLATE "C" NOT NULL,
    ms      bigint,
    client  integer NOT NULL,
    logged  boolean NOT NULL,
    keys    text[],
    told    boolean NOT NULL,
    moves   integer NOT NULL,
    asked   timestamptz NOT NULL,
    PRIMARY KEY (key, seat)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);

-- Requests that take nothing any more: they were taken back, or were granted, after an answer to them was
-- lost. Kept for longer than any statement is under way.
CREATE UNLOGGED TABLE locking_withdrawn (
    request text COLLATE "C" PRIMARY KEY,
    until   timestamptz NOT NULL
);

-- The sessions of clients. until: when the client has given up its guards by itself, if it hears nothing more
-- on its session. Each heartbeat moves it; a client that has given them up before removes the row.
CREATE UNLOGGED TABLE locking_session (
    client integer PRIMARY KEY,
    until  timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- One row as long as the unlogged tables are what they were. A crash empties them, and this one with them:
-- then guards may be believed in of which nothing is known here, and nothing is granted before
-- grants_from. The tokens begin anew, above least_token.
CREATE UNLOGGED TABLE locking_epoch (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    grants_from timestamptz NOT NULL,
    least_token bigint NOT NULL,
    swept       timestamptz NOT NULL
);

-- For how long at most a client believes in its guards without hearing of its session.
CREATE TABLE locking_bound (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    ms  bigint NOT NULL
);
INSERT INTO locking_bound (ms) VALUES (0);

-- Fencing tokens, in blocks of 32: the first is granted, the others are for those to whom a guard is passed
-- on inside its process. It begins at the clock's microseconds, so that it goes on where it was also if it
-- is lost with its schema.
CREATE SEQUENCE locking_token INCREMENT 32;
SELECT setval('locking_token', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
INSERT INTO locking_epoch (grants_from, least_token, swept)
    SELECT clock_timestamp(), last_value, clock_timestamp() FROM locking_token;

-- Numbers of clients, and places in the queues. A number is a lock of the whole database, which other schemas
-- share: each begins somewhere else, lest a new client of another one passes for a dead one of this.
CREATE SEQUENCE locking_client AS integer CYCLE;
SELECT setval('locking_client', 1 + floor(random() * 2147483646)::integer);
CREATE SEQUENCE locking_seat;
