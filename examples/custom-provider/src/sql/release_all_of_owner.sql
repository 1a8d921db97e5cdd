-- ?1 whether guards too, ?2 now, ?3 owner. The same for one owner, by the index of owners.
DELETE FROM locking_hold
WHERE (kind = 'lease' OR ?1) AND (expires IS NULL OR expires > ?2) AND owner = ?3
