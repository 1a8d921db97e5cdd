-- Giving back, extending and taking back.
--
-- Which hold a lease means: by its token, which no other hold of the key has; or, for a guard that was passed
-- on inside its process and so has got a newer token than is known here, by the request that was granted
-- (p_origins). A lease with an older token than is known here was passed on. A guard on one key is only its own
-- client's to end: it may have been passed on with this token still known here, and nobody else can tell. So
-- p_origins begin with the name of the client that asks, also where it knows of no such request.

-- A release waits for the disk unless everything durable that it frees would have ended within a minute, and
-- nobody can enter it again: what a crash brings back then ends by itself. An owner's lease that came back could
-- be entered by the owner, with a token smaller than those that others were given meanwhile. p_last: when the
-- last of what is freed ends, NULL for none; p_owned: whether an owner's lease is among it. What is handed on
-- meanwhile isn't granted anew for a while after a crash, and is confirmed before that.
CREATE FUNCTION locking_commit_release(p_last timestamptz, p_owned boolean) RETURNS text
    LANGUAGE sql VOLATILE
    RETURN locking_commit_safely(
        coalesce(p_owned, false) OR coalesce(p_last > clock_timestamp() + interval '60 s', false));

-- Tells a client that a guard was given back, or freed, by somebody else. 0: nobody listens.
CREATE FUNCTION locking_tell_revoked(p_client integer, p_request text, p_key text) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    IF p_client <> 0 THEN
        PERFORM pg_notify('locking_' || p_client, concat_ws(' ', 'revoked', p_request, p_key));
    END IF;
END $$;

-- Gives back one key, like locking_release. p_logged: in which table to look first.
CREATE FUNCTION locking_release_one(
    p_most integer, p_patience integer, p_logged boolean, p_key text, p_owner text, p_token bigint, p_origin text
) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    v_expires  timestamptz;
    v_waits    boolean;
    v_is_guard boolean;
    v_request  text;
    v_safely   text;
    v_after    text;
BEGIN
    IF NOT locking_enter_at_once(p_key) THEN
        PERFORM locking_enter(ARRAY[p_key], p_most, p_patience);
    END IF;
    IF NOT p_logged AND p_owner IS NULL THEN
        DELETE FROM locking_guard
            WHERE key = p_key AND kind <> 'r' AND (token = p_token OR request = p_origin AND token < p_token)
                AND left(request, 16) = left(p_origin, 16)
            RETURNING expires, EXISTS (SELECT FROM locking_queue q WHERE q.key = p_key), true, request
            INTO v_expires, v_waits, v_is_guard, v_request;
    END IF;
    IF v_expires IS NULL THEN
        DELETE FROM locking WHERE key = p_key AND CASE
                WHEN p_owner IS NULL THEN (token = p_token OR request = p_origin AND token < p_token)
                    AND (kind <> 'g' OR left(request, 16) = left(p_origin, 16))
                WHEN p_owner = '' THEN kind = 'a'
                ELSE kind = 'o' AND owner = p_owner END
            RETURNING expires, EXISTS (SELECT FROM locking_queue q WHERE q.key = p_key),
                      CASE WHEN kind = 'g' THEN request END, locking_commit_release(expires, kind = 'o')
            INTO v_expires, v_waits, v_request, v_safely;
    END IF;
    IF v_expires IS NULL AND p_logged AND p_owner IS NULL THEN
        DELETE FROM locking_guard
            WHERE key = p_key AND kind <> 'r' AND (token = p_token OR request = p_origin AND token < p_token)
                AND left(request, 16) = left(p_origin, 16)
            RETURNING expires, EXISTS (SELECT FROM locking_queue q WHERE q.key = p_key), true, request
            INTO v_expires, v_waits, v_is_guard, v_request;
    END IF;
    IF v_waits THEN
        -- The token of who is next would else wait for the disk.
        IF v_is_guard THEN
            v_safely := locking_commit_release(NULL, false);
        END IF;
        v_after := CASE WHEN v_request = p_origin THEN left(p_origin, 16) ELSE '' END;
        IF NOT locking_hand_on_plainly(p_key, v_after) THEN
            PERFORM locking_step_back(p_key, v_after);
            PERFORM locking_hand_on_all(ARRAY[p_key]);
        END IF;
    END IF;
    RETURN coalesce(v_expires > clock_timestamp(), false);
