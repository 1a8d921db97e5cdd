-- ?1 key, ?2 expires, ?3 lasts. Sets the time of a hold anew, be it longer or shorter.
UPDATE locking_hold SET expires = ?2, lasts = ?3 WHERE key = ?1
