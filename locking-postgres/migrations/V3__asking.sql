-- Asking for keys, and handing them on.

-- Hands a key without a live hold to the first in its queue who lives. Under the key's guard.
--
-- The grant lasts 300 ms until its client confirms it: that is what a stopped client costs those behind it.
-- A request for several keys is told to ask again: its other keys aren't under guard here. The key is kept for
-- it as long, unless another of its keys is seen to be held: then it would keep from those behind it what it
-- can't take, and they come first. If that has happened to it often, it is kept the key all the same, or
-- requests for one key would pass it for ever; and so is the fifth at once, or one release would tell them all.
-- Told by NOTIFY, which arrives after the commit, if at all: who isn't told asks anyway.
-- p_asking: the request on whose behalf this runs. It is told by the answer, and has its whole expiry.
CREATE FUNCTION locking_hand_on(
    p_key text, p_asking text, p_grants_from timestamptz, p_least bigint
) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    v_first  locking_queue;
    v_seat   bigint := -9223372036854775808;
    v_asides integer := 0;
    v_ms     bigint;
    v_token  bigint;
BEGIN
    IF p_grants_from > clock_timestamp() THEN
        RETURN;
    END IF;
    LOOP
        DELETE FROM locking_queue WHERE key = p_key
            AND seat = (SELECT q.seat FROM locking_queue q WHERE q.key = p_key AND q.seat > v_seat AND NOT q.told
                            ORDER BY q.seat LIMIT 1)
            RETURNING * INTO v_first;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        EXIT WHEN v_first.request = p_asking;
        CONTINUE WHEN locking_is_gone(v_first.client)
            -- Nothing tells whether a client without a session lives, but that it asks.
            OR v_first.client = 0 AND v_first.asked <= clock_timestamp() - interval '5 s';
        EXIT WHEN v_first.keys IS NULL OR v_first.moves >= 16 OR v_asides >= 4
            OR NOT locking_is_blocked_elsewhere(v_first);
        v_seat := v_first.seat;
        v_asides := v_asides + 1;
        v_first.told := true;
        INSERT INTO locking_queue VALUES (v_first.*);
        PERFORM locking_tell(v_first, 0, 300);
    END LOOP;
    v_ms := CASE WHEN v_first.request = p_asking THEN v_first.ms ELSE least(v_first.ms, 300) END;
    IF v_first.keys IS NOT NULL THEN
        INSERT INTO locking_guard
            VALUES (p_key, v_first.moves, 'r', v_first.request, v_first.seat::text, locking_expiry(300),
                    v_first.client);
    ELSE
        v_token := locking_draw(p_least);
        IF v_first.logged THEN
            INSERT INTO locking
                VALUES (p_key, v_token, v_first.kind, v_first.request, v_first.owner, locking_expiry(v_ms),
                        v_first.request IS DISTINCT FROM p_asking);
        ELSE
            INSERT INTO locking_guard
                VALUES (p_key, v_token, v_first.kind, v_first.request, v_first.owner, locking_expiry(v_ms),
                        v_first.client);
        END IF;
    END IF;
    IF v_first.request IS DISTINCT FROM p_asking THEN
        PERFORM locking_tell(v_first, coalesce(v_token, 0), coalesce(v_ms, 300));
    END IF;
END $$;

-- The same in one statement where it is plain: the first in the queue wants a guard on this key alone, and lives.
-- Answers whether; if not, nothing was changed. p_after: as for locking_step_back. The lower bounds of seats make
-- the index their only way, however short the queue was when this was planned.
CREATE FUNCTION locking_hand_on_plainly(p_key text, p_after text) RETURNS boolean
    LANGUAGE plpgsql AS $$
DECLARE
    v_told text;
BEGIN
    WITH first AS (
        DELETE FROM locking_queue q USING locking_epoch e
            WHERE q.key = p_key
                AND q.seat = (SELECT f.seat FROM locking_queue f
                                  WHERE f.key = p_key AND f.seat > -9223372036854775808 AND NOT f.told
                                  ORDER BY f.seat LIMIT 1)
                AND q.keys IS NULL AND NOT q.logged AND left(q.request, 16) <> p_after
                AND q.client <> 0 AND NOT locking_is_gone(q.client)
                AND e.one AND e.grants_from <= clock_timestamp()
            RETURNING q.kind, q.request, q.owner, least(q.ms, 300) AS ms, q.client, e.least_token
    ), granted AS (
        INSERT INTO locking_guard
            SELECT p_key, locking_draw(f.least_token), f.kind, f.request, f.owner, locking_expiry(f.ms), f.client
                FROM first f
            RETURNING token
    )
    SELECT pg_notify('locking_' || f.client, concat_ws(' ', 'grant', g.token, f.ms, f.request, p_key)) INTO v_told
        FROM first f, granted g;
    RETURN FOUND;