END $$;

-- Gives keys back, whatever number of leases they are of. p_owners: NULL for the release of just the hold
-- with that token; else whose leases may be freed, '' for anonymous ones. Tries every key; answers for each
-- whether it was held so: of two that mean one hold, the first gave it back. All are removed before the first
-- is handed on. p_origins: NULL for the keys of a lease on several, which are never passed on. p_logged: in which
-- table they most likely are.
CREATE FUNCTION locking_release(
    p_most integer, p_patience integer, p_logged boolean, p_keys text[], p_owners text[], p_tokens bigint[],
    p_origins text[]
) RETURNS boolean[]
    LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    v_freed  text[];
    v_waits  boolean;
    v_last   timestamptz;
    v_owned  boolean;
    v_awaited text[];
    v_after  text[];
    v_at     bigint[];
    v_logged text[];
    v_guards text[];
    v_done   boolean[];
BEGIN
    PERFORM locking_enter(p_keys, p_most, p_patience);
    -- The usual case, in one statement: all are held so, in that table. Which of them a row is about is looked for
    -- from the first, so not among too many. What is meant otherwise stays, and so does what is meant twice. The
    -- queue is looked at for one key each: EXISTS would be answered by reading all of it, if that was once short.
    IF cardinality(p_keys) <= 64 THEN
        IF p_logged THEN
            WITH freed AS (
                DELETE FROM locking l
                    WHERE l.key = ANY (p_keys) AND l.expires > clock_timestamp()
                        AND CASE
                            WHEN p_owners[array_position(p_keys, l.key)] IS NULL
                            THEN l.token = p_tokens[array_position(p_keys, l.key)]
                                AND (l.kind <> 'g' OR p_origins[array_position(p_keys, l.key)] IS NULL
                                     OR left(l.request, 16) = left(p_origins[array_position(p_keys, l.key)], 16))
                            WHEN p_owners[array_position(p_keys, l.key)] = '' THEN l.kind = 'a'
                            ELSE l.kind = 'o' AND l.owner = p_owners[array_position(p_keys, l.key)] END
                    RETURNING l.key, l.expires, l.kind,
                              l.kind = 'g' AND l.request = p_origins[array_position(p_keys, l.key)] AS is_own,
                              left(l.request, 16) AS client,
                              (SELECT true FROM locking_queue q WHERE q.key = l.key LIMIT 1) AS waits
            ) SELECT array_agg(f.key), bool_or(f.waits), max(f.expires), bool_or(f.kind = 'o'),
                     array_agg(f.key) FILTER (WHERE f.waits AND f.is_own),
                     array_agg(f.client) FILTER (WHERE f.waits AND f.is_own)
                INTO v_freed, v_waits, v_last, v_owned, v_awaited, v_after FROM freed f;
        ELSE
            WITH freed AS (
                DELETE FROM locking_guard g
                    WHERE g.key = ANY (p_keys) AND g.expires > clock_timestamp() AND g.kind <> 'r'
                        AND p_owners[array_position(p_keys, g.key)] IS NULL
                        AND g.request = p_origins[array_position(p_keys, g.key)]
                        AND g.token <= p_tokens[array_position(p_keys, g.key)]
                    RETURNING g.key, left(g.request, 16) AS client, (SELECT true FROM locking_queue q WHERE q.key = g.key LIMIT 1) AS waits
            ) SELECT array_agg(f.key), bool_or(f.waits), array_agg(f.key) FILTER (WHERE f.waits),
                     array_agg(f.client) FILTER (WHERE f.waits)
                INTO v_freed, v_waits, v_awaited, v_after FROM freed f;
        END IF;
        IF v_awaited IS NOT NULL THEN
            PERFORM locking_step_back(a.key, a.after) FROM unnest(v_awaited, v_after) AS a (key, after);
        END IF;
    END IF;
    IF cardinality(v_freed) = cardinality(p_keys) THEN
        v_done := array_fill(true, ARRAY[cardinality(p_keys)]);
    ELSE
        v_done := array_fill(false, ARRAY[cardinality(p_keys)]);
        SELECT array_agg(f.at), array_agg(f.key) FILTER (WHERE f.logged), array_agg(f.key) FILTER (WHERE NOT f.logged),
               greatest(v_last, max(f.expires) FILTER (WHERE f.logged)), v_owned OR bool_or(f.kind = 'o')
            INTO v_at, v_logged, v_guards, v_last, v_owned
            FROM (SELECT DISTINCT ON (m.key) m.at, m.key, h.logged, h.kind, h.expires
            FROM unnest(p_keys, p_owners, p_tokens, p_origins) WITH ORDINALITY AS m (key, owner, token, origin, at)
            CROSS JOIN LATERAL (
                (SELECT l.token, l.kind, l.request, l.owner, l.expires, true AS logged
                    FROM locking l WHERE l.key = m.key LIMIT 1)
                UNION ALL
                (SELECT g.token, g.kind, g.request, g.owner, g.expires, false
                    FROM locking_guard g WHERE g.key = m.key LIMIT 1)
            ) h
            WHERE h.expires > clock_timestamp() AND h.kind <> 'r' AND CASE
                WHEN m.owner IS NULL THEN (h.token = m.token OR h.request = m.origin AND h.token < m.token)
                    AND (h.kind <> 'g' OR m.origin IS NULL OR left(h.request, 16) = left(m.origin, 16))
                WHEN m.owner = '' THEN h.kind = 'a'
                ELSE h.kind = 'o' AND h.owner = m.owner END
            ORDER BY m.key, m.at) f;
        IF v_logged IS NOT NULL THEN
            DELETE FROM locking WHERE key = ANY (v_logged);
        END IF;
        IF v_guards IS NOT NULL THEN
            DELETE FROM locking_guard WHERE key = ANY (v_guards);
        END IF;
        FOR i IN 1..coalesce(cardinality(v_at), 0) LOOP
            v_done[v_at[i]] := true;
        END LOOP;
        FOR i IN 1..coalesce(cardinality(v_freed), 0) LOOP
            v_done[array_position(p_keys, v_freed[i])] := true;
        END LOOP;
    END IF;
    PERFORM locking_commit_release(v_last, v_owned);
    IF v_waits OR v_at IS NOT NULL THEN
        PERFORM locking_hand_on_all(v_freed || v_logged || v_guards);
    END IF;
    RETURN v_done;
