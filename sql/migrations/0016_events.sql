-- Events by month, every administrator's change chained, heads that outlive their request, checkpoints.
-- squawk-ignore-file renaming-table, renaming-object, ban-drop-constraint, require-concurrent-index-deletion, ban-drop-table
SET lock_timeout = '5s';
SET statement_timeout = '30min';

-- Where a chain ends that has no provision request to say so: those of administrators' changes without a request, one an
-- account (request_id 0; account_id 0: the platform's own), and those of deleted requests.
CREATE TABLE event_heads (
    account_id bigint NOT NULL,
    request_id bigint NOT NULL DEFAULT 0,
    client_id text,
    count bigint NOT NULL,
    head bytea,
    -- The names of the generated users that outlived a deleted request, as the event of its deletion says.
    kept_users jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (account_id, request_id),
    CONSTRAINT event_heads_chained CHECK (count >= 0 AND (count = 0) = (head IS NULL) AND octet_length(head) = 32)
);

-- What was verified: a `checkpoint` for each chain, renewed as a whole, and a `cut` for each chain whose first events
-- were dropped, where its verification begins. Each row is sealed with the event key.
CREATE TABLE event_checkpoints (
    account_id bigint NOT NULL,
    request_id bigint NOT NULL,
    kind text NOT NULL,
    count bigint NOT NULL,
    head bytea NOT NULL,
    at timestamptz NOT NULL,
    seal bytea NOT NULL,
    PRIMARY KEY (account_id, request_id, kind),
    CONSTRAINT event_checkpoints_kind_known CHECK (kind IN ('checkpoint', 'cut')),
    CONSTRAINT event_checkpoints_sealed CHECK (count > 0 AND octet_length(head) = 32 AND octet_length(seal) = 32)
);
CREATE INDEX event_heads_by_request ON event_heads (request_id);
CREATE INDEX event_checkpoints_by_request ON event_checkpoints (request_id, kind);

ALTER TABLE events RENAME TO events_before;
ALTER SEQUENCE events_id_seq RENAME TO events_before_id_seq;
ALTER TABLE events_before DROP CONSTRAINT events_number_unique;
ALTER TABLE events_before DROP CONSTRAINT events_pkey;
ALTER TABLE events_before DROP CONSTRAINT events_account_id_fkey;
DROP INDEX events_by_client_id;
DROP INDEX events_by_account;

-- Append-only. The events of one provision request form a chain, and so do an account's administrators' changes without
-- a request: each carries an HMAC over itself and the one before, and somewhere else stand their number and the last
-- HMAC, so that a removed, added or edited row shows.
-- request_id has no foreign key: events outlive their request.
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    account_id bigint REFERENCES accounts (id),
    request_id bigint,
    -- Place in the chain, from 1.
    number bigint,
    client_id text,
    -- Who did it ('device', 'hooks', 'responder', or a person's name) and by which way in.
    actor text NOT NULL,
    source text NOT NULL,
    -- Also given to the device that was refused.
    correlation_id text,
    -- The true reason of a refusal; devices get a generic code.
    reason text,
    detail jsonb NOT NULL DEFAULT '{}',
    chain bytea,
    PRIMARY KEY (id, at),
    CONSTRAINT events_kind_rule CHECK (kind ~ '^[a-z_]{3,64}$'),
    CONSTRAINT events_source_known CHECK (source IN ('hooks', 'mqtt', 'cli', 'api', 'sweep')),
    CONSTRAINT events_chained CHECK (
        (request_id IS NULL OR number IS NOT NULL) AND (number IS NULL) = (chain IS NULL) AND octet_length(chain) = 32
    )
) PARTITION BY RANGE (at);
CREATE INDEX events_by_client_id ON events (client_id, at);
CREATE INDEX events_by_account ON events (account_id, at);

-- Takes what no month's partition takes: an event is never lost because a partition is missing.
CREATE TABLE events_default PARTITION OF events DEFAULT;
-- A number is unique within a partition; across them the head's row lock holds it, and verification.
ALTER TABLE events_default ADD CONSTRAINT events_number_unique UNIQUE (request_id, number);
CREATE UNIQUE INDEX events_account_number_unique ON events_default (coalesce(account_id, 0), number)
    WHERE request_id IS NULL AND number IS NOT NULL;

DO $$
DECLARE
    secured text;
    everybody CONSTANT text := 'provisioning_migrator, provisioning_functions, provisioning_platform, provisioning_responder';
    own CONSTANT text := $own$ NULLIF(current_setting('app.account_id', true), '')::bigint $own$;
BEGIN
    FOREACH secured IN ARRAY ARRAY['events', 'event_heads', 'event_checkpoints'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', secured);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', secured);
        EXECUTE format('CREATE POLICY every_account ON %I TO %s USING (true) WITH CHECK (true)', secured, everybody);
        EXECUTE format('CREATE POLICY own_account ON %I TO provisioning_admin USING (account_id = %s) WITH CHECK (account_id = %s)',
            secured, own, own);
    END LOOP;
END
$$;
-- Nobody reads or writes a partition by its own name, but the function that moves rows into it.
ALTER TABLE events_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE events_default FORCE ROW LEVEL SECURITY;
CREATE POLICY every_account ON events_default TO provisioning_migrator USING (true) WITH CHECK (true);

GRANT SELECT, INSERT ON events TO provisioning_functions;
GRANT SELECT ON events TO provisioning_admin, provisioning_platform, provisioning_responder;
GRANT SELECT, INSERT, UPDATE ON event_heads, event_checkpoints TO provisioning_functions;
GRANT SELECT ON event_heads, event_checkpoints TO provisioning_admin, provisioning_platform;

INSERT INTO events (
    id, at, kind, account_id, request_id, number, client_id, actor, source, correlation_id, reason, detail, chain
) OVERRIDING SYSTEM VALUE
SELECT id, at, kind, account_id, request_id, number, client_id, actor, source, correlation_id, reason, detail, chain
FROM events_before;
DO $$ BEGIN PERFORM setval('events_id_seq', last_value, is_called) FROM events_before_id_seq; END $$;
-- The heads of requests that are deleted already, as far as their events tell.
INSERT INTO event_heads (account_id, request_id, client_id, count, head, kept_users)
SELECT DISTINCT ON (request_id) account_id, request_id, client_id, number, chain, coalesce(detail -> 'kept_users', '[]')
FROM events e
WHERE request_id IS NOT NULL AND NOT EXISTS (SELECT FROM provision_requests q WHERE q.id = e.request_id)
ORDER BY request_id, number DESC;
DROP TABLE events_before;

-- The head of a deleted request stays; its deletion's event is in the chain already.
CREATE FUNCTION keep_event_head() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO event_heads (account_id, request_id, client_id, count, head, kept_users)
    VALUES (OLD.account_id, OLD.id, OLD.client_id, OLD.events_count, OLD.events_head, coalesce(
        (SELECT detail -> 'kept_users' FROM events WHERE request_id = OLD.id AND number = OLD.events_count), '[]'
    ));
    RETURN OLD;
END
$$;
CREATE TRIGGER provision_requests_keep_event_head BEFORE DELETE ON provision_requests
    FOR EACH ROW EXECUTE FUNCTION keep_event_head();

-- Who may append what: the key's length, and for an account's administrator its own account's events only.
CREATE FUNCTION require_event_author(p_key bytea, p_account_id bigint) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF octet_length(p_key) IS DISTINCT FROM 32 THEN
        RAISE EXCEPTION 'the event key must have 32 bytes';
    END IF;
    -- An account's administrator writes its own account's events, whatever a mistake may ask for.
    IF session_user = 'provisioning_admin'
        AND p_account_id IS DISTINCT FROM NULLIF(current_setting('app.account_id', true), '')::bigint THEN
        RAISE EXCEPTION 'another account''s event' USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;

-- The next place in the account's chain of administrators' changes (and the lock of its head, until the commit).
CREATE FUNCTION append_account_event(
    p_key bytea, p_kind text, p_account_id bigint, p_client_id text, p_actor text, p_source text,
    p_correlation_id text, p_reason text, p_detail jsonb
) RETURNS bigint LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_at timestamptz;
    v_count bigint;
    v_head bytea;
    v_id bigint;
BEGIN
    INSERT INTO event_heads (account_id, count) VALUES (coalesce(p_account_id, 0), 0) ON CONFLICT DO NOTHING;
    SELECT count, head INTO STRICT v_count, v_head
    FROM event_heads WHERE account_id = coalesce(p_account_id, 0) AND request_id = 0 FOR UPDATE;
    -- After the lock: a chain's times do not go back.
    v_at := clock_timestamp();
    v_count := v_count + 1;
    v_head := event_chain_link(p_key, v_head, NULL, v_count, v_at, p_kind, p_account_id, p_client_id, p_actor, p_source,
        p_correlation_id, p_reason, p_detail);
    UPDATE event_heads SET count = v_count, head = v_head WHERE account_id = coalesce(p_account_id, 0) AND request_id = 0;
    INSERT INTO events (at, kind, account_id, number, client_id, actor, source, correlation_id, reason, detail, chain)
    VALUES (v_at, p_kind, p_account_id, v_count, p_client_id, p_actor, p_source, p_correlation_id, p_reason, p_detail, v_head)
    RETURNING id INTO v_id;
    RETURN v_id;
END
$$;

-- Append one event; a request's takes the next place in its chain (and the request's row lock). Without a request, what
-- an administrator did takes the next place in the account's chain; what devices and services note is in none, so that
-- refusals never wait for each other. That a request's chain began or ended is said in its account's chain.
-- The key is a bind parameter and is stored nowhere.
CREATE OR REPLACE FUNCTION append_event(
    p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_client_id text, p_actor text, p_source text,
    p_correlation_id text DEFAULT NULL, p_reason text DEFAULT NULL, p_detail jsonb DEFAULT '{}'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_at timestamptz;
    v_count bigint;
    v_head bytea;
    v_id bigint;
BEGIN
    PERFORM require_event_author(p_key, p_account_id);
    IF p_request_id IS NULL AND p_source IN ('cli', 'api') THEN
        RETURN append_account_event(p_key, p_kind, p_account_id, p_client_id, p_actor, p_source, p_correlation_id,
            p_reason, p_detail);
    END IF;
    IF p_request_id IS NOT NULL THEN
        SELECT events_count + 1, events_head INTO STRICT v_count, v_head
        FROM provision_requests WHERE id = p_request_id AND account_id = p_account_id FOR UPDATE;
    END IF;
    v_at := clock_timestamp();
    IF p_request_id IS NOT NULL THEN
        v_head := event_chain_link(p_key, v_head, p_request_id, v_count, v_at, p_kind, p_account_id, p_client_id, p_actor,
            p_source, p_correlation_id, p_reason, p_detail);
        UPDATE provision_requests SET events_count = v_count, events_head = v_head WHERE id = p_request_id;
    END IF;
    INSERT INTO events (at, kind, account_id, request_id, number, client_id, actor, source, correlation_id, reason, detail, chain)
    VALUES (v_at, p_kind, p_account_id, p_request_id, v_count, p_client_id, p_actor, p_source, p_correlation_id, p_reason, p_detail, v_head)
    RETURNING id INTO v_id;
    IF v_count = 1 THEN
        PERFORM append_account_event(p_key, 'chains_begun', p_account_id, NULL, p_actor, p_source, NULL, NULL,
            jsonb_build_object('requests', jsonb_build_array(p_request_id)));
    ELSIF p_kind = 'request_deleted' THEN
        PERFORM append_account_event(p_key, 'chain_ended', p_account_id, NULL, p_actor, p_source, NULL, NULL,
            jsonb_build_object('request', p_request_id, 'count', v_count, 'head', encode(v_head, 'hex')));
    END IF;
    RETURN v_id;
END
$$;

-- The first event of many new requests of one account, in one statement: request, client id and detail by position.
CREATE FUNCTION append_first_events(
    p_key bytea, p_kind text, p_account_id bigint, p_actor text, p_source text,
    p_request_ids bigint [], p_client_ids text [], p_details jsonb []
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_at CONSTANT timestamptz := clock_timestamp();
    v_appended bigint;
    v_from integer;
    -- So many in one event of the account's chain: it stays small enough to read.
    batch CONSTANT integer := 1000;
BEGIN
    PERFORM require_event_author(p_key, p_account_id);
    IF cardinality(p_request_ids) <> cardinality(p_client_ids) OR cardinality(p_request_ids) <> cardinality(p_details) THEN
        RAISE EXCEPTION 'requests, client ids and details must be as many';
    END IF;
    WITH linked AS (
        SELECT n.request_id, n.client_id, n.detail, event_chain_link(
            p_key, NULL, n.request_id, 1, v_at, p_kind, p_account_id, n.client_id, p_actor, p_source, NULL, NULL, n.detail
        ) AS chain
        FROM unnest(p_request_ids, p_client_ids, p_details) AS n (request_id, client_id, detail)
    ), headed AS (
        UPDATE provision_requests q SET events_count = 1, events_head = l.chain
        FROM linked l
        WHERE q.id = l.request_id AND q.account_id = p_account_id AND q.events_count = 0
        RETURNING l.request_id, l.client_id, l.detail, l.chain
    )
    INSERT INTO events (at, kind, account_id, request_id, number, client_id, actor, source, detail, chain)
    SELECT v_at, p_kind, p_account_id, request_id, 1, client_id, p_actor, p_source, detail, chain FROM headed;
    GET DIAGNOSTICS v_appended = ROW_COUNT;
    IF v_appended <> cardinality(p_request_ids) THEN
        RAISE EXCEPTION 'not each is a new request of the account' USING ERRCODE = 'no_data_found';
    END IF;
    FOR v_from IN 1 .. cardinality(p_request_ids) BY batch LOOP
        PERFORM append_account_event(p_key, 'chains_begun', p_account_id, NULL, p_actor, p_source, NULL, NULL,
            jsonb_build_object('requests', to_jsonb(p_request_ids[v_from:v_from + batch - 1])));
    END LOOP;
    RETURN v_appended;
END
$$;

-- As in 0005, from the chain's cut on.
CREATE OR REPLACE FUNCTION broken_event_number(p_key bytea, p_request_id bigint) RETURNS bigint LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_previous bytea;
    v_expected bigint := 0;
    v_event events;
    v_request record;
BEGIN
    SELECT count, head INTO v_expected, v_previous
    FROM event_checkpoints WHERE request_id = p_request_id AND kind = 'cut';
    v_expected := coalesce(v_expected, 0);
    FOR v_event IN SELECT * FROM events WHERE request_id = p_request_id ORDER BY number LOOP
        v_expected := v_expected + 1;
        IF v_event.number <> v_expected OR v_event.chain IS DISTINCT FROM event_chain_link(
            p_key, v_previous, v_event.request_id, v_event.number, v_event.at, v_event.kind, v_event.account_id,
            v_event.client_id, v_event.actor, v_event.source, v_event.correlation_id, v_event.reason, v_event.detail
        ) THEN
            RETURN v_expected;
        END IF;
        v_previous := v_event.chain;
    END LOOP;
    SELECT events_count, events_head INTO v_request FROM provision_requests WHERE id = p_request_id;
    IF FOUND AND (v_request.events_count <> v_expected OR v_request.events_head IS DISTINCT FROM v_previous) THEN
        RETURN v_expected + 1;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION event_checkpoint_seal(
    p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_count bigint, p_head bytea, p_at timestamptz
) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT hmac(convert_to(jsonb_build_array(
        'event_checkpoint', p_kind, p_account_id, p_request_id, p_count, encode(p_head, 'hex'),
        (extract(epoch FROM p_at) * 1000000)::bigint
    )::text, 'UTF8'), p_key, 'sha256')
$$;

-- Every chain's end as it is now becomes its checkpoint. Returns how many, and one digest of all.
CREATE FUNCTION write_event_checkpoint(p_key bytea) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_at CONSTANT timestamptz := clock_timestamp();
    v_written bigint;
BEGIN
    PERFORM require_event_author(p_key, NULL);
    INSERT INTO event_checkpoints AS c (account_id, request_id, kind, count, head, at, seal)
    SELECT h.account_id, h.request_id, 'checkpoint', h.count, h.head, v_at,
        event_checkpoint_seal(p_key, 'checkpoint', h.account_id, h.request_id, h.count, h.head, v_at)
    FROM (
        SELECT account_id, id AS request_id, events_count AS count, events_head AS head FROM provision_requests
        UNION ALL
        SELECT account_id, request_id, count, head FROM event_heads
    ) h
    WHERE h.count > 0
    ON CONFLICT (account_id, request_id, kind) DO UPDATE
    SET count = excluded.count, head = excluded.head, at = excluded.at, seal = excluded.seal
    -- Never backwards.
    WHERE c.count <= excluded.count;
    GET DIAGNOSTICS v_written = ROW_COUNT;
    RETURN v_written;
END
$$;

-- One digest of all checkpoints, or of all cuts: it stands in the event that tells of them.
CREATE FUNCTION event_checkpoints_digest(p_kind text) RETURNS text LANGUAGE sql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT encode(sha256(coalesce(string_agg(seal, ''::bytea ORDER BY account_id, request_id), ''::bytea)), 'hex')
    FROM event_checkpoints WHERE kind = p_kind
$$;

-- A partition for each month that events_default holds, for this month and the two after it; returns their names.
-- As the migrator, whose tables they are. Rows are moved, so each month takes its lock only as long as that needs.
CREATE FUNCTION make_event_partitions() RETURNS text [] LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    v_month timestamptz;
    v_name text;
    v_made text [] := '{}';
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('event partitions', 0));
    FOR v_month IN
        SELECT date_trunc('month', at) FROM events_default
        UNION SELECT date_trunc('month', now()) + make_interval(months => ahead) FROM generate_series(0, 2) ahead
        ORDER BY 1
    LOOP
        v_name := 'events_' || to_char(v_month, 'YYYY_MM');
        CONTINUE WHEN to_regclass('public.' || v_name) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_name);
        EXECUTE format('CREATE POLICY every_account ON %I TO provisioning_migrator USING (true) WITH CHECK (true)', v_name);
        LOCK TABLE events_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format(
            'WITH moved AS (DELETE FROM events_default WHERE at >= %L AND at < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
            v_month, v_month + interval '1 month', v_name);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I UNIQUE (request_id, number)', v_name, v_name || '_number_unique');
        EXECUTE format(
            'CREATE UNIQUE INDEX %I ON %I (coalesce(account_id, 0), number) WHERE request_id IS NULL AND number IS NOT NULL',
            v_name || '_account_number_unique', v_name);
        EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            v_name, v_month, v_month + interval '1 month');
        v_made := v_made || v_name;
    END LOOP;
    RETURN v_made;