END $$;

-- A client whose guard ended has had its turn: the key alone, which it asked for meanwhile, comes after all who
-- wait, if it came first. What it asks for together with other keys keeps its place. p_after: the client, as its
-- requests begin; '' for none. Under the key's guard.
CREATE FUNCTION locking_step_back(p_key text, p_after text) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE locking_queue q SET seat = nextval('locking_seat')
        WHERE q.key = p_key AND left(q.request, 16) = p_after AND q.keys IS NULL
            AND q.seat = (SELECT f.seat FROM locking_queue f
                              WHERE f.key = p_key AND f.seat > -9223372036854775808 AND NOT f.told
                              ORDER BY f.seat LIMIT 1)
            AND (SELECT true FROM locking_queue s WHERE s.key = p_key AND s.seat > q.seat AND NOT s.told
                     ORDER BY s.seat LIMIT 1);
END $$;

-- Tells a request that its key is its own, for so many ms; token 0: that it should ask again.
CREATE FUNCTION locking_tell(p_first locking_queue, p_token bigint, p_ms bigint) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    IF p_first.client <> 0 THEN
        PERFORM pg_notify('locking_' || p_first.client,
            concat_ws(' ', 'grant', p_token, p_ms, p_first.request, p_first.key));
    END IF;
END $$;

-- Whether another key of a request for several is held by somebody else, as far as is seen without its guard.
CREATE FUNCTION locking_is_blocked_elsewhere(p_waits locking_queue) RETURNS boolean
    LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (SELECT FROM locking_held h
        WHERE h.key = ANY (p_waits.keys) AND h.key <> p_waits.key AND h.request <> p_waits.request
            AND NOT (h.kind = 'o' AND p_waits.kind = 'o' AND h.owner = p_waits.owner)
            AND h.expires > clock_timestamp() AND NOT locking_is_dead(h.client));
END $$;

-- Hands on keys that were just freed. Under their guards.
CREATE FUNCTION locking_hand_on_all(p_keys text[]) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    v_key         text;
    v_grants_from timestamptz;
    v_least       bigint;
BEGIN
    FOR v_key IN
        SELECT k FROM unnest(p_keys) k
            WHERE (SELECT true FROM locking_queue q WHERE q.key = k LIMIT 1)
    LOOP
        IF v_least IS NULL THEN
            SELECT e.grants_from, e.least_token INTO v_grants_from, v_least
                FROM locking_epoch e WHERE e.one;
            IF NOT FOUND THEN
                SELECT * INTO v_grants_from, v_least FROM locking_begin_epoch();
            END IF;
        END IF;
        PERFORM locking_hand_on(v_key, NULL, v_grants_from, v_least);
    END LOOP;
END $$;

-- Takes all keys of a request, or none. Under their guards; keys in byte order, without repetition.
--
-- p_manner 'once'    leaves nothing behind if a key is held
--          'queue'   then waits in the queue of the first key that blocks
--          'again'   asks once more, keeping its place: first in the queue if it has lost it, because it was
--                    popped by a grant that its client couldn't hear
--          'reenter' only where the owner's lease holds every key, and nobody is still to hear of it
--
-- blocked: 0 if all are held now, with the token of each and whether it was taken or re-entered; else the
-- number of the first key that blocks, with the ms until that hold ends (NULL: never), the owner if it is an
-- owner's lease, and the greatest token given so far; -1 if the request was taken back.
--
-- Asking twice is asking once: what the request holds already is answered as taken. A request that was taken
-- back is never granted, also when it arrives after that. p_repeated: the answer to an earlier copy was
-- lost, so that one may still be on its way. Once this one is granted it takes nothing any more: it could
-- come when all is released.
--
-- Of a grant from the queue that isn't confirmed nobody was told yet: who enters it has taken it, for as long as
-- was asked for now. Whoever it was meant for may be gone; if not, that one enters it.
CREATE FUNCTION locking_ask(
    p_patience integer, p_client integer, p_logged boolean, p_manner text, p_repeated boolean, p_request text,
    p_kind "char", p_owner text, p_ms bigint, p_keys text[], p_grants_from timestamptz, p_least bigint,
    OUT blocked integer, OUT tokens bigint[], OUT taken boolean[], OUT ends_in bigint, OUT holder text,
    OUT newest bigint
)
    LANGUAGE plpgsql AS $$
