-- The file of locks. A migration that was released isn't changed: the next one gets a file of its own.
--
-- Moments are nanoseconds of the boot's clock, which all processes of the machine read alike and which
-- counts suspend. They mean nothing in another boot: `locking_state` says of which they are.

-- Who holds what: at most one row a key. A row whose moment is over counts as none; it stays until its key is
-- taken anew, or until it is swept away.
CREATE TABLE locking_hold (
    -- Texts are compared byte by byte, which is the contract's order as well.
    key     TEXT    NOT NULL PRIMARY KEY,
    -- NULL: anonymous.
    owner   TEXT,
    kind    TEXT    NOT NULL CHECK (kind IN ('lease', 'guard')),
    token   INTEGER NOT NULL,
    -- When it ends. NULL: by its release only.
    expires INTEGER,
    -- For how long it was asked last: what it gets anew when the machine was started again.
    lasts   INTEGER,
    CHECK ((expires IS NULL) = (lasts IS NULL))
) STRICT, WITHOUT ROWID;

-- What an owner frees costs what it holds, and not what all hold.
CREATE INDEX locking_hold_owner ON locking_hold (owner) WHERE owner IS NOT NULL;

-- The sweep finds what is over without looking at what isn't.
CREATE INDEX locking_hold_expires ON locking_hold (expires) WHERE expires IS NOT NULL;

-- One row, which is all that is kept besides the holds.
CREATE TABLE locking_state (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- The boot whose clock the moments are of.
    boot       TEXT    NOT NULL,
    -- The greatest token that was ever given, of whatever key: one counter is enough for all.
    last_token INTEGER NOT NULL
) STRICT;