END
$$;

-- Drop the partitions of the months before this one, with a cut left in each of their chains. Refused, with nothing
-- changed, unless every chain in them has a checkpoint at its last dropped event or later, as it was verified.
CREATE FUNCTION drop_event_partitions(p_key bytea, p_before timestamptz) RETURNS text [] LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' SET lock_timeout = '5s' AS $$
DECLARE
    v_at CONSTANT timestamptz := clock_timestamp();
    v_name text;
    v_dropped text [] := '{}';
BEGIN
    IF octet_length(p_key) IS DISTINCT FROM 32 OR p_before <> date_trunc('month', p_before)
        OR p_before > date_trunc('month', now()) THEN
        RAISE EXCEPTION 'the event key must have 32 bytes, and the month must have ended' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('event partitions', 0));
    IF EXISTS (SELECT FROM events_default WHERE at < p_before) THEN
        RAISE EXCEPTION 'some events are not in their month''s partition yet' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    CREATE TEMP TABLE dropped_ends ON COMMIT DROP AS
        SELECT DISTINCT ON (coalesce(account_id, 0), coalesce(request_id, 0))
            coalesce(account_id, 0) AS account_id, coalesce(request_id, 0) AS request_id, number, chain
        FROM events WHERE at < p_before AND number IS NOT NULL
        ORDER BY coalesce(account_id, 0), coalesce(request_id, 0), number DESC;
    IF EXISTS (
        SELECT FROM pg_temp.dropped_ends d LEFT JOIN event_checkpoints c
            ON c.account_id = d.account_id AND c.request_id = d.request_id AND c.kind = 'checkpoint'
        WHERE c.count IS NULL OR c.count < d.number OR (c.count = d.number AND c.head <> d.chain)
            OR c.seal <> event_checkpoint_seal(p_key, c.kind, c.account_id, c.request_id, c.count, c.head, c.at)
    ) THEN
        RAISE EXCEPTION 'some chains have no checkpoint behind these months' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- A clock that went back could have put a chain's earlier event into a later month: then the month stays.
    IF EXISTS (
        SELECT FROM pg_temp.dropped_ends d JOIN events e
            ON coalesce(e.account_id, 0) = d.account_id AND coalesce(e.request_id, 0) = d.request_id AND e.number < d.number
        WHERE e.at >= p_before
    ) THEN
        RAISE EXCEPTION 'an earlier event of a chain is in a later month' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    INSERT INTO event_checkpoints (account_id, request_id, kind, count, head, at, seal)
    SELECT account_id, request_id, 'cut', number, chain, v_at,
        event_checkpoint_seal(p_key, 'cut', account_id, request_id, number, chain, v_at)
    FROM pg_temp.dropped_ends
    ON CONFLICT (account_id, request_id, kind) DO UPDATE
    SET count = excluded.count, head = excluded.head, at = excluded.at, seal = excluded.seal;
    FOR v_name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.events'::regclass AND c.relname ~ '^events_[0-9]{4}_[0-9]{2}$'
            AND c.relname < 'events_' || to_char(p_before, 'YYYY_MM')
        ORDER BY 1
    LOOP
        EXECUTE format('DROP TABLE %I', v_name);
        v_dropped := v_dropped || v_name;
    END LOOP;
    RETURN v_dropped;