END $$;

-- Sets the remaining time of leases: of all keys of one, or of none. p_leases: which lease a key is of, by
-- numbers from 1. A guard that was passed on is written down as its new holder's. Answers for each key
-- whether it was held so.
CREATE FUNCTION locking_extend(
    p_most integer, p_patience integer, p_leases integer[], p_keys text[], p_tokens bigint[], p_origins text[],
    p_owners text[], p_ms bigint[]
) RETURNS boolean[]
    LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    v_done   boolean[];
    v_logged boolean;
    v_at     integer[];
BEGIN
    PERFORM locking_enter(p_keys, p_most, p_patience);
    SELECT array_agg(h.logged IS NOT NULL ORDER BY m.at), bool_or(h.logged) INTO v_done, v_logged
        FROM unnest(p_keys, p_tokens, p_origins) WITH ORDINALITY AS m (key, token, origin, at)
        LEFT JOIN LATERAL (
            SELECT b.logged FROM (
                (SELECT l.token, l.kind, l.request, l.expires, 0 AS client, true AS logged
                    FROM locking l WHERE l.key = m.key LIMIT 1)
                UNION ALL
                (SELECT g.token, g.kind, g.request, g.expires, g.client, false
                    FROM locking_guard g WHERE g.key = m.key LIMIT 1)
            ) b
            WHERE b.expires > clock_timestamp() AND b.kind <> 'r' AND NOT locking_is_dead(b.client)
                AND (b.token = m.token OR (b.request = m.origin AND b.token < m.token))
                AND (b.kind <> 'g' OR m.origin IS NULL OR left(b.request, 16) = left(m.origin, 16))
            LIMIT 1
        ) h ON true;
    PERFORM locking_commit_safely(v_logged);
    -- Those of leases of which every key is held.
    SELECT array_agg(m.at) INTO v_at
        FROM unnest(p_leases, v_done) WITH ORDINALITY AS m (lease, done, at)
        WHERE m.lease NOT IN (
            SELECT n.lease FROM unnest(p_leases, v_done) AS n (lease, done) WHERE NOT n.done);
    FOR i IN 1..coalesce(cardinality(v_at), 0) LOOP
        IF v_logged THEN
            UPDATE locking SET expires = locking_expiry(p_ms[v_at[i]]), unconfirmed = false,
                    token = p_tokens[v_at[i]],
                    owner = CASE kind WHEN 'g' THEN p_owners[v_at[i]] ELSE owner END
                WHERE key = p_keys[v_at[i]]
                    AND (token = p_tokens[v_at[i]] OR request = p_origins[v_at[i]]);
        END IF;
        UPDATE locking_guard SET expires = locking_expiry(p_ms[v_at[i]]),
                token = p_tokens[v_at[i]], owner = p_owners[v_at[i]]
            WHERE key = p_keys[v_at[i]]
                AND (token = p_tokens[v_at[i]] OR request = p_origins[v_at[i]]);
    END LOOP;
    RETURN v_done;
