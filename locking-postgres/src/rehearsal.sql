-- Has a new connection's backend compile and plan the functions. Each has a key of its own in place of KEY:
-- who waits for another's guard holds up a pooler's few sessions.
BEGIN;
SELECT locking_acquire(16, 1000, 0, logged, 'once', false, 'rehearsal', 'g', '', 1, '{KEY}'),
       locking_release_one(16, 1000, logged, 'KEY', NULL, 0, 'rehearsal')
    FROM unnest('{true,false}'::boolean[]) logged;
SELECT locking_acquire(16, 1000, 0, false, 'reenter', false, 'rehearsal', 'o', '', 1, '{KEY}');
SELECT locking_acquire_many(16, 1000, 0, logged, '{reenter,reenter}', '{f,f}', '{r,s}', '{o,o}', '{"",""}', '{1,1}',
                            '{KEY,KEY}')
    FROM unnest('{true,false}'::boolean[]) logged;
SELECT locking_release(16, 1000, logged, '{KEY,KEY}', '{NULL,NULL}', '{0,0}', '{"",""}')
    FROM unnest('{true,false}'::boolean[]) logged;
SELECT locking_extend(16, 1000, '{1}', '{KEY}', '{0}', '{""}', '{""}', '{1}');
SELECT locking_withdraw(16, 1000, false, 'rehearsal', '{KEY}');
ROLLBACK;
