-- ?1 now. Holds of an earlier boot: how much of their time is over nobody can tell, so they get all of it anew.
-- That may be longer than was asked for, and never shorter.
UPDATE locking_hold SET expires = ?1 + lasts WHERE expires IS NOT NULL