END
$$;
GRANT SELECT, INSERT, UPDATE ON event_checkpoints TO provisioning_migrator;

REVOKE EXECUTE ON FUNCTION
    keep_event_head(), require_event_author(bytea, bigint),
    append_account_event(bytea, text, bigint, text, text, text, text, text, jsonb),
    append_first_events(bytea, text, bigint, text, text, bigint [], text [], jsonb []),
    event_checkpoint_seal(bytea, text, bigint, bigint, bigint, bytea, timestamptz),
    write_event_checkpoint(bytea), event_checkpoints_digest(text), make_event_partitions(),
    drop_event_partitions(bytea, timestamptz)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_first_events(bytea, text, bigint, text, text, bigint [], text [], jsonb [])
    TO provisioning_admin, provisioning_platform;
GRANT EXECUTE ON FUNCTION event_checkpoint_seal(bytea, text, bigint, bigint, bigint, bytea, timestamptz)
    TO provisioning_platform, provisioning_functions;
GRANT EXECUTE ON FUNCTION event_checkpoints_digest(text), write_event_checkpoint(bytea), drop_event_partitions(bytea, timestamptz)
    TO provisioning_platform;
GRANT EXECUTE ON FUNCTION make_event_partitions() TO provisioning_responder, provisioning_platform;

GRANT CREATE ON SCHEMA public TO provisioning_functions;
ALTER FUNCTION keep_event_head() OWNER TO provisioning_functions;
ALTER FUNCTION require_event_author(bytea, bigint) OWNER TO provisioning_functions;
ALTER FUNCTION append_account_event(bytea, text, bigint, text, text, text, text, text, jsonb) OWNER TO provisioning_functions;
ALTER FUNCTION append_first_events(bytea, text, bigint, text, text, bigint [], text [], jsonb []) OWNER TO provisioning_functions;
ALTER FUNCTION write_event_checkpoint(bytea) OWNER TO provisioning_functions;
REVOKE CREATE ON SCHEMA public FROM provisioning_functions;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0016_events' $$;
