-- ?1 key, ?2 owner, ?3 now. Gives back a lease by its owner's name: no guard, nobody else's, nothing that is over.
DELETE FROM locking_hold
WHERE key = ?1 AND kind = 'lease' AND owner IS ?2 AND (expires IS NULL OR expires > ?3)
