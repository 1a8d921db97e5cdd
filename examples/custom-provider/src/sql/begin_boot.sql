-- ?1 this boot, ?2 the wall clock in microseconds. Changes the row if the file is new or of an earlier boot.
--
-- Tokens of guards aren't synced to the disk, so a crash of the machine may have set the counter back: it goes on
-- from the wall clock, which is ahead of it as long as fewer than a million tokens a second are drawn. The same
-- goes for a file that was deleted. Nothing else is decided by the wall clock.
INSERT INTO locking_state (id, boot, last_token) VALUES (1, ?1, ?2)
ON CONFLICT (id) DO UPDATE
    SET boot = excluded.boot, last_token = max(last_token, excluded.last_token)
    WHERE boot <> excluded.boot
