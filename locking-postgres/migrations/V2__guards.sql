-- What every operation builds on. A function that a client calls is one statement, so one transaction. It
-- must run at READ COMMITTED, where each statement inside a function sees what was committed before it
-- began: then what is read after the guards were taken is the truth until they are given back, at commit.
--
-- The rule on which everything rests: **a row of a key is written, and decided upon, only under the guard
-- of that key**, an advisory transaction lock on its hash. Two keys with the same hash, or an
-- application's own advisory lock of that number, make somebody wait, no more.
--
-- No dead-lock: each call takes its guards in this order, once, before it touches a row:
--   1. the common lock (1819239275, 0), shared; or exclusive, in place of the guards, by a call with more
--      keys than it may take guards of, so that the server's lock table can't overflow;
--   2. the guards, in the order of their hashes;
--   3. (1819239275, -1), while an epoch begins.
-- That a client is alive is a lock too, (1819239275, number), held by its session; it is only ever tried.

CREATE FUNCTION locking_hash(p_key text) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN hashtextextended(p_key, 7236837518431527947);

-- Takes the guards of one key if nobody is at them, as mostly nobody is; else locking_enter is to be called. An
-- expression, which becomes part of its caller's: what a call or a statement costs is more than what this does.
-- CASE keeps the order.
CREATE FUNCTION locking_enter_at_once(p_key text) RETURNS boolean
    LANGUAGE sql VOLATILE
    RETURN CASE WHEN current_setting('transaction_isolation') <> 'read committed' THEN false
                WHEN NOT pg_try_advisory_xact_lock_shared(1819239275, 0) THEN false
                ELSE pg_try_advisory_xact_lock(locking_hash(p_key)) END;

-- Takes the guards of these keys. p_most: of how many at most; p_patience: for how many ms it waits for one.
CREATE FUNCTION locking_enter(p_keys text[], p_most integer, p_patience integer) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    v_hash bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'locks need transactions at READ COMMITTED'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'set default_transaction_isolation to ''read committed'' for this role';
    END IF;
    IF cardinality(p_keys) > p_most THEN
        IF NOT pg_try_advisory_xact_lock(1819239275, 0) THEN
            PERFORM set_config('lock_timeout', p_patience::text, true);
            PERFORM pg_advisory_xact_lock(1819239275, 0);
        END IF;
        RETURN;
    END IF;
    IF NOT pg_try_advisory_xact_lock_shared(1819239275, 0) THEN
        PERFORM set_config('lock_timeout', p_patience::text, true);
        PERFORM pg_advisory_xact_lock_shared(1819239275, 0);
    END IF;
    FOR v_hash IN SELECT DISTINCT locking_hash(k) FROM unnest(p_keys) k ORDER BY 1 LOOP
        IF NOT pg_try_advisory_xact_lock(v_hash) THEN
            PERFORM set_config('lock_timeout', p_patience::text, true);
            PERFORM pg_advisory_xact_lock(v_hash);
        END IF;
    END LOOP;
END $$;

-- Whether a client's session has ended, and with it the lock that it held. Numbers aren't given twice. The
-- client may not know it yet.
CREATE FUNCTION locking_is_gone(p_client integer) RETURNS boolean
    LANGUAGE sql VOLATILE
    RETURN p_client <> 0 AND pg_try_advisory_xact_lock_shared(1819239275, p_client);

-- Whether a client believes in none of its guards any more: its session has ended, and it either said that it
-- knows, or has heard nothing for so long that it has given them up.
CREATE FUNCTION locking_is_dead(p_client integer) RETURNS boolean
    LANGUAGE plpgsql AS $$
BEGIN
    IF NOT locking_is_gone(p_client) THEN
        RETURN false;
    END IF;
    -- A statement of its own: it sees the last heartbeat, which was committed before the session ended.
    RETURN NOT EXISTS (SELECT FROM locking_session s WHERE s.client = p_client AND s.until > clock_timestamp());
END $$;

-- Whether a client's session may be granted guards: it lives, and the client hasn't given it up. Under the
-- guard of the key. A copy of a request that comes late under a number that was given up must not tie to it
-- what the client was granted under its next one.
CREATE FUNCTION locking_is_current(p_client integer) RETURNS boolean
    LANGUAGE plpgsql AS $$
BEGIN
    RETURN NOT locking_is_gone(p_client)
        AND (p_client = 0 OR EXISTS (SELECT FROM locking_session s WHERE s.client = p_client));
