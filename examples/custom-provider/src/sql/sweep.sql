-- ?1 now, ?2 how many at most. Removes what is over and nobody asked for.
DELETE FROM locking_hold
WHERE key IN (SELECT key FROM locking_hold WHERE expires <= ?1 LIMIT ?2)
