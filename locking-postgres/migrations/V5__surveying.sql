-- Who holds what, freeing it by scope, and clearing what is over.

-- The live holds after a key, in byte order.
CREATE FUNCTION locking_list(p_after text, p_page integer) RETURNS TABLE (
    key text, token bigint, kind text, request text, owner text, ends_in bigint
)
    LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT h.key, h.token, h.kind::text, h.request, h.owner,
           CASE WHEN h.expires <> 'infinity'
                THEN greatest(ceil(extract(epoch FROM h.expires - clock_timestamp()) * 1000), 0)::bigint END
    FROM locking_held h
    WHERE h.key > p_after AND h.expires > clock_timestamp() AND h.kind <> 'r' AND NOT locking_is_dead(h.client)
    ORDER BY h.key LIMIT p_page
$$;

-- The live hold of one key.
CREATE FUNCTION locking_inspect(p_key text) RETURNS TABLE (
    key text, token bigint, kind text, request text, owner text, ends_in bigint
)
    LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT h.key, h.token, h.kind::text, h.request, h.owner,
           CASE WHEN h.expires <> 'infinity'
                THEN greatest(ceil(extract(epoch FROM h.expires - clock_timestamp()) * 1000), 0)::bigint END
    FROM locking_held h
    WHERE h.key = p_key AND h.expires > clock_timestamp() AND h.kind <> 'r' AND NOT locking_is_dead(h.client)
$$;

-- The greatest token given so far. What is held by a greater one was granted after this moment.
CREATE FUNCTION locking_newest() RETURNS bigint
    LANGUAGE sql SET search_path FROM CURRENT
    AS $$ SELECT last_value + 31 FROM locking_token $$;

-- Frees what a scope covers, a page at a time: the holds after a key, granted no later than p_limit; those of
-- an owner, or all where it is NULL; guards only if p_running, which are told. Answers how many it freed,
-- and the last key that it looked at: NULL after the last page.
CREATE FUNCTION locking_release_all(
    p_most integer, p_patience integer, p_limit bigint, p_owner text, p_running boolean, p_after text,
    p_page integer, OUT freed bigint, OUT last_key text
)
    LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    v_keys  text[];
    v_freed text[] := '{}';
    v_last  timestamptz;
    v_owned boolean := false;
    v_row   record;
BEGIN
    IF p_running THEN
        v_keys := ARRAY(SELECT h.key FROM locking_held h WHERE h.key > p_after ORDER BY h.key LIMIT p_page);
    ELSIF p_owner IS NULL THEN
        v_keys := ARRAY(SELECT l.key FROM locking l WHERE l.key > p_after ORDER BY l.key LIMIT p_page);
    ELSE
        v_keys := ARRAY(SELECT l.key FROM locking l
            WHERE l.kind = 'o' AND l.owner = p_owner AND l.key > p_after ORDER BY l.key LIMIT p_page);
    END IF;
    freed := 0;
    IF v_keys = '{}' THEN
        RETURN;
    END IF;
    IF cardinality(v_keys) = p_page THEN
        last_key := v_keys[p_page];
    END IF;
    PERFORM locking_enter(v_keys, p_most, p_patience);
    FOR v_row IN
        DELETE FROM locking l WHERE l.key = ANY (v_keys) AND l.token <= p_limit
            AND (p_owner IS NULL OR l.owner = p_owner AND l.kind <> 'a') AND (p_running OR l.kind <> 'g')
            RETURNING l.key, l.request, l.kind, l.expires
    LOOP
        v_freed := v_freed || v_row.key;
        IF v_row.expires > clock_timestamp() THEN
            freed := freed + 1;
        END IF;
        v_last := greatest(v_last, v_row.expires);
        v_owned := v_owned OR v_row.kind = 'o';
    END LOOP;
    IF p_running THEN
        FOR v_row IN
            DELETE FROM locking_guard g WHERE g.key = ANY (v_keys) AND g.token <= p_limit AND g.kind = 'g'
                AND (p_owner IS NULL OR g.owner = p_owner)
                RETURNING g.key, g.request, g.client, g.expires
        LOOP
            v_freed := v_freed || v_row.key;
            IF v_row.expires > clock_timestamp() AND NOT locking_is_dead(v_row.client) THEN
                freed := freed + 1;
                PERFORM locking_tell_revoked(v_row.client, v_row.request, v_row.key);
            END IF;
        END LOOP;
    END IF;
    PERFORM locking_commit_release(v_last, v_owned);
    PERFORM locking_hand_on_all(v_freed);