DECLARE
    v_count     integer := cardinality(p_keys);
    v_withdrawn boolean;
    v_held      locking_held;
    v_blocking  locking_held;
    v_is        text;
    v_free      text[] := '{}';
    v_kept      text[] := '{}';
    v_mine      text[] := '{}';
    v_own       text[] := '{}';
    v_told      locking_queue;
    v_seat      bigint;
    v_waits_at  integer;
    v_moves     integer := 0;
    v_ms        bigint;
    v_token     bigint;
    v_freed     text[] := '{}';
    v_key       text;
BEGIN
    v_withdrawn := EXISTS (SELECT FROM locking_withdrawn w WHERE w.request = p_request);
    IF p_manner IN ('queue', 'again') THEN
        -- It stood aside: its turn is now.
        DELETE FROM locking_queue q WHERE q.request = p_request AND q.told RETURNING q.* INTO v_told;
        v_moves := coalesce(v_told.moves, 0);
    END IF;
    IF v_count > 1 AND p_manner IN ('queue', 'again') THEN
        -- Its place among all who wait, wherever it is to wait next; also where it stands in no queue, because a key
        -- is kept for it.
        v_seat := coalesce(v_told.seat, (SELECT q.seat FROM locking_queue q WHERE q.request = p_request),
                           (SELECT min(nullif(g.owner, '')::bigint) FROM locking_guard g
                                WHERE g.key = ANY (p_keys) AND g.request = p_request AND g.kind = 'r'));
    END IF;
    blocked := 0;
    FOR i IN 1..v_count LOOP
        v_held := locking_holder(p_keys[i]);
        IF v_held.key IS NULL AND p_manner <> 'reenter' AND NOT v_withdrawn
           AND EXISTS (SELECT FROM locking_queue q WHERE q.key = p_keys[i]) THEN
            -- Others wait for it: they come first, in their order.
            IF (p_manner = 'again' OR v_told.seat IS NOT NULL)
               AND NOT EXISTS (SELECT FROM locking_queue q WHERE q.request = p_request) THEN
                PERFORM locking_wait(p_keys[i], true, v_seat, p_client, p_logged, p_request, p_kind, p_owner,
                                     p_ms, p_keys, v_moves);
            END IF;
            PERFORM locking_hand_on(p_keys[i], p_request, p_grants_from, p_least);
            v_held := locking_holder(p_keys[i]);
        END IF;
        v_is := CASE
            WHEN v_held.key IS NULL THEN CASE WHEN p_grants_from > clock_timestamp() THEN 'unknown' ELSE 'free' END
            WHEN v_held.request = p_request THEN CASE v_held.kind WHEN 'r' THEN 'kept' ELSE 'mine' END
            WHEN v_held.kind = 'o' AND p_kind = 'o' AND v_held.owner = p_owner
                AND NOT (p_manner = 'reenter'
                         AND EXISTS (SELECT FROM locking l WHERE l.key = p_keys[i] AND l.unconfirmed)) THEN 'own'
            ELSE 'blocks' END;
        tokens[i] := v_held.token;
        taken[i] := v_is <> 'own';
        CASE v_is
            WHEN 'free' THEN v_free := v_free || p_keys[i];
            WHEN 'mine' THEN v_mine := v_mine || p_keys[i];
            WHEN 'own' THEN v_own := v_own || p_keys[i];
            WHEN 'kept' THEN
                v_kept := v_kept || p_keys[i];
                v_moves := greatest(v_moves, v_held.token);
            ELSE NULL;
        END CASE;
        IF blocked = 0 AND (v_is IN ('blocks', 'unknown') OR p_manner = 'reenter' AND v_is <> 'own') THEN
            blocked := i;
            v_blocking := v_held;
        END IF;
        -- Not there where it just stood: what it lacked was another key.
        IF v_waits_at IS NULL AND v_is IN ('blocks', 'unknown') AND p_keys[i] IS DISTINCT FROM v_told.key THEN
            v_waits_at := i;
        END IF;
    END LOOP;
    -- The first copy, which comes after the one that was granted, too: what that one got was told, and may have
    -- been extended since.
    IF v_withdrawn AND (NOT p_repeated OR cardinality(v_mine) < v_count) THEN
        blocked := -1;
        RETURN;
    END IF;

    IF blocked = 0 THEN
        v_free := v_free || v_kept;
        IF v_free <> '{}' THEN
            DELETE FROM locking_guard WHERE key = ANY (v_kept);
            v_token := locking_draw(p_least);
            IF p_logged THEN
                INSERT INTO locking
                    SELECT k, v_token, p_kind, p_request, p_owner, locking_expiry(p_ms) FROM unnest(v_free) k;
            ELSE
                INSERT INTO locking_guard
                    SELECT k, v_token, p_kind, p_request, p_owner, locking_expiry(p_ms), p_client
                        FROM unnest(v_free) k;
            END IF;
            FOR i IN 1..v_count LOOP
                IF p_keys[i] = ANY (v_free) THEN
                    tokens[i] := v_token;
                END IF;
            END LOOP;
        END IF;
        -- A grant from the queue was short, and one whose answer got lost was earlier: confirmed, it has
        -- its whole expiry from now. More than that where its owner entered it again meanwhile.
        IF v_mine <> '{}' THEN
            UPDATE locking SET expires = greatest(expires, locking_expiry(p_ms)), unconfirmed = false
                WHERE key = ANY (v_mine) AND request = p_request;
            UPDATE locking_guard SET expires = locking_expiry(p_ms), client = p_client
                WHERE key = ANY (v_mine) AND request = p_request;
        END IF;
        -- Re-entry: a longer expiry extends, a shorter or absent one changes nothing.
        IF v_own <> '{}' THEN
            UPDATE locking SET expires = locking_expiry(p_ms)
                WHERE key = ANY (v_own) AND NOT unconfirmed AND p_ms IS NOT NULL AND expires < locking_expiry(p_ms);
            FOR v_key IN
                UPDATE locking SET request = p_request, expires = locking_expiry(p_ms), unconfirmed = false
                    WHERE key = ANY (v_own) AND unconfirmed RETURNING key
            LOOP
                taken[array_position(p_keys, v_key)] := true;
            END LOOP;
        END IF;
        IF p_manner IN ('queue', 'again') THEN
            DELETE FROM locking_queue WHERE request = p_request;
        END IF;
        IF p_repeated THEN
            PERFORM locking_refuse(p_request, p_patience);
        END IF;
        RETURN;
    END IF;

    -- A grant of several keys of which one was lost before it was confirmed.
    IF v_mine <> '{}' THEN
        DELETE FROM locking WHERE key = ANY (v_mine) AND request = p_request;
        DELETE FROM locking_guard WHERE key = ANY (v_mine) AND request = p_request;
        v_freed := v_mine;
    END IF;
    ends_in := CASE WHEN v_blocking.key IS NULL THEN ceil(extract(epoch FROM p_grants_from - clock_timestamp()) * 1000)
                    WHEN v_blocking.expires <> 'infinity'
                    THEN ceil(extract(epoch FROM v_blocking.expires - clock_timestamp()) * 1000) END;
    ends_in := greatest(ends_in, 0);
    IF p_repeated AND p_manner = 'once' THEN
        -- Whoever hears that it isn't held may not come to hold it by the other copy.
        PERFORM locking_refuse(p_request, p_patience);
    END IF;
    IF p_manner IN ('queue', 'again') THEN
        IF v_told.seat IS NOT NULL OR v_kept <> '{}' THEN
            v_moves := v_moves + 1;
        END IF;
        UPDATE locking_queue SET asked = clock_timestamp(), client = p_client WHERE request = p_request;
        IF NOT FOUND THEN
            PERFORM locking_wait(p_keys[coalesce(v_waits_at, blocked)], p_manner = 'again', v_seat, p_client,
                                 p_logged, p_request, p_kind, p_owner, p_ms, p_keys, v_moves);
        END IF;
        IF v_moves >= 16 THEN
            -- It was sent from queue to queue: requests for one key would pass it for ever. What is free is
            -- kept for it for a moment, which is twice as long each time, so that it comes to be as long as
            -- the others hold their keys; 25 ms where another such request is in its way, so that two can't
            -- block each other, and never a second, as its client may be stopped. It asks again when that is over,
            -- which hands on all of it.
            v_ms := CASE WHEN v_blocking.kind = 'r' THEN 25 ELSE least(25 * 2 ^ least(v_moves - 16, 10), 800) END;
            DELETE FROM locking_guard WHERE key = ANY (v_kept);
            INSERT INTO locking_guard
                SELECT k, v_moves, 'r', p_request, '', locking_expiry(v_ms), p_client
                    FROM unnest(v_kept || v_free) k;
            v_kept := '{}';
            ends_in := least(ends_in, v_ms);
        END IF;
    END IF;
    IF v_kept <> '{}' THEN
        DELETE FROM locking_guard WHERE key = ANY (v_kept);
        v_freed := v_freed || v_kept;
    END IF;
    FOR i IN 1..cardinality(v_freed) LOOP
        PERFORM locking_hand_on(v_freed[i], NULL, p_grants_from, p_least);
    END LOOP;
    holder := CASE WHEN v_blocking.kind = 'o' THEN v_blocking.owner ELSE '' END;
    SELECT last_value INTO newest FROM locking_token;
