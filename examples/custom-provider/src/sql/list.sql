-- ?1 now. Who holds what, in the byte order of the keys.
SELECT key, owner, kind, token, expires FROM locking_hold
WHERE expires IS NULL OR expires > ?1
ORDER BY key