END $$;

-- Clears what is over and nobody looks at, a page of each kind; answers whether there may be more. One
-- client at a time does it, and only when it is due.
CREATE FUNCTION locking_sweep(p_most integer, p_patience integer, p_every bigint) RETURNS boolean
    LANGUAGE plpgsql SET search_path FROM CURRENT SET jit = off AS $$
DECLARE
    v_keys    text[];
    v_clients integer[];
    v_more    boolean := false;
BEGIN
    IF NOT EXISTS (SELECT FROM locking_epoch) THEN
        -- After a crash: else nothing would be swept, and the time without grants not begin, before somebody asks
        -- for a key. In a transaction of its own: its lock comes after the guards.
        PERFORM locking_begin_epoch();
        RETURN true;
    END IF;
    IF NOT EXISTS (SELECT FROM locking_epoch WHERE swept < clock_timestamp() - p_every * interval '1 ms')
       OR NOT pg_try_advisory_xact_lock(1819239275, -2) THEN
        RETURN false;
    END IF;
    PERFORM locking_commit_safely(false);
    v_clients := ARRAY(SELECT d.client FROM (SELECT DISTINCT g.client FROM locking_guard g) d
                       WHERE locking_is_dead(d.client));
    -- Many at once: for each page the tables are read from their beginning.
    v_keys := ARRAY(
        (SELECT l.key FROM locking l WHERE l.expires <= clock_timestamp() LIMIT 500)
        UNION
        (SELECT g.key FROM locking_guard g WHERE g.expires <= clock_timestamp() OR g.client = ANY (v_clients)
            LIMIT 500)
        UNION
        (SELECT q.key FROM locking_queue q WHERE q.asked < clock_timestamp() - interval '60 s' LIMIT 500));
    IF v_keys <> '{}' THEN
        -- No row is touched before: whoever waits for it may hold a guard that this waits for.
        -- Who waits for all guards holds others up meanwhile: it is tried again soon.
        PERFORM locking_enter(v_keys, p_most, least(p_patience, 100));
        v_more := cardinality(v_keys) >= 500;
        DELETE FROM locking_queue WHERE key = ANY (v_keys) AND asked < clock_timestamp() - interval '60 s';
        WITH leases AS (
            DELETE FROM locking WHERE key = ANY (v_keys) AND expires <= clock_timestamp() RETURNING key
        ), guards AS (
            DELETE FROM locking_guard
                WHERE key = ANY (v_keys) AND (expires <= clock_timestamp() OR client = ANY (v_clients))
                RETURNING key
        ) SELECT array_agg(key) INTO v_keys FROM (SELECT key FROM leases UNION ALL SELECT key FROM guards) f;
        PERFORM locking_hand_on_all(v_keys);
    END IF;
    DELETE FROM locking_withdrawn WHERE until < clock_timestamp();
    DELETE FROM locking_session WHERE until < clock_timestamp() AND locking_is_gone(client);
    IF NOT v_more THEN
        UPDATE locking_epoch SET swept = clock_timestamp();
    END IF;
    RETURN v_more;
END $$;

-- What this build of the functions is.
CREATE FUNCTION locking_version() RETURNS integer
    LANGUAGE sql IMMUTABLE RETURN 5;
