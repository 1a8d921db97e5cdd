-- ?1 key, ?2 expires, ?3 lasts. Entered again: a longer time counts, a shorter one and one on a hold without an
-- end change nothing.
UPDATE locking_hold SET expires = ?2, lasts = ?3 WHERE key = ?1 AND expires < ?2
