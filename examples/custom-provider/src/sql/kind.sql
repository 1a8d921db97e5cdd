-- ?1 key, ?2 token. The kind of the hold with this token; it never changes.
SELECT kind FROM locking_hold WHERE key = ?1 AND token = ?2
