-- ?1 key, ?2 owner, ?3 token, ?4 now. Gives back just the hold that a lease speaks of: a later one of the same
-- owner has another token.
DELETE FROM locking_hold
WHERE key = ?1 AND owner IS ?2 AND token = ?3 AND (expires IS NULL OR expires > ?4)
