-- ?1 this boot. Changes the row if the file is new or of an earlier boot.
INSERT INTO locking_state (id, boot, last_token) VALUES (1, ?1, 0)
ON CONFLICT (id) DO UPDATE SET boot = excluded.boot WHERE boot <> excluded.boot