END $$;

-- Gives a request a place in a key's queue: the seat that it had in another queue, by which it comes after
-- those who came before it; else the last, or the first.
CREATE FUNCTION locking_wait(
    p_key text, p_first boolean, p_seat bigint, p_client integer, p_logged boolean, p_request text, p_kind "char",
    p_owner text, p_ms bigint, p_keys text[], p_moves integer
) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO locking_queue VALUES (
        p_key,
        CASE WHEN p_seat IS NOT NULL
                  -- Who was set first there may have it.
                  AND NOT EXISTS (SELECT FROM locking_queue q WHERE q.key = p_key AND q.seat = p_seat)
             THEN p_seat
             WHEN p_first OR p_seat IS NOT NULL
             THEN coalesce((SELECT min(q.seat) - 1 FROM locking_queue q WHERE q.key = p_key), 0)
             ELSE nextval('locking_seat') END,
        p_request, p_kind, p_owner, p_ms, p_client, p_logged,
        CASE WHEN cardinality(p_keys) > 1 THEN p_keys END, false, p_moves, clock_timestamp());
END $$;

-- From here on a request takes nothing any more, also where it arrives late. p_patience: three quarters of what
-- its client gives a statement; its connection is given up after twice that.
CREATE FUNCTION locking_refuse(p_request text, p_patience integer) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO locking_withdrawn
        VALUES (p_request, clock_timestamp() + greatest(10000, 6 * p_patience) * interval '1 ms')
        ON CONFLICT (request) DO UPDATE SET until = excluded.until;
