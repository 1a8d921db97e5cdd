-- ?1 key, ?2 owner, ?3 kind, ?4 token, ?5 expires, ?6 lasts. Takes a key that nobody holds, in the place of a
-- hold that is over.
INSERT OR REPLACE INTO locking_hold (key, owner, kind, token, expires, lasts) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
