-- Guards of an earlier boot: the processes that they were of ended with it.
DELETE FROM locking_hold WHERE kind = 'guard'