END $$;

-- One request. Where its one key is plainly free (no row, nobody waits, the request wasn't taken back), that is
-- all there is to it: one statement once the guards are taken, because each costs as much as its work. Where
-- somebody else plainly holds it, and the request is to wait, it is two more: a look, and a place in the queue.
--
-- p_logged: into which table the holds go. What goes into the durable one is on disk when this answers. A guard
-- is refused to a client whose session has ended, which may not know it yet: nobody else would see it held.
CREATE FUNCTION locking_acquire(
    p_most integer, p_patience integer, p_client integer, p_logged boolean, p_manner text,
    p_repeated boolean, p_request text, p_kind text, p_owner text, p_ms bigint, p_keys text[],
    OUT blocked integer, OUT tokens bigint[], OUT taken boolean[], OUT ends_in bigint, OUT holder text,
    OUT newest bigint
)
    LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_grants_from timestamptz;
    v_least       bigint;
    v_safely      text;
    v_expires     timestamptz;
BEGIN
    v_safely := locking_commit_safely(p_logged);
    IF cardinality(p_keys) <> 1 OR NOT locking_enter_at_once(p_keys[1]) THEN
        PERFORM locking_enter(p_keys, p_most, p_patience);
    END IF;
    IF NOT p_logged AND NOT locking_is_current(p_client) THEN
        blocked := -1;
        RETURN;
    END IF;
    IF cardinality(p_keys) = 1 AND NOT p_repeated AND p_manner IN ('once', 'queue') THEN
        IF p_logged THEN
            INSERT INTO locking
                SELECT p_keys[1], locking_draw(e.least_token), p_kind::"char", p_request, p_owner,
                       locking_expiry(p_ms)
                FROM locking_epoch e
                WHERE e.one AND e.grants_from <= clock_timestamp()
                    AND NOT (EXISTS (SELECT FROM locking l WHERE l.key = p_keys[1])
                             OR EXISTS (SELECT FROM locking_guard g WHERE g.key = p_keys[1])
                             OR EXISTS (SELECT FROM locking_queue q WHERE q.key = p_keys[1])
                             OR EXISTS (SELECT FROM locking_withdrawn w WHERE w.request = p_request))
                RETURNING 0, ARRAY[token], '{true}'::boolean[] INTO blocked, tokens, taken;
        ELSE
            INSERT INTO locking_guard
                SELECT p_keys[1], locking_draw(e.least_token), p_kind::"char", p_request, p_owner,
                       locking_expiry(p_ms), p_client
                FROM locking_epoch e
                WHERE e.one AND e.grants_from <= clock_timestamp()
                    AND NOT (EXISTS (SELECT FROM locking l WHERE l.key = p_keys[1])
                             OR EXISTS (SELECT FROM locking_guard g WHERE g.key = p_keys[1])
                             OR EXISTS (SELECT FROM locking_queue q WHERE q.key = p_keys[1])
                             OR EXISTS (SELECT FROM locking_withdrawn w WHERE w.request = p_request))
                RETURNING 0, ARRAY[token], '{true}'::boolean[] INTO blocked, tokens, taken;
        END IF;
        IF FOUND THEN
            RETURN;
        END IF;
        IF p_manner = 'queue' THEN
            SELECT h.expires, CASE h.kind WHEN 'o' THEN h.owner ELSE '' END, t.last_value
                INTO v_expires, holder, newest
                FROM locking_held h, locking_epoch e, locking_token t
                WHERE h.key = p_keys[1] AND h.expires > clock_timestamp() AND NOT locking_is_gone(h.client)
                    AND h.request <> p_request
                    AND NOT (h.kind = 'o' AND p_kind = 'o' AND h.owner = p_owner)
                    AND NOT EXISTS (SELECT FROM locking_withdrawn w WHERE w.request = p_request)
                    AND e.one;
            IF FOUND THEN
                INSERT INTO locking_queue
                    VALUES (p_keys[1], nextval('locking_seat'), p_request, p_kind::"char", p_owner, p_ms, p_client,
                            p_logged, NULL, false, 0, clock_timestamp())
                    ON CONFLICT (request) DO NOTHING;
                IF FOUND THEN
                    blocked := 1;
                    ends_in := CASE WHEN v_expires <> 'infinity'
                        THEN greatest(ceil(extract(epoch FROM v_expires - clock_timestamp()) * 1000), 0) END;
                    RETURN;
                END IF;
            END IF;
        END IF;
    END IF;
    SELECT e.grants_from, e.least_token INTO v_grants_from, v_least FROM locking_epoch e WHERE e.one;
    IF NOT FOUND THEN
        SELECT * INTO v_grants_from, v_least FROM locking_begin_epoch();
    END IF;
    SELECT * INTO blocked, tokens, taken, ends_in, holder, newest FROM locking_ask(
        p_patience, p_client, p_logged, p_manner, p_repeated, p_request, p_kind::"char", p_owner, p_ms, p_keys,
        v_grants_from, v_least);
END $$;

-- Any number of requests for one key each: what many tasks of a client ask at the same moment. Those whose
-- key is plainly free are granted in one statement, and answered in one row; the others are asked for one after
-- another, and have a row each.
CREATE FUNCTION locking_acquire_many(
    p_most integer, p_patience integer, p_client integer, p_logged boolean, p_manners text[],
    p_repeated boolean[], p_requests text[], p_kinds text[], p_owners text[], p_ms bigint[], p_keys text[]
) RETURNS TABLE (
    blocked integer, tokens bigint[], taken boolean[], ends_in bigint, holder text, newest bigint, requests text[]
)
    LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_grants_from timestamptz;
    v_least       bigint;
    v_granted     text[];
BEGIN
    PERFORM locking_commit_safely(p_logged);
    PERFORM locking_enter(p_keys, p_most, p_patience);
    IF NOT p_logged AND NOT locking_is_current(p_client) THEN
        blocked := -1;
        requests := p_requests;
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT e.grants_from, e.least_token INTO v_grants_from, v_least FROM locking_epoch e WHERE e.one;
    IF NOT FOUND THEN
        SELECT * INTO v_grants_from, v_least FROM locking_begin_epoch();
    END IF;
    -- Subqueries on one key each: a plan that looks every key up by its index, whatever the statistics say. Of two
    -- requests for one key the first has it; no other token is drawn in vain.
    IF v_grants_from <= clock_timestamp() THEN
        IF p_logged THEN
            WITH granted AS (
                INSERT INTO locking
                    SELECT a.key, locking_draw(v_least), a.kind::"char", a.request, a.owner, locking_expiry(a.ms)
                    FROM unnest(p_keys, p_requests, p_kinds, p_owners, p_ms, p_manners, p_repeated)
                        AS a (key, request, kind, owner, ms, manner, repeated)
                    WHERE a.manner IN ('once', 'queue') AND NOT a.repeated
                        AND (SELECT true FROM locking l WHERE l.key = a.key) IS NULL
                        AND (SELECT true FROM locking_guard g WHERE g.key = a.key) IS NULL
                        AND (SELECT true FROM locking_queue q WHERE q.key = a.key LIMIT 1) IS NULL
                        AND (SELECT true FROM locking_withdrawn w WHERE w.request = a.request) IS NULL
                    ON CONFLICT (key) DO NOTHING
                    RETURNING request, token
            ) SELECT array_agg(g.request), array_agg(g.token) INTO requests, tokens FROM granted g;
        ELSE
            WITH granted AS (
                INSERT INTO locking_guard
                    SELECT a.key, locking_draw(v_least), a.kind::"char", a.request, a.owner, locking_expiry(a.ms),
                           p_client
                    FROM unnest(p_keys, p_requests, p_kinds, p_owners, p_ms, p_manners, p_repeated)
                        AS a (key, request, kind, owner, ms, manner, repeated)
                    WHERE a.manner IN ('once', 'queue') AND NOT a.repeated
                        AND (SELECT true FROM locking l WHERE l.key = a.key) IS NULL
                        AND (SELECT true FROM locking_guard g WHERE g.key = a.key) IS NULL
                        AND (SELECT true FROM locking_queue q WHERE q.key = a.key LIMIT 1) IS NULL
                        AND (SELECT true FROM locking_withdrawn w WHERE w.request = a.request) IS NULL
                    ON CONFLICT (key) DO NOTHING
                    RETURNING request, token
            ) SELECT array_agg(g.request), array_agg(g.token) INTO requests, tokens FROM granted g;
        END IF;
    END IF;
    IF requests IS NOT NULL THEN
        blocked := 0; taken := '{true}';
        RETURN NEXT;
        IF cardinality(requests) = cardinality(p_requests) THEN
            RETURN;
        END IF;
    END IF;
    v_granted := requests;
    FOR i IN 1..cardinality(p_requests) LOOP
        CONTINUE WHEN p_requests[i] = ANY (v_granted);
        requests := ARRAY[p_requests[i]];
        SELECT * INTO blocked, tokens, taken, ends_in, holder, newest FROM locking_ask(
            p_patience, p_client, p_logged, p_manners[i], p_repeated[i], p_requests[i], p_kinds[i]::"char",
            p_owners[i], p_ms[i], ARRAY[p_keys[i]], v_grants_from, v_least);
        RETURN NEXT;
    END LOOP;
END $$;

-- Whether the commit waits for the disk. A durable hold must be there after a crash; for one that a crash
-- takes away in any case there is nothing to wait for.
CREATE FUNCTION locking_commit_safely(p_safely boolean) RETURNS text
    LANGUAGE sql VOLATILE
    RETURN CASE WHEN NOT p_safely THEN set_config('synchronous_commit', 'off', true)
                WHEN current_setting('synchronous_commit') = 'off'
                THEN set_config('synchronous_commit', 'on', true) END;
