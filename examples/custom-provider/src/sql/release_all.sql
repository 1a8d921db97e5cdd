-- ?1 whether guards too, ?2 now. Frees everybody's holds. What is over isn't counted.
DELETE FROM locking_hold
WHERE (kind = 'lease' OR ?1) AND (expires IS NULL OR expires > ?2)
