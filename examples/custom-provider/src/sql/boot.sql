-- Of which boot the moments are.
SELECT boot FROM locking_state WHERE id = 1