END $$;

-- Writes down who holds a key that was passed on inside a process; its time stays. What comes late, after a
-- later holder was written down, changes nothing.
CREATE FUNCTION locking_rename(
    p_most integer, p_patience integer, p_key text, p_origin text, p_token bigint, p_owner text
) RETURNS void
    LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    v_safely text;
BEGIN
    v_safely := locking_commit_safely(false);
    IF NOT locking_enter_at_once(p_key) THEN
        PERFORM locking_enter(ARRAY[p_key], p_most, p_patience);
    END IF;
    UPDATE locking SET token = p_token, owner = p_owner
        WHERE key = p_key AND request = p_origin AND token <= p_token;
    UPDATE locking_guard SET token = p_token, owner = p_owner
        WHERE key = p_key AND request = p_origin AND token <= p_token;
END $$;

-- Takes a request back: out of the queue, and what it was granted. p_unsure: an answer to it was lost, so it
-- may still be on its way, and is refused when it comes.
CREATE FUNCTION locking_withdraw(
    p_most integer, p_patience integer, p_unsure boolean, p_request text, p_keys text[]
) RETURNS void
    LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    v_freed text[] := '{}';
    v_key   text;
    v_last  timestamptz;
    v_until timestamptz;
    v_kind  "char";
    v_owned boolean := false;
BEGIN
    PERFORM locking_enter(p_keys, p_most, p_patience);
    DELETE FROM locking_queue WHERE request = p_request;
    IF p_unsure THEN
        PERFORM locking_refuse(p_request, p_patience);
    END IF;
    FOR v_key, v_until, v_kind IN
        DELETE FROM locking WHERE key = ANY (p_keys) AND request = p_request RETURNING key, expires, kind
    LOOP
        v_freed := v_freed || v_key;
        v_owned := v_owned OR v_kind = 'o';
        v_last := greatest(v_last, v_until);
    END LOOP;
    FOR v_key IN
        DELETE FROM locking_guard WHERE key = ANY (p_keys) AND request = p_request RETURNING key
    LOOP
        v_freed := v_freed || v_key;
    END LOOP;
    PERFORM locking_commit_release(v_last, v_owned);
    PERFORM locking_hand_on_all(v_freed);
END $$;
