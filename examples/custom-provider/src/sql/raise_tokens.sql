-- ?1 the wall clock in microseconds. Tokens go on from there, above all that were given, as long as fewer than a
-- million a second are drawn.
--
-- The counter may have been set back: tokens of guards aren't synced to the disk, so a crash of the machine can lose
-- them; a file may be deleted, or a copy of it put in its place. Nothing else is decided by the wall clock.
UPDATE locking_state SET last_token = ?1 WHERE last_token < ?1
