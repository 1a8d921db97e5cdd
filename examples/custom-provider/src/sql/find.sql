-- ?1 key, ?2 now. Who holds a key; no row if nobody does.
SELECT key, owner, kind, token, expires FROM locking_hold
WHERE key = ?1 AND (expires IS NULL OR expires > ?2)
