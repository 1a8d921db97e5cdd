-- ?1 how many. Draws so many tokens, and answers the last of them. They are drawn in the transaction that takes
-- the keys: nobody else draws between, and what is rolled back was never given.
UPDATE locking_state SET last_token = last_token + ?1 RETURNING last_token
