-- Has a new connection's backend compile and plan the functions. No lock's key is empty.
BEGIN;
SELECT locking_acquire(16, 1000, 0, logged, 'once', false, 'rehearsal', 'g', '', 1, '{""}'),
       locking_release_one(16, 1000, logged, '', NULL, 0, 'rehearsal')
    FROM unnest('{true,false}'::boolean[]) logged;
SELECT locking_acquire(16, 1000, 0, false, 'reenter', false, 'rehearsal', 'o', '', 1, '{""}');
SELECT locking_acquire_many(16, 1000, 0, logged, '{reenter,reenter}', '{f,f}', '{r,s}', '{o,o}', '{"",""}', '{1,1}',
                            '{"",""}')
    FROM unnest('{true,false}'::boolean[]) logged;
SELECT locking_release(16, 1000, '{"",""}', '{NULL,NULL}', '{0,0}', '{"",""}');
SELECT locking_extend(16, 1000, '{1}', '{""}', '{0}', '{""}', '{""}', '{1}');
SELECT locking_withdraw(16, 1000, false, 'rehearsal', '{""}');
ROLLBACK;