END $$;

-- A client's session takes a number, for as long as it lives. p_bound: for how many ms at most the client
-- believes in its guards without an answer on this session. p_former: the client's session before, which it
-- has given up, though the server may not know of its end yet; 0 for none. The disk is waited for: neither the
-- bound nor the number may be forgotten by a crash.
CREATE FUNCTION locking_join(p_bound bigint, p_former integer) RETURNS integer
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    v_client integer;
BEGIN
    UPDATE locking_bound SET ms = p_bound WHERE ms < p_bound;
    PERFORM locking_commit_safely(true), locking_leave(p_former);
    LOOP
        v_client := nextval('locking_client');
        EXIT WHEN pg_try_advisory_lock(1819239275, v_client);
    END LOOP;
    INSERT INTO locking_session VALUES (v_client, clock_timestamp() + p_bound * interval '1 ms')
        ON CONFLICT (client) DO UPDATE SET until = excluded.until;
    RETURN v_client;
END $$;

-- A heartbeat, on the client's session: from now on it believes in its guards for p_bound ms at most. Answers
-- who has carried it out, lest another backend answers for the session's; 0 if the client has given the
-- session up: one that comes late brings nothing back.
CREATE FUNCTION locking_beat(p_client integer, p_bound bigint) RETURNS integer
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM locking_commit_safely(false);
    UPDATE locking_session SET until = clock_timestamp() + p_bound * interval '1 ms' WHERE client = p_client;
    RETURN CASE WHEN FOUND THEN pg_backend_pid() ELSE 0 END;
END $$;

-- A client has given up its guards: they are free as soon as its session has ended.
CREATE FUNCTION locking_leave(p_client integer) RETURNS void
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM locking_session WHERE client = p_client;
END $$;

-- Begins an epoch: what was in the unlogged tables is lost. Guards of before may be believed in for
-- locking_bound, counted from now: after the crash no session of before is answered any more.
CREATE FUNCTION locking_begin_epoch(OUT grants_from timestamptz, OUT least_token bigint)
    LANGUAGE plpgsql AS $$
DECLARE
    v_bound bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1819239275, -1);
    SELECT e.grants_from, e.least_token INTO grants_from, least_token FROM locking_epoch e WHERE e.one;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT ms INTO v_bound FROM locking_bound WHERE one;
    grants_from := clock_timestamp() + coalesce(v_bound, 60000) * interval '1 ms';
    -- The sequence may have lost its last numbers with the crash. The clock is ahead of it.
    SELECT setval('locking_token',
                  greatest(last_value + 1024, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))
        INTO least_token FROM locking_token;
    INSERT INTO locking_epoch VALUES (true, grants_from, least_token, clock_timestamp());
END $$;

-- The first of a block of tokens. Called only under the guard of the key whose hold it is, when that is
-- known to be granted: so the tokens of a key grow. p_least: that of the epoch; a sequence below it was set
-- back by hand.
CREATE FUNCTION locking_draw(p_least bigint) RETURNS bigint
    LANGUAGE plpgsql AS $$
DECLARE
    v_token bigint := nextval('locking_token');
BEGIN
    IF v_token <= p_least THEN
        PERFORM setval('locking_token',
                       greatest(p_least, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint));
        v_token := nextval('locking_token');
    END IF;
    RETURN v_token;
END $$;

CREATE FUNCTION locking_expiry(p_ms bigint) RETURNS timestamptz
    LANGUAGE sql VOLATILE
    RETURN CASE WHEN p_ms IS NULL THEN 'infinity'::timestamptz
                ELSE clock_timestamp() + p_ms * interval '1 ms' END;

-- The live hold on a key, if there is one; what is left of others is removed. Under the key's guard.
CREATE FUNCTION locking_holder(p_key text) RETURNS locking_held
    LANGUAGE plpgsql AS $$
DECLARE
    v_row  locking_held;
    v_live locking_held;
BEGIN
    FOR v_row IN SELECT * FROM locking_held WHERE key = p_key LOOP
        IF v_row.expires > clock_timestamp() AND NOT locking_is_dead(v_row.client) THEN
            v_live := v_row;
        ELSIF v_row.logged THEN
            DELETE FROM locking WHERE key = p_key;
        ELSE
            DELETE FROM locking_guard WHERE key = p_key;
        END IF;
    END LOOP;
    RETURN v_live;
END $$;
