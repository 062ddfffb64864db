-- The schema after the last migration: dumped; read first; do not edit; `make schema` writes it.
-- What each table, column and function is for stands in sql/migrations. A role's rights: sql/roles.sql.

CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;

COMMENT ON EXTENSION pgcrypto IS 'cryptographic functions';

CREATE FUNCTION public.account_id_of(p_name text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT id FROM accounts WHERE lower(name COLLATE "C") = lower(p_name COLLATE "C") AND kind = 'account'
$$;

ALTER FUNCTION public.account_id_of(p_name text) OWNER TO provisioning_functions;

CREATE FUNCTION public.allow_request_move() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        ('OPEN', 'RUNNING'),         -- good ask
        ('RUNNING', 'PROVISIONED'),  -- first allowed login
        ('RUNNING', 'OPEN'),         -- failed, deadline, stop
        ('RUNNING', 'ABANDONED'),    -- failed at the maximum of attempts
        ('PROVISIONED', 'OPEN'),     -- reopen
        ('ABANDONED', 'OPEN')        -- reopen
    ) THEN
        RAISE EXCEPTION 'a provision request cannot go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'provision_requests_move_known', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

ALTER FUNCTION public.allow_request_move() OWNER TO provisioning_migrator;

CREATE FUNCTION public.allow_run_move() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    -- Forward only; steps may be left out.
    live_order CONSTANT text[] := ARRAY[
        'CREATED', 'STARTED', 'RUNNING', 'APPS_INSTALLING', 'APPS_INSTALLED', 'CONF_UPDATING', 'CONF_UPDATED'
    ];
    was integer := array_position(live_order, OLD.state);
    becomes integer := array_position(live_order, NEW.state);
BEGIN
    IF (was IS NOT NULL AND becomes > was)
        OR (was >= 3 AND NEW.state = 'COMPLETED')
        OR (was IS NOT NULL AND NEW.state IN ('FAILED', 'ABANDONED', 'STOPPING', 'STOPPED'))
        OR (OLD.state = 'STOPPING' AND NEW.state = 'STOPPED')
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a run cannot go from % to %', OLD.state, NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'provision_runs_move_known', TABLE = TG_TABLE_NAME;
END
$$;

ALTER FUNCTION public.allow_run_move() OWNER TO provisioning_migrator;

CREATE FUNCTION public.append_account_event(p_key bytea, p_kind text, p_account_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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

ALTER FUNCTION public.append_account_event(p_key bytea, p_kind text, p_account_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) OWNER TO provisioning_functions;

CREATE FUNCTION public.append_event(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text DEFAULT NULL::text, p_reason text DEFAULT NULL::text, p_detail jsonb DEFAULT '{}'::jsonb) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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

ALTER FUNCTION public.append_event(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) OWNER TO provisioning_functions;

CREATE FUNCTION public.append_first_events(p_key bytea, p_kind text, p_account_id bigint, p_actor text, p_source text, p_request_ids bigint[], p_client_ids text[], p_details jsonb[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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

ALTER FUNCTION public.append_first_events(p_key bytea, p_kind text, p_account_id bigint, p_actor text, p_source text, p_request_ids bigint[], p_client_ids text[], p_details jsonb[]) OWNER TO provisioning_functions;

CREATE FUNCTION public.begin_run(p_event_key bytea, p_request_id bigint, p_number bigint, p_wire text, p_username text, p_secret_sha256 bytea, p_token_sha256 bytea, p_salt bytea, p_answer jsonb, p_sealed_key text, p_confirm_by timestamp with time zone, p_steps jsonb, p_actor text, p_source text, p_detail jsonb) RETURNS TABLE(run_id bigint, user_id bigint, device_id bigint, made boolean)
    LANGUAGE plpgsql ROWS 1
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
    v_account_id bigint;
    v_client_id text;
    v_coupling text;
    v_reserve boolean;
    v_user_id bigint;
    v_device_id bigint;
    v_made boolean;
    v_run_id bigint;
BEGIN
    -- Not `enabled` and not `attempts`, which stay: whoever is set enabled is told to every broker.
    UPDATE provision_requests q SET state = 'RUNNING', modified_at = clock_timestamp(), modified_by = p_actor
    WHERE q.id = p_request_id
    RETURNING q.account_id, q.client_id, q.device_connection_coupling, q.reserve_user
    INTO STRICT v_account_id, v_client_id, v_coupling, v_reserve;
    INSERT INTO users (account_id, name, kind, secret_sha256) VALUES (v_account_id, p_username, 'device', p_secret_sha256)
    RETURNING id INTO v_user_id;
    INSERT INTO user_permissions (account_id, user_id, permission) VALUES (v_account_id, v_user_id, 'broker:connect');
    INSERT INTO devices AS d (account_id, client_id) VALUES (v_account_id, v_client_id)
    ON CONFLICT (account_id, client_id) DO UPDATE SET client_id = excluded.client_id
    RETURNING d.id, xmax = 0 INTO v_device_id, v_made;
    INSERT INTO device_connections (account_id, client_id, device_id, coupling, user_id, reserved_user_id)
    VALUES (v_account_id, v_client_id, v_device_id, v_coupling, v_user_id, CASE WHEN v_reserve THEN v_user_id END)
    ON CONFLICT (account_id, client_id) DO UPDATE
    SET device_id = excluded.device_id, coupling = excluded.coupling, user_id = excluded.user_id,
        reserved_user_id = excluded.reserved_user_id, allow_user_change = false;
    INSERT INTO provision_runs (
        account_id, request_id, number, wire, token_sha256, salt, user_id, username, device_id, made_device, answer,
        sealed_key, confirm_by, outage
    ) VALUES (
        v_account_id, p_request_id, p_number, p_wire, p_token_sha256, p_salt, v_user_id, p_username, v_device_id, v_made,
        p_answer, p_sealed_key, p_confirm_by, outage()
    ) RETURNING id INTO v_run_id;
    UPDATE provision_runs SET state = 'STARTED' WHERE id = v_run_id;
    UPDATE provision_runs SET state = 'RUNNING' WHERE id = v_run_id;
    INSERT INTO run_steps (account_id, run_id, position, kind, request_id, job_id)
    SELECT v_account_id, v_run_id, s.position, s.kind, s.request_id, s.job_id
    FROM jsonb_to_recordset(p_steps) AS s (position bigint, kind text, request_id text, job_id bigint);
    PERFORM append_event(p_event_key, 'run_started', v_account_id, p_request_id, v_client_id, p_actor, p_source,
        p_detail => p_detail);
    RETURN QUERY SELECT v_run_id, v_user_id, v_device_id, v_made;
END
$$;

ALTER FUNCTION public.begin_run(p_event_key bytea, p_request_id bigint, p_number bigint, p_wire text, p_username text, p_secret_sha256 bytea, p_token_sha256 bytea, p_salt bytea, p_answer jsonb, p_sealed_key text, p_confirm_by timestamp with time zone, p_steps jsonb, p_actor text, p_source text, p_detail jsonb) OWNER TO provisioning_migrator;

CREATE FUNCTION public.broken_event_number(p_key bytea, p_request_id bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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

ALTER FUNCTION public.broken_event_number(p_key bytea, p_request_id bigint) OWNER TO provisioning_migrator;

CREATE FUNCTION public.client_id_claim(p_account_id bigint, p_client_id text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_release releases;
BEGIN
    SELECT * INTO v_release FROM releases
    WHERE client_id = p_client_id AND used_at IS NULL AND cancelled_at IS NULL;
    IF NOT FOUND
        AND NOT EXISTS (SELECT FROM provision_requests WHERE client_id = p_client_id AND account_id <> p_account_id)
        AND NOT EXISTS (SELECT FROM devices WHERE client_id = p_client_id AND account_id <> p_account_id)
    THEN
        RETURN '{"held": true, "given_away": false, "release": null}';
    END IF;
    RETURN jsonb_build_object(
        'held', coalesce(client_id_holder(p_client_id) = p_account_id, true),
        'given_away', EXISTS (
            SELECT FROM releases WHERE client_id = p_client_id AND account_id = p_account_id AND used_at IS NOT NULL
        ),
        'release', CASE WHEN v_release.id IS NOT NULL THEN jsonb_build_object(
            'to_own', v_release.to_account_id = p_account_id,
            'expired', clock_timestamp() >= v_release.expires_on,
            'request_state', (
                SELECT state FROM provision_requests
                WHERE client_id = p_client_id AND account_id = v_release.to_account_id
            )
        ) END
    );
END
$$;

ALTER FUNCTION public.client_id_claim(p_account_id bigint, p_client_id text) OWNER TO provisioning_functions;

CREATE FUNCTION public.client_id_holder(p_client_id text) RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_first bigint;
    v_last bigint;
BEGIN
    SELECT min(c.account_id), max(c.account_id) INTO v_first, v_last
    FROM (
        SELECT account_id FROM provision_requests WHERE client_id = p_client_id
        UNION ALL SELECT account_id FROM devices WHERE client_id = p_client_id
    ) c;
    IF v_first IS NOT DISTINCT FROM v_last THEN
        RETURN v_first;
    END IF;
    RETURN (
        SELECT c.account_id
        FROM (
            SELECT account_id FROM provision_requests WHERE client_id = p_client_id
            UNION SELECT account_id FROM devices WHERE client_id = p_client_id
        ) c
        LEFT JOIN LATERAL (
            SELECT r.used_at, r.to_account_id = c.account_id AS received FROM releases r
            WHERE r.client_id = p_client_id AND r.used_at IS NOT NULL AND c.account_id IN (r.account_id, r.to_account_id)
            ORDER BY r.used_at DESC, r.id DESC LIMIT 1
        ) last ON true
        ORDER BY CASE
                WHEN last.received THEN 0
                WHEN NOT last.received THEN 3
                WHEN EXISTS (
                    SELECT FROM releases r
                    WHERE r.client_id = p_client_id AND r.to_account_id = c.account_id AND r.used_at IS NULL
                ) THEN 2
                ELSE 1
            END,
            last.used_at DESC, c.account_id
        LIMIT 1
    );
END
$$;

ALTER FUNCTION public.client_id_holder(p_client_id text) OWNER TO provisioning_functions;

CREATE FUNCTION public.client_id_is_anothers(p_account_id bigint, p_client_id text, p_first_login boolean) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM devices WHERE client_id = p_client_id AND account_id <> p_account_id)
        AND NOT EXISTS (SELECT FROM provision_requests WHERE client_id = p_client_id AND account_id <> p_account_id)
        OR client_id_holder(p_client_id) = p_account_id
    THEN
        RETURN false;
    END IF;
    RETURN NOT (p_first_login AND EXISTS (
        SELECT FROM releases
        WHERE client_id = p_client_id AND to_account_id = p_account_id AND used_at IS NULL AND cancelled_at IS NULL
    ));
END
$$;

ALTER FUNCTION public.client_id_is_anothers(p_account_id bigint, p_client_id text, p_first_login boolean) OWNER TO provisioning_functions;

CREATE FUNCTION public.cluster_name() RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system()) || '/' || (SELECT timeline_id FROM pg_control_checkpoint());
END
$$;

ALTER FUNCTION public.cluster_name() OWNER TO provisioning_functions;

CREATE FUNCTION public.count_logins(p_logins jsonb) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    INSERT INTO logins (broker, username, client_id, hour, account_id, count, first_at, last_at)
    SELECT l.broker, l.username, l.client_id, date_trunc('hour', clock_timestamp(), 'UTC'), u.account_id, l.count,
        clock_timestamp(), clock_timestamp()
    FROM jsonb_to_recordset(p_logins) AS l (broker text, username text, client_id text, count bigint)
    LEFT JOIN users u ON lower(u.name COLLATE "C") = lower(l.username COLLATE "C")
    ORDER BY l.broker, l.username, l.client_id
    ON CONFLICT (broker, username, client_id, hour) DO UPDATE
    SET count = logins.count + excluded.count, last_at = excluded.last_at
$$;

ALTER FUNCTION public.count_logins(p_logins jsonb) OWNER TO provisioning_functions;

CREATE FUNCTION public.count_refusals(p_refusals jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_minute CONSTANT timestamptz := date_trunc('minute', v_now, 'UTC');
    most_of_client CONSTANT integer := 20;
    most_of_others CONSTANT integer := 100;
BEGIN
    WITH told AS (
        SELECT r.broker, r.username, r.client_id, r.reason, r.count, r.topic, r.access,
            -- A name that nobody has is told to the account whose client id it came with.
            coalesce(u.account_id, r.account_id, CASE WHEN u.id IS NULL THEN client_id_holder(r.client_id) END) AS account_id,
            CASE WHEN EXISTS (SELECT FROM provision_requests q WHERE q.client_id = r.client_id)
                    OR EXISTS (SELECT FROM devices d WHERE d.client_id = r.client_id) THEN 'client ' || r.client_id
                WHEN u.id IS NOT NULL THEN 'user ' || u.name
                ELSE 'nobody' END AS share,
            EXISTS (
                SELECT FROM refusals k WHERE k.broker = r.broker AND k.username = r.username
                    AND k.client_id = r.client_id AND k.reason = r.reason AND k.minute = v_minute
            ) AS kept
        FROM jsonb_to_recordset(p_refusals) AS r (
            broker text, username text, client_id text, reason text, count bigint, topic text, access text, account_id bigint
        )
        LEFT JOIN users u ON lower(u.name COLLATE "C") = lower(r.username COLLATE "C")
    ), used AS (
        SELECT broker, share, count(*) AS rows FROM refusals WHERE minute = v_minute AND client_id <> '*' GROUP BY 1, 2
    ), placed AS (
        SELECT t.*, t.client_id = '*' OR NOT t.kept AND coalesce(u.rows, 0)
                + row_number() OVER (PARTITION BY t.broker, t.share, t.kept ORDER BY t.username, t.client_id, t.reason)
                > CASE WHEN t.share LIKE 'client %' THEN most_of_client ELSE most_of_others END AS over
        FROM told t LEFT JOIN used u ON u.broker = t.broker AND u.share = t.share
    ), folded AS (
        SELECT p.broker, p.reason, p.count, p.topic, p.access, p.account_id, p.share,
            CASE WHEN p.over AND p.share NOT LIKE 'user %' THEN '*' ELSE p.username END AS username,
            CASE WHEN p.over AND p.share NOT LIKE 'client %' THEN '*' ELSE p.client_id END AS client_id,
            CASE WHEN p.over THEN date_trunc('hour', v_now, 'UTC') ELSE v_minute END AS minute
        FROM placed p
    )
    INSERT INTO refusals (
        broker, username, client_id, reason, minute, account_id, count, first_at, last_at, last_topic, last_access, share
    )
    SELECT broker, username, client_id, reason, minute, CASE WHEN username <> '*' THEN min(account_id) END, sum(count),
        v_now, v_now, max(topic), max(access), min(share)
    FROM folded GROUP BY broker, username, client_id, reason, minute
    ORDER BY broker, username, client_id, reason, minute
    ON CONFLICT (broker, username, client_id, reason, minute) DO UPDATE
    SET count = refusals.count + excluded.count, last_at = excluded.last_at,
        last_topic = excluded.last_topic, last_access = excluded.last_access;
END
$$;

ALTER FUNCTION public.count_refusals(p_refusals jsonb) OWNER TO provisioning_functions;

CREATE FUNCTION public.drop_event_partitions(p_key bytea, p_before timestamp with time zone) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '500ms'
    AS $_$
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
$_$;

ALTER FUNCTION public.drop_event_partitions(p_key bytea, p_before timestamp with time zone) OWNER TO provisioning_migrator;

CREATE FUNCTION public.effective_deadline(p_confirm_by timestamp with time zone, p_outage interval) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN p_confirm_by + greatest(outage() - p_outage, interval '0');
END
$$;

ALTER FUNCTION public.effective_deadline(p_confirm_by timestamp with time zone, p_outage interval) OWNER TO provisioning_functions;

CREATE FUNCTION public.end_run(p_event_key bytea, p_run_id bigint, p_states text[], p_failure text, p_request_state text, p_attempts bigint, p_enabled boolean, p_actor text, p_source text, p_detail jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
DECLARE
    v_run record;
    v_client_id text;
BEGIN
    SELECT account_id, request_id, user_id, device_id, made_device INTO STRICT v_run FROM provision_runs WHERE id = p_run_id;
    IF cardinality(p_states) > 1 THEN
        UPDATE provision_runs SET state = p_states[1] WHERE id = p_run_id;
    END IF;
    UPDATE provision_runs
    SET state = p_states[cardinality(p_states)], failure = p_failure, salt = NULL, ended_at = clock_timestamp()
    WHERE id = p_run_id;
    DELETE FROM users WHERE id = v_run.user_id;
    IF v_run.made_device THEN
        DELETE FROM device_connections
        WHERE account_id = v_run.account_id AND device_id = v_run.device_id AND last_login_at IS NULL;
        DELETE FROM devices WHERE id = v_run.device_id;
    END IF;
    UPDATE provision_requests
    SET state = p_request_state, attempts = p_attempts, enabled = p_enabled, modified_at = clock_timestamp(),
        modified_by = p_actor
    WHERE id = v_run.request_id RETURNING client_id INTO STRICT v_client_id;
    PERFORM append_event(p_event_key, 'run_ended', v_run.account_id, v_run.request_id, v_client_id, p_actor, p_source,
        p_reason => p_failure, p_detail => p_detail);
END
$$;

ALTER FUNCTION public.end_run(p_event_key bytea, p_run_id bigint, p_states text[], p_failure text, p_request_state text, p_attempts bigint, p_enabled boolean, p_actor text, p_source text, p_detail jsonb) OWNER TO provisioning_migrator;

CREATE FUNCTION public.event_chain_link(p_key bytea, p_previous bytea, p_request_id bigint, p_number bigint, p_at timestamp with time zone, p_kind text, p_account_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    -- An array's text keeps every value apart from its neighbours; microseconds do not depend on a time zone setting.
    RETURN hmac(
        coalesce(p_previous, ''::bytea) || convert_to(jsonb_build_array(
            p_request_id, p_number, (extract(epoch FROM p_at) * 1000000)::bigint, p_kind, p_account_id, p_client_id,
            p_actor, p_source, p_correlation_id, p_reason, p_detail
        )::text, 'UTF8'),
        p_key, 'sha256'
    );
END
$$;

ALTER FUNCTION public.event_chain_link(p_key bytea, p_previous bytea, p_request_id bigint, p_number bigint, p_at timestamp with time zone, p_kind text, p_account_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) OWNER TO provisioning_functions;

CREATE FUNCTION public.event_checkpoint_seal(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_count bigint, p_head bytea, p_at timestamp with time zone) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT hmac(convert_to(jsonb_build_array(
        'event_checkpoint', p_kind, p_account_id, p_request_id, p_count, encode(p_head, 'hex'),
        (extract(epoch FROM p_at) * 1000000)::bigint
    )::text, 'UTF8'), p_key, 'sha256')
$$;

ALTER FUNCTION public.event_checkpoint_seal(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_count bigint, p_head bytea, p_at timestamp with time zone) OWNER TO provisioning_migrator;

CREATE FUNCTION public.event_checkpoints_digest(p_kind text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT encode(sha256(coalesce(string_agg(seal, ''::bytea ORDER BY account_id, request_id), ''::bytea)), 'hex')
    FROM event_checkpoints WHERE kind = p_kind
$$;

ALTER FUNCTION public.event_checkpoints_digest(p_kind text) OWNER TO provisioning_migrator;

CREATE FUNCTION public.finish_move(p_event_key bytea, p_release_id bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_release releases;
    v_request provision_requests;
    v_run provision_runs;
    v_users bigint[];
    v_names jsonb;
BEGIN
    UPDATE releases SET used_at = clock_timestamp() WHERE id = p_release_id RETURNING * INTO v_release;
    SELECT * INTO v_request FROM provision_requests
    WHERE client_id = v_release.client_id AND account_id = v_release.account_id;
    SELECT * INTO v_run FROM provision_runs WHERE request_id = v_request.id AND ended_at IS NULL;
    IF FOUND THEN
        UPDATE provision_runs SET state = 'STOPPING' WHERE id = v_run.id AND state <> 'STOPPING';
        UPDATE provision_runs
        SET state = 'STOPPED', salt = NULL, ended_at = clock_timestamp(), failure = 'released_to_another_account'
        WHERE id = v_run.id;
        DELETE FROM users WHERE id = v_run.user_id;
        UPDATE provision_requests SET state = 'OPEN' WHERE id = v_request.id;
        PERFORM append_event(
            p_event_key, 'run_ended', v_release.account_id, v_request.id, v_release.client_id, 'hooks', 'hooks',
            p_reason => 'released_to_another_account', p_detail => jsonb_build_object(
                'run', v_run.number, 'state', 'STOPPED', 'username', v_run.username, 'attempts', v_request.attempts
            )
        );
    END IF;
    v_users := generated_users_of(v_release.account_id, v_release.client_id);
    UPDATE users SET enabled = false WHERE id = ANY (v_users) AND enabled;
    UPDATE devices SET enabled = false
    WHERE account_id = v_release.account_id AND client_id = v_release.client_id AND enabled;
    UPDATE provision_requests SET enabled = false, modified_at = clock_timestamp(), modified_by = 'hooks'
    WHERE id = v_request.id;
    SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') INTO v_names FROM users WHERE id = ANY (v_users);
    PERFORM append_event(
        p_event_key, 'release_used', v_release.account_id, v_request.id, v_release.client_id, 'hooks', 'hooks',
        p_detail => jsonb_build_object(
            'to', (SELECT name FROM accounts WHERE id = v_release.to_account_id), 'disabled_users', v_names
        )
    );
END
$$;

ALTER FUNCTION public.finish_move(p_event_key bytea, p_release_id bigint) OWNER TO provisioning_functions;

CREATE FUNCTION public.forget_sealed_key() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    NEW.sealed_key := NULL;
    RETURN NEW;
END
$$;

ALTER FUNCTION public.forget_sealed_key() OWNER TO provisioning_migrator;

CREATE FUNCTION public.generated_users_of(p_account_id bigint, p_client_id text) RETURNS bigint[]
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT coalesce(array_agg(u.id ORDER BY u.id), '{}') FROM users u
    WHERE u.account_id = p_account_id AND u.kind = 'device' AND (
        u.id IN (
            SELECT r.user_id FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id
            WHERE q.account_id = p_account_id AND q.client_id = p_client_id
        ) OR u.id IN (
            SELECT unnest(ARRAY[c.user_id, c.reserved_user_id]) FROM device_connections c
            WHERE c.account_id = p_account_id AND c.client_id = p_client_id
        )
    )
$$;

ALTER FUNCTION public.generated_users_of(p_account_id bigint, p_client_id text) OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_brokers() RETURNS TABLE(name text, role text, secret_sha256 bytea, previous_secret_sha256 bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT b.name, b.role, b.secret_sha256, b.previous_secret_sha256 FROM brokers b
$$;

ALTER FUNCTION public.hook_brokers() OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_changes(p_last text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT jsonb_build_object(
        'last', pg_snapshot_xmin(pg_current_snapshot())::text,
        'lost', (SELECT xid >= p_last::xid8 FROM changes_pruned),
        'changes', (
            SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_array(c.kind, c.key)), '[]')
            FROM changes c WHERE c.xid >= p_last::xid8
        )
    )
$$;

ALTER FUNCTION public.hook_changes(p_last text) OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_count_guesses(p_guesses jsonb, p_interval double precision, p_longest double precision, p_most integer) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_longest CONSTANT interval := make_interval(secs => p_longest);
    v_now timestamptz;
BEGIN
    INSERT INTO password_guesses AS k (username, full_at)
    SELECT g.username, clock_timestamp() + least(make_interval(secs => p_interval * g.count), v_longest)
    FROM jsonb_to_recordset(p_guesses) AS g (username text, count integer) ORDER BY g.username
    ON CONFLICT (username) DO UPDATE
    SET full_at = least(
        greatest(k.full_at, clock_timestamp()) + (excluded.full_at - clock_timestamp()), clock_timestamp() + v_longest
    );
    v_now := clock_timestamp();
    RETURN (
        SELECT coalesce(jsonb_object_agg(m.username, least(extract(epoch FROM m.full_at - v_now), p_longest)), '{}')
        FROM (SELECT * FROM password_guesses WHERE full_at > v_now ORDER BY full_at DESC LIMIT p_most) m
    );
END
$$;

ALTER FUNCTION public.hook_count_guesses(p_guesses jsonb, p_interval double precision, p_longest double precision, p_most integer) OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_facts(p_broker text, p_username text, p_client_id text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'as_of', pg_snapshot_xmin(pg_current_snapshot())::text,
            'key_proved', b.role IS NOT DISTINCT FROM 'provision' AND EXISTS (
                SELECT FROM provision_requests kq JOIN key_proofs kp ON kp.request_id = kq.id
                WHERE kq.client_id = p_client_id AND kp.proved_at > clock_timestamp() - interval '10 minutes'
            ),
            'broker_role', b.role,
            'highest_cost', CASE WHEN b.role = 'provision' THEN (
                SELECT greatest(
                    (SELECT max(substr(password_bcrypt, 5, 2))::integer FROM users WHERE kind = 'provision'),
                    (SELECT max(substr(previous_password_bcrypt, 5, 2))::integer FROM credentials WHERE overlap_until IS NOT NULL)
                )
            ) END,
            -- Whether any credential on the platform has two passwords just now: then every refusal pays for two.
            'overlap_open', b.role IS NOT DISTINCT FROM 'provision' AND EXISTS (SELECT FROM credentials WHERE overlap_until > clock_timestamp()),
            'user', CASE WHEN u.id IS NOT NULL THEN jsonb_build_object(
                'id', u.id, 'kind', u.kind, 'enabled', u.enabled, 'confirmed', u.confirmed_at IS NOT NULL,
                'previous_password_bcrypt', CASE WHEN k.overlap_until > clock_timestamp() THEN k.previous_password_bcrypt END,
                'held', k.held_at IS NOT NULL,
                'password_bcrypt', u.password_bcrypt, 'secret_sha256', encode(u.secret_sha256, 'hex'), 'version', u.version,
                'permissions', (SELECT coalesce(jsonb_agg(permission), '[]') FROM user_permissions p WHERE p.user_id = u.id)
            ) END,
            'account', CASE WHEN a.id IS NOT NULL THEN jsonb_build_object(
                'id', a.id, 'name', a.name, 'enabled', a.enabled, 'coupling', a.device_connection_coupling, 'version', a.version,
                'mandatory_provisioning', a.mandatory_provisioning,
                'served', EXISTS (SELECT FROM broker_accounts s WHERE s.broker_id = b.id AND s.account_id = a.id)
            ) END,
            -- The request that this credential and this client id match (provision brokers).
            'request', CASE WHEN q.id IS NOT NULL THEN jsonb_build_object(
                'id', q.id, 'enabled', q.enabled, 'claim', client_id_claim(q.account_id, p_client_id)
            ) END,
            -- Whether a request of the account was completed for this client id (asked where provisioning is mandatory).
            'provisioned', EXISTS (
                SELECT FROM provision_requests p
                WHERE p.account_id = u.account_id AND p.client_id = p_client_id AND p.state = 'PROVISIONED'
            ),
            -- The live run that generated this user, until its first login.
            'run', CASE WHEN r.id IS NOT NULL THEN jsonb_build_object(
                'id', r.id, 'version', r.version, 'past_deadline', past_deadline(r.confirm_by, r.outage),
                'request_version', rq.version, 'request_enabled', rq.enabled, 'client_id', rq.client_id
            ) END,
            'device', CASE WHEN d.id IS NOT NULL THEN jsonb_build_object(
                'id', d.id, 'enabled', d.enabled, 'version', d.version
            ) END,
            'connection', CASE WHEN c.id IS NOT NULL THEN jsonb_build_object(
                'id', c.id, 'coupling', c.coupling, 'user_id', c.user_id, 'reserved_user_id', c.reserved_user_id,
                'allow_user_change', c.allow_user_change, 'version', c.version
            ) END,
            'reserved_elsewhere', EXISTS (
                SELECT FROM device_connections o
                WHERE o.account_id = u.account_id AND o.reserved_user_id = u.id AND o.client_id <> p_client_id
            ),
            -- Another account's device, or request, while this one neither holds the client id nor logs in for the first
            -- time by a release; or a mere connection of another account, where this one has neither.
            'client_id_of_another_account',
                -- Nearly always nobody else has it; the function, which begins with the same, is dear to call.
                (
                    EXISTS (SELECT FROM devices o WHERE o.client_id = p_client_id AND o.account_id <> u.account_id)
                    OR EXISTS (SELECT FROM provision_requests o WHERE o.client_id = p_client_id AND o.account_id <> u.account_id)
                ) AND client_id_is_anothers(u.account_id, p_client_id, r.id IS NOT NULL)
                OR (
                    d.id IS NULL AND r.id IS NULL
                    AND EXISTS (SELECT FROM device_connections o WHERE o.client_id = p_client_id AND o.account_id <> u.account_id)
                )
        )
        FROM (VALUES (true)) AS one (row)
        LEFT JOIN brokers b ON b.name = p_broker
        LEFT JOIN users u ON lower(u.name COLLATE "C") = lower(p_username COLLATE "C") AND u.name = p_username
        LEFT JOIN credentials k ON k.user_id = u.id
        LEFT JOIN accounts a ON a.id = u.account_id
        LEFT JOIN provision_requests q ON b.role = 'provision' AND q.client_id = p_client_id AND q.user_id = u.id
        LEFT JOIN provision_runs r ON r.user_id = u.id AND r.ended_at IS NULL
        LEFT JOIN provision_requests rq ON rq.id = r.request_id
        LEFT JOIN devices d ON d.account_id = u.account_id AND d.client_id = p_client_id
        LEFT JOIN device_connections c ON c.account_id = u.account_id AND c.client_id = p_client_id
    );
END
$$;

ALTER FUNCTION public.hook_facts(p_broker text, p_username text, p_client_id text) OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_feed(p_position text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT jsonb_build_object(
        'position', pg_current_snapshot()::text,
        'as_of', pg_snapshot_xmin(pg_current_snapshot())::text,
        'lost', (SELECT coalesce(xid >= pg_snapshot_xmin(p_position::pg_snapshot), false) FROM changes_pruned),
        'changes', (
            SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_array(c.kind, c.key)), '[]')
            FROM changes c
            WHERE c.xid >= pg_snapshot_xmin(p_position::pg_snapshot)
                AND NOT pg_visible_in_snapshot(c.xid, p_position::pg_snapshot)
        )
    )
$$;

ALTER FUNCTION public.hook_feed(p_position text) OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_heartbeat() RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    UPDATE heartbeats SET
        held_since = CASE WHEN held_since IS NULL AND cluster NOT IN ('', cluster_name()) THEN at ELSE held_since END,
        outage = CASE
            WHEN held_since IS NOT NULL OR cluster NOT IN ('', cluster_name()) THEN outage
            WHEN clock_timestamp() - at > interval '10 seconds' THEN outage + (clock_timestamp() - at)
            ELSE outage
        END,
        cluster = CASE WHEN cluster = '' THEN cluster_name() ELSE cluster END,
        at = clock_timestamp()
    WHERE process = 'hooks'
$$;

ALTER FUNCTION public.hook_heartbeat() OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_login(p_event_key bytea, p_broker text, p_client_id text, p_account_id bigint, p_account_version bigint, p_user_id bigint, p_user_version bigint, p_run_id bigint, p_run_version bigint, p_request_version bigint, p_device_id bigint, p_device_version bigint, p_connection_id bigint, p_connection_version bigint) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET lock_timeout TO '200ms'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
DECLARE
    v_request_id bigint;
    v_device_id bigint;
    v_broker_id bigint;
    v_release_id bigint;
BEGIN
    IF p_run_id IS NOT NULL THEN
        v_release_id := lock_move(p_client_id, p_account_id, p_user_id);
        SELECT q.id INTO v_request_id
        FROM provision_requests q
        WHERE q.id = (SELECT request_id FROM provision_runs WHERE id = p_run_id)
            AND q.version = p_request_version AND q.state = 'RUNNING' AND q.enabled AND q.client_id = p_client_id
        FOR UPDATE;
        IF NOT FOUND THEN
            RETURN 'changed';
        END IF;
        PERFORM FROM provision_runs r
        WHERE r.id = p_run_id AND r.version = p_run_version AND r.ended_at IS NULL AND r.state <> 'STOPPING'
            AND r.user_id = p_user_id AND r.request_id = v_request_id
        FOR UPDATE;
        -- The deadline is judged after the lock: waiting for it takes time too.
        IF NOT FOUND OR (SELECT past_deadline(confirm_by, outage) FROM provision_runs WHERE id = p_run_id) THEN
            RETURN 'changed';
        END IF;
    END IF;

    PERFORM FROM users u
    WHERE u.id = p_user_id AND u.version = p_user_version AND u.enabled AND u.account_id = p_account_id FOR UPDATE;
    IF NOT FOUND OR NOT EXISTS (
        SELECT FROM accounts a JOIN broker_accounts s ON s.account_id = a.id JOIN brokers b ON b.id = s.broker_id
        WHERE a.id = p_account_id AND a.version = p_account_version AND a.enabled AND b.name = p_broker
    ) THEN
        RETURN 'changed';
    END IF;

    SELECT d.id INTO v_device_id FROM devices d WHERE d.account_id = p_account_id AND d.client_id = p_client_id FOR SHARE;
    IF v_device_id IS DISTINCT FROM p_device_id OR NOT EXISTS (
        SELECT FROM devices d WHERE d.id = v_device_id AND d.version = p_device_version AND d.enabled
        UNION ALL SELECT WHERE v_device_id IS NULL
    ) THEN
        RETURN 'changed';
    END IF;

    SELECT b.id INTO v_broker_id FROM brokers b WHERE b.name = p_broker;
    -- A first login in an account that does not hold the client id uses a release up; a cancelled one is none.
    IF p_run_id IS NOT NULL AND v_release_id IS NULL AND client_id_holder(p_client_id) <> p_account_id THEN
        RETURN 'changed';
    END IF;
    IF p_connection_id IS NULL THEN
        -- One account at a time under a free client id: the same lock as where requests and devices claim one.
        PERFORM pg_advisory_xact_lock(hashtextextended('client_id ' || p_client_id, 0));
        IF (client_id_holder(p_client_id) <> p_account_id AND v_release_id IS NULL)
            OR (p_device_id IS NULL AND EXISTS (
                SELECT FROM device_connections WHERE client_id = p_client_id AND account_id <> p_account_id
            ))
        THEN
            RETURN 'changed';
        END IF;
        INSERT INTO device_connections (account_id, client_id, device_id, user_id, broker_id, status, last_login_at, last_seen_at)
        VALUES (p_account_id, p_client_id, v_device_id, p_user_id, v_broker_id, 'CONNECTED', clock_timestamp(), clock_timestamp())
        ON CONFLICT DO NOTHING;
    ELSE
        UPDATE device_connections c
        SET user_id = p_user_id, allow_user_change = false, device_id = v_device_id, broker_id = v_broker_id,
            status = 'CONNECTED', last_login_at = clock_timestamp(), last_seen_at = clock_timestamp()
        WHERE c.id = p_connection_id AND c.version = p_connection_version;
    END IF;
    IF NOT FOUND THEN
        -- Nothing may remain of a login that is not allowed after all: the moves below come last.
        RETURN 'changed';
    END IF;

    IF p_run_id IS NOT NULL THEN
        UPDATE provision_runs SET state = 'COMPLETED', salt = NULL, ended_at = clock_timestamp() WHERE id = p_run_id;
        UPDATE provision_requests SET state = 'PROVISIONED', modified_at = clock_timestamp(), modified_by = 'hooks'
        WHERE id = v_request_id;
        UPDATE users SET confirmed_at = clock_timestamp() WHERE id = p_user_id;
        PERFORM append_event(
            p_event_key, 'confirmed', p_account_id, v_request_id, p_client_id, 'device', 'hooks',
            p_detail => jsonb_build_object(
                'run', (SELECT number FROM provision_runs WHERE id = p_run_id), 'broker', p_broker
            )
        );
    END IF;
    IF v_release_id IS NOT NULL THEN
        PERFORM finish_move(p_event_key, v_release_id);
    END IF;
    RETURN 'moved';
END
$$;

ALTER FUNCTION public.hook_login(p_event_key bytea, p_broker text, p_client_id text, p_account_id bigint, p_account_version bigint, p_user_id bigint, p_user_version bigint, p_run_id bigint, p_run_version bigint, p_request_version bigint, p_device_id bigint, p_device_version bigint, p_connection_id bigint, p_connection_version bigint) OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_note_broker_began(p_broker text, p_age double precision) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
    AS $$
    WITH began AS (
        SELECT b.id AS broker_id, clock_timestamp() - p_age * interval '1 second' AS at
        FROM brokers b WHERE b.name = p_broker AND b.role = 'account'
    ), gone AS (
        SELECT c.id, began.at FROM began JOIN device_connections c USING (broker_id)
        WHERE c.status = 'CONNECTED' AND c.last_login_at <= began.at
        ORDER BY c.id LIMIT 2000 FOR UPDATE OF c
    ), ended AS (
        UPDATE device_connections c
        SET status = CASE WHEN c.born_at IS NULL THEN 'DISCONNECTED' ELSE 'MISSING' END, status_at = gone.at, ended_at = gone.at
        FROM gone WHERE c.id = gone.id
        RETURNING c.id
    )
    SELECT count(*) FROM ended
$$;

ALTER FUNCTION public.hook_note_broker_began(p_broker text, p_age double precision) OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_note_connections(p_event_key bytea, p_broker text, p_clients jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
    AS $$
DECLARE
    v_broker_id CONSTANT bigint := (SELECT id FROM brokers WHERE name = p_broker AND role = 'account');
    v_now CONSTANT timestamptz := clock_timestamp();
    v_told record;
    v_row device_connections;
    v_unexplained boolean;
    v_status text;
BEGIN
    FOR v_told IN
        -- In one order for everybody, so that nobody waits in a circle; most of what is told is known already.
        SELECT f.id, f.connected, f.at, f.event_due FROM (
            SELECT DISTINCT ON (c.client_id) c.id, c.status, (s.value ->> 1)::boolean AS connected,
                v_now - (s.value ->> 2)::double precision * interval '1 second' AS at, (s.value ->> 3)::boolean AS event_due
            FROM jsonb_array_elements(p_clients) AS s (value)
            JOIN device_connections c ON c.client_id = s.value ->> 0 AND c.broker_id = v_broker_id
            ORDER BY c.client_id, c.last_login_at DESC NULLS LAST
        ) f
        WHERE NOT (f.connected AND f.status IS NOT DISTINCT FROM 'CONNECTED')
        ORDER BY f.id
    LOOP
        SELECT * INTO v_row FROM device_connections WHERE id = v_told.id AND broker_id = v_broker_id FOR UPDATE;
        CONTINUE WHEN NOT FOUND OR v_row.last_login_at IS NULL;
        v_unexplained := coalesce(v_row.ended_at = v_row.status_at, false);
        v_status := v_row.status;
        IF v_told.connected THEN
            CONTINUE WHEN v_status = 'CONNECTED' OR NOT v_unexplained AND v_row.status_at >= v_told.at;
            v_status := 'CONNECTED';
            UPDATE device_connections SET status = v_status, status_at = v_told.at, ended_at = NULL WHERE id = v_row.id;
        ELSE
            CONTINUE WHEN v_row.last_login_at > v_told.at;
            IF v_status = 'CONNECTED' THEN
                v_status := CASE WHEN v_row.born_at IS NULL THEN 'DISCONNECTED' ELSE 'MISSING' END;
                v_unexplained := true;
            END IF;
            UPDATE device_connections
            SET status = v_status, status_at = CASE WHEN v_unexplained THEN v_told.at ELSE status_at END, ended_at = v_told.at
            WHERE id = v_row.id;
        END IF;
        IF v_told.event_due AND v_status IS DISTINCT FROM v_row.status THEN
            PERFORM append_event(
                p_event_key, 'device_' || lower(v_status), v_row.account_id, NULL, v_row.client_id, 'device', 'hooks',
                p_detail => jsonb_build_object('broker', p_broker)
            );
        END IF;
    END LOOP;
END
$$;

ALTER FUNCTION public.hook_note_connections(p_event_key bytea, p_broker text, p_clients jsonb) OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_note_seen(p_seen jsonb) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    UPDATE device_connections c
    SET last_seen_at = clock_timestamp(),
        last_login_at = CASE WHEN b.id IS NULL THEN c.last_login_at
            ELSE clock_timestamp() - coalesce((s ->> 3)::double precision, 0) * interval '1 second' END,
        broker_id = coalesce(b.id, c.broker_id)
    FROM jsonb_array_elements(p_seen) AS s LEFT JOIN brokers b ON b.name = s ->> 2
    WHERE c.account_id = (s ->> 0)::bigint AND c.client_id = s ->> 1
        AND (b.id IS NOT NULL OR c.last_seen_at IS NULL OR c.last_seen_at < clock_timestamp() - interval '1 minute')
$$;

ALTER FUNCTION public.hook_note_seen(p_seen jsonb) OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_prove_key(p_username text, p_client_id text, p_key_sha256 bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_request record;
BEGIN
    SELECT q.id, q.account_id INTO v_request
    FROM provision_requests q JOIN users u ON u.id = q.user_id
    WHERE q.client_id = p_client_id AND q.activation_key_sha256 = p_key_sha256 AND u.name = p_username;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO key_proofs AS k (request_id, account_id, proved_at)
    VALUES (v_request.id, v_request.account_id, clock_timestamp())
    ON CONFLICT (request_id) DO UPDATE SET proved_at = excluded.proved_at
    WHERE k.proved_at NOT BETWEEN excluded.proved_at - interval '1 minute' AND excluded.proved_at;
    IF FOUND THEN
        -- Whoever remembers a login without the key looks again.
        INSERT INTO changes (kind, key) VALUES ('client', p_client_id);
        PERFORM pg_notify('changes', '');
    END IF;
    RETURN true;
END
$$;

ALTER FUNCTION public.hook_prove_key(p_username text, p_client_id text, p_key_sha256 bytea) OWNER TO provisioning_functions;

CREATE FUNCTION public.hook_redeem_takeover(p_secret_sha256 bytea, p_client_id text, p_broker text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_username text;
BEGIN
    DELETE FROM one_time_passwords
    WHERE secret_sha256 = p_secret_sha256 AND client_id = p_client_id AND (broker IS NULL OR broker = p_broker)
        AND expires_at > clock_timestamp()
    RETURNING username INTO v_username;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_build_object('username', v_username, 'facts', CASE WHEN v_username IS NOT NULL THEN
        hook_facts(p_broker, v_username, p_client_id)
            || jsonb_build_object('as_of', pg_snapshot_xmin(pg_current_snapshot())::text)
    END, 'replaced', (
        WITH known AS (
            SELECT g.username, g.last_at AS at FROM logins g WHERE g.broker = p_broker AND g.client_id = p_client_id
            UNION ALL
            SELECT u.name, c.last_login_at FROM device_connections c
            JOIN users u ON u.id = c.user_id JOIN brokers b ON b.id = c.broker_id
            WHERE c.client_id = p_client_id AND b.name = p_broker AND c.last_login_at IS NOT NULL
        )
        SELECT EXISTS (
            SELECT FROM known WHERE username IS DISTINCT FROM v_username AND at >= coalesce(
                (SELECT max(own.at) FROM known own WHERE own.username = v_username) - interval '1.5 seconds', '-infinity'
            )
        )
    ));
END
$$;

ALTER FUNCTION public.hook_redeem_takeover(p_secret_sha256 bytea, p_client_id text, p_broker text) OWNER TO provisioning_functions;

CREATE FUNCTION public.keep_client_id_in_one_account() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_release releases;
BEGIN
    IF TG_TABLE_NAME = 'provision_requests' THEN
        -- Whoever cancels or uses the release comes before or after. (A device comes with its run, whose request is
        -- held already, and a release is held before its requests: see lock_release and lock_move.)
        PERFORM FROM releases WHERE client_id = NEW.client_id AND used_at IS NULL AND cancelled_at IS NULL FOR SHARE;
    END IF;
    SELECT * INTO v_release FROM releases
    WHERE client_id = NEW.client_id AND used_at IS NULL AND cancelled_at IS NULL;
    PERFORM pg_advisory_xact_lock(hashtextextended('client_id ' || NEW.client_id, 0));
    IF (
        EXISTS (SELECT FROM provision_requests WHERE client_id = NEW.client_id AND account_id <> NEW.account_id)
        OR EXISTS (SELECT FROM devices WHERE client_id = NEW.client_id AND account_id <> NEW.account_id)
    ) AND client_id_holder(NEW.client_id) IS DISTINCT FROM NEW.account_id AND NOT coalesce(
        -- The end date is for requests; the device of a request that was made in time comes with its run.
        v_release.to_account_id = NEW.account_id AND (v_release.expires_on > clock_timestamp() OR EXISTS (
            SELECT FROM provision_requests WHERE client_id = NEW.client_id AND account_id = NEW.account_id
        )), false
    ) THEN
        RAISE EXCEPTION 'client id is not available'
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'client_id_belongs_to_one_account', TABLE = TG_TABLE_NAME;
    END IF;
    IF v_release.to_account_id = NEW.account_id AND TG_TABLE_NAME = 'provision_requests' THEN
        -- The old account's factory credential is good no more from now on.
        INSERT INTO changes (kind, key) VALUES ('client', NEW.client_id);
        PERFORM pg_notify('changes', '');
    END IF;
    RETURN NEW;
END
$$;

ALTER FUNCTION public.keep_client_id_in_one_account() OWNER TO provisioning_functions;

CREATE FUNCTION public.keep_event_head() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO event_heads (account_id, request_id, client_id, count, head, kept_users)
    VALUES (OLD.account_id, OLD.id, OLD.client_id, OLD.events_count, OLD.events_head, coalesce(
        (SELECT detail -> 'kept_users' FROM events WHERE request_id = OLD.id AND number = OLD.events_count), '[]'
    ));
    RETURN OLD;
END
$$;

ALTER FUNCTION public.keep_event_head() OWNER TO provisioning_functions;

CREATE FUNCTION public.lock_case(p_client_id text) RETURNS TABLE(now timestamp with time zone, id bigint, account_id bigint, account text, account_enabled boolean, client_id text, user_id bigint, activation_key_sha256 bytea, provision_endpoint text, broker_id bigint, activates_on timestamp with time zone, expires_on timestamp with time zone, reserve_user boolean, device_connection_coupling text, additional_device_configuration jsonb, maximum_attempts bigint, attempts bigint, enabled boolean, state text, start_on_birth boolean, key_failures bigint, key_failures_since timestamp with time zone, version bigint, created_at timestamp with time zone, created_by text, modified_at timestamp with time zone, modified_by text, endpoint_served boolean, provision_username text, device_enabled boolean, claim jsonb, next_number bigint, applications jsonb, ca text, run_id bigint, run_account_id bigint, run_request_id bigint, run_number bigint, run_wire text, run_state text, run_token_sha256 bytea, run_salt bytea, run_user_id bigint, run_username text, run_device_id bigint, run_made_device boolean, run_answer jsonb, run_sealed_key text, run_deadline timestamp with time zone, run_past_deadline boolean, run_steps jsonb)
    LANGUAGE plpgsql ROWS 1
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
    v_request_id CONSTANT bigint := request_of_client_id(p_client_id);
    v_request provision_requests;
    v_run provision_runs;
    v_now timestamptz;
    v_deadline timestamptz;
BEGIN
    SELECT q.* INTO v_request FROM provision_requests q WHERE q.id = v_request_id FOR UPDATE;
    SELECT r.* INTO v_run FROM provision_runs r WHERE r.request_id = v_request.id AND r.ended_at IS NULL FOR UPDATE;
    v_now := clock_timestamp();
    IF v_run.id IS NOT NULL THEN
        v_deadline := effective_deadline(v_run.confirm_by, v_run.outage);
    END IF;
    RETURN QUERY SELECT v_now,
        v_request.id, v_request.account_id, a.name, a.enabled, v_request.client_id, v_request.user_id,
        v_request.activation_key_sha256, v_request.provision_endpoint, v_request.broker_id, v_request.activates_on,
        v_request.expires_on, v_request.reserve_user, v_request.device_connection_coupling,
        v_request.additional_device_configuration, v_request.maximum_attempts, v_request.attempts, v_request.enabled,
        v_request.state, v_request.start_on_birth, v_request.key_failures, v_request.key_failures_since, v_request.version,
        v_request.created_at, v_request.created_by, v_request.modified_at, v_request.modified_by,
        coalesce(v_request.provision_endpoint = ANY (b.endpoints), false),
        (SELECT u.name FROM users u WHERE u.id = v_request.user_id),
        coalesce((
            SELECT d.enabled FROM devices d WHERE d.account_id = v_request.account_id AND d.client_id = v_request.client_id
        ), true),
        CASE WHEN v_request.id IS NOT NULL THEN client_id_claim(v_request.account_id, v_request.client_id) END,
        (SELECT coalesce(max(r.number), 0) + 1 FROM provision_runs r WHERE r.request_id = v_request.id),
        (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'name', p.name, 'version', p.application_version, 'url', p.url, 'sha256', p.sha256, 'size', p.size
            ) ORDER BY p.position), '[]') FROM provision_applications p WHERE p.request_id = v_request.id
        ),
        b.ca,
        v_run.id, v_run.account_id, v_run.request_id, v_run.number, v_run.wire, v_run.state, v_run.token_sha256,
        v_run.salt, v_run.user_id, v_run.username, v_run.device_id, v_run.made_device, v_run.answer, v_run.sealed_key,
        v_deadline, v_now >= v_deadline,
        CASE WHEN v_run.wire = 'kura' THEN (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'position', s.position, 'kind', s.kind, 'state', s.state, 'request_id', s.request_id, 'job_id', s.job_id,
                'retries', s.retries, 'sent_at', s.sent_at, 'answered_at', s.answered_at
            ) ORDER BY s.position), '[]') FROM run_steps s WHERE s.run_id = v_run.id
        ) END
    FROM (VALUES (true)) AS one (row)
    LEFT JOIN accounts a ON a.id = v_request.account_id
    LEFT JOIN brokers b ON b.id = v_request.broker_id;
END
$$;

ALTER FUNCTION public.lock_case(p_client_id text) OWNER TO provisioning_migrator;

CREATE FUNCTION public.lock_move(p_client_id text, p_account_id bigint, p_user_id bigint) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_release releases;
    v_accounts bigint[];
BEGIN
    SELECT * INTO v_release FROM releases
    WHERE client_id = p_client_id AND to_account_id = p_account_id AND used_at IS NULL AND cancelled_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_accounts := ARRAY[v_release.account_id, p_account_id];
    PERFORM FROM provision_requests WHERE client_id = p_client_id AND account_id = ANY (v_accounts) ORDER BY id FOR UPDATE;
    PERFORM FROM provision_runs r
    WHERE r.ended_at IS NULL AND r.request_id IN (
        SELECT q.id FROM provision_requests q WHERE q.client_id = p_client_id AND q.account_id = ANY (v_accounts)
    ) ORDER BY r.id FOR UPDATE;
    PERFORM FROM users
    WHERE id = ANY (generated_users_of(v_release.account_id, p_client_id) || p_user_id) ORDER BY id FOR UPDATE;
    PERFORM FROM devices WHERE client_id = p_client_id AND account_id = ANY (v_accounts) ORDER BY id FOR UPDATE;
    RETURN v_release.id;
END
$$;

ALTER FUNCTION public.lock_move(p_client_id text, p_account_id bigint, p_user_id bigint) OWNER TO provisioning_functions;

CREATE FUNCTION public.lock_release(p_account_id bigint, p_client_id text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_release releases;
    v_state text;
BEGIN
    SELECT * INTO v_release FROM releases
    WHERE client_id = p_client_id AND account_id = p_account_id AND used_at IS NULL AND cancelled_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT state INTO v_state FROM provision_requests
    WHERE client_id = p_client_id AND account_id = v_release.to_account_id FOR UPDATE;
    RETURN jsonb_build_object(
        'id', v_release.id, 'expired', clock_timestamp() >= v_release.expires_on, 'request_state', v_state
    );
END
$$;

ALTER FUNCTION public.lock_release(p_account_id bigint, p_client_id text) OWNER TO provisioning_functions;

CREATE FUNCTION public.make_event_partitions() RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    v_month timestamptz;
    v_name text;
    v_made text [] := '{}';
BEGIN
    FOR v_month IN
        SELECT date_trunc('month', at) FROM events_default
        UNION SELECT date_trunc('month', now()) + make_interval(months => ahead) FROM generate_series(0, 2) ahead
        ORDER BY 1
    LOOP
        v_name := 'events_' || to_char(v_month, 'YYYY_MM');
        CONTINUE WHEN to_regclass('public.' || v_name) IS NOT NULL;
        -- While nobody appends: who had chosen the default partition for its event would find it refused there. And with
        -- the lock on accounts that attaching takes for the foreign key. All or none, tried and not waited for, so that
        -- nobody who holds one of them (a new account's transaction holds accounts, and then appends) waits for us.
        FOR v_try IN 1..100 LOOP
            BEGIN
                LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE NOWAIT;
                IF NOT pg_try_advisory_xact_lock(hashtextextended('event partitions', 0)) THEN
                    RAISE lock_not_available;
                END IF;
                LOCK TABLE events_default IN ACCESS EXCLUSIVE MODE NOWAIT;
                EXIT;
            EXCEPTION WHEN lock_not_available THEN
                IF v_try = 100 THEN
                    RETURN v_made;
                END IF;
            END;
            PERFORM pg_sleep(0.02);
        END LOOP;
        CONTINUE WHEN to_regclass('public.' || v_name) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_name);
        EXECUTE format('CREATE POLICY every_account ON %I TO provisioning_migrator USING (true) WITH CHECK (true)', v_name);
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

ALTER FUNCTION public.make_event_partitions() OWNER TO provisioning_migrator;

CREATE FUNCTION public.names_taken(p_account_id bigint, p_client_id text, p_username text) RETURNS TABLE(client_id_taken boolean, username_taken boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT
        EXISTS (SELECT FROM provision_requests q WHERE q.client_id = p_client_id AND q.account_id = p_account_id)
        OR (
            (
                EXISTS (SELECT FROM provision_requests q WHERE q.client_id = p_client_id AND q.account_id <> p_account_id)
                OR EXISTS (SELECT FROM devices d WHERE d.client_id = p_client_id AND d.account_id <> p_account_id)
            ) AND client_id_holder(p_client_id) IS DISTINCT FROM p_account_id AND NOT EXISTS (
                SELECT FROM releases r
                WHERE r.client_id = p_client_id AND r.to_account_id = p_account_id AND r.used_at IS NULL
                    AND r.cancelled_at IS NULL AND r.expires_on > clock_timestamp()
            )
        ),
        EXISTS (
            SELECT FROM users u WHERE lower(u.name COLLATE "C") = lower(p_username COLLATE "C")
                AND (u.account_id IS DISTINCT FROM p_account_id OR u.kind <> 'provision' OR u.name <> p_username)
        )
$$;

ALTER FUNCTION public.names_taken(p_account_id bigint, p_client_id text, p_username text) OWNER TO provisioning_functions;

CREATE FUNCTION public.next_version() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END
$$;

ALTER FUNCTION public.next_version() OWNER TO provisioning_migrator;

CREATE FUNCTION public.note_access() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    -- TG_ARGV: the kind, and the column that has the name.
    v_row CONSTANT jsonb := CASE WHEN TG_OP = 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
    v_name text := v_row ->> TG_ARGV[1];
    v_client_id text;
BEGIN
    IF TG_ARGV[0] = 'credential' THEN
        v_name := (SELECT name FROM users WHERE id = (v_row ->> 'user_id')::bigint);
    ELSIF TG_ARGV[0] = 'service' THEN
        v_name := (SELECT name FROM brokers WHERE id = (v_row ->> 'broker_id')::bigint);
    ELSIF v_row ->> 'confirmed_at' IS NOT NULL THEN
        v_client_id := (
            SELECT q.client_id FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id
            WHERE r.user_id = (v_row ->> 'id')::bigint ORDER BY r.id DESC LIMIT 1
        );
    END IF;
    IF v_name IS NOT NULL THEN -- else what it belongs to goes as well, and says so
        INSERT INTO access_journal (kind, name, account, state, made, version, client_id)
        VALUES (
            TG_ARGV[0], v_name,
            (SELECT name FROM accounts WHERE id = (v_row ->> 'account_id')::bigint),
            CASE
                WHEN TG_OP = 'DELETE' THEN 'deleted'
                WHEN v_row ->> 'held_at' IS NOT NULL OR v_row ->> 'enabled' = 'false' THEN 'disabled'
                ELSE 'enabled'
            END,
            (v_row ->> 'created_at')::timestamptz, (v_row ->> 'version')::bigint, v_client_id
        );
    END IF;
    RETURN NULL;
END
$$;

ALTER FUNCTION public.note_access() OWNER TO provisioning_functions;

CREATE FUNCTION public.note_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_row CONSTANT jsonb := CASE WHEN TG_OP = 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
BEGIN
    -- TG_ARGV: the kind of the change and the column that names what changed.
    INSERT INTO changes (kind, key) VALUES (TG_ARGV[0], v_row ->> TG_ARGV[1]);
    PERFORM pg_notify('changes', '');
    RETURN NULL;
END
$$;

ALTER FUNCTION public.note_change() OWNER TO provisioning_functions;

CREATE FUNCTION public.note_credential_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO changes (kind, key) SELECT 'user', name FROM users WHERE id = NEW.user_id;
    PERFORM pg_notify('changes', '');
    RETURN NULL;
END
$$;

ALTER FUNCTION public.note_credential_change() OWNER TO provisioning_functions;

CREATE FUNCTION public.note_credential_uses(p_uses jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_hour CONSTANT timestamptz := date_trunc('hour', clock_timestamp(), 'UTC');
    most CONSTANT integer := 1000;
BEGIN
    DELETE FROM credential_uses c
    USING jsonb_to_recordset(p_uses) AS t (username text, kind text, what text), users u
    WHERE t.kind = 'new_password' AND lower(u.name COLLATE "C") = lower(t.username COLLATE "C")
        AND c.user_id = u.id AND c.kind = 'old_password' AND c.what = t.what;
    WITH told AS (
        SELECT u.id AS user_id, u.account_id, t.kind, t.what, t.count, EXISTS (
                SELECT FROM credential_uses k
                WHERE k.user_id = u.id AND k.kind = t.kind AND k.hour = v_hour AND k.what = t.what
            ) AS kept
        FROM jsonb_to_recordset(p_uses) AS t (username text, kind text, what text, count bigint)
        JOIN users u ON lower(u.name COLLATE "C") = lower(t.username COLLATE "C") AND u.kind = 'provision'
        WHERE t.kind <> 'new_password'
    ), used AS (
        SELECT k.user_id, k.kind, count(*) AS rows FROM credential_uses k
        WHERE k.hour = v_hour AND k.user_id IN (SELECT user_id FROM told) GROUP BY 1, 2
    ), placed AS (
        SELECT t.user_id, t.account_id, t.kind, t.count, CASE
                WHEN t.kind <> 'old_password' AND NOT t.kept AND coalesce(u.rows, 0)
                    + row_number() OVER (PARTITION BY t.user_id, t.kind, t.kept ORDER BY t.what) > most THEN '*'
                ELSE t.what
            END AS what
        FROM told t LEFT JOIN used u ON u.user_id = t.user_id AND u.kind = t.kind
    )
    INSERT INTO credential_uses (user_id, account_id, kind, what, hour, count, last_at)
    SELECT user_id, account_id, kind, what, v_hour, sum(count), clock_timestamp()
    FROM placed GROUP BY user_id, account_id, kind, what
    ORDER BY user_id, kind, what
    ON CONFLICT (user_id, kind, hour, what) DO UPDATE
    SET count = credential_uses.count + excluded.count, last_at = excluded.last_at;
END
$$;

ALTER FUNCTION public.note_credential_uses(p_uses jsonb) OWNER TO provisioning_functions;

CREATE FUNCTION public.note_first_login() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    NEW.status_at := NEW.last_login_at;
    RETURN NEW;
END
$$;

ALTER FUNCTION public.note_first_login() OWNER TO provisioning_migrator;

CREATE FUNCTION public.note_login() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_unexplained CONSTANT boolean := coalesce(OLD.ended_at = OLD.status_at, false);
BEGIN
    NEW.status := OLD.status;
    IF OLD.last_login_at >= NEW.last_login_at OR (
        OLD.born_at >= NEW.last_login_at - interval '0.5 seconds'
        AND (OLD.status = 'CONNECTED' OR OLD.status_at >= NEW.last_login_at)
    ) THEN
        -- Heard of already, by a newer login or by the BIRTH that followed this one.
        NEW.last_login_at := greatest(OLD.last_login_at, NEW.last_login_at);
        RETURN NEW;
    END IF;
    IF OLD.ends_owed = -1 AND OLD.status_at >= NEW.last_login_at THEN
        NEW.ends_owed := 0;
        RETURN NEW;
    END IF;
    IF OLD.ended_at >= NEW.last_login_at AND (OLD.broker_id IS NULL OR OLD.broker_id IS NOT DISTINCT FROM NEW.broker_id) THEN
        -- Its end was told first. (What another broker told was of an older connection.)
        RETURN NEW;
    END IF;
    NEW.ends_owed := CASE
        WHEN OLD.status = 'CONNECTED' AND OLD.born_at >= OLD.last_login_at OR v_unexplained AND OLD.born_at IS NOT NULL THEN 1
        ELSE 0 END;
    NEW.ended_at := NULL;
    IF OLD.status IS DISTINCT FROM 'CONNECTED' THEN
        NEW.status := 'CONNECTED';
        NEW.status_at := NEW.last_login_at;
    END IF;
    RETURN NEW;
END
$$;

ALTER FUNCTION public.note_login() OWNER TO provisioning_migrator;

CREATE FUNCTION public.outage() RETURNS interval
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN (
        SELECT outage + CASE
            WHEN held_since IS NOT NULL THEN clock_timestamp() - held_since
            WHEN cluster NOT IN ('', cluster_name()) OR clock_timestamp() - at > interval '10 seconds'
                THEN clock_timestamp() - at
            ELSE interval '0'
        END
        FROM heartbeats WHERE process = 'hooks'
    );
END
$$;

ALTER FUNCTION public.outage() OWNER TO provisioning_functions;

CREATE FUNCTION public.own_releases(p_client_id text) RETURNS TABLE(client_id text, account text, to_account text, created_at timestamp with time zone, expires_on timestamp with time zone, used_at timestamp with time zone, cancelled_at timestamp with time zone, created_by text, request_state text, expired boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT r.client_id, f.name, t.name, r.created_at, r.expires_on, r.used_at, r.cancelled_at,
        CASE WHEN r.account_id = own.id THEN r.created_by END, q.state, clock_timestamp() >= r.expires_on
    FROM (SELECT NULLIF(current_setting('app.account_id', true), '')::bigint AS id) own
    JOIN releases r ON own.id IN (r.account_id, r.to_account_id)
    JOIN accounts f ON f.id = r.account_id
    JOIN accounts t ON t.id = r.to_account_id
    LEFT JOIN provision_requests q ON q.client_id = r.client_id AND q.account_id = r.to_account_id
        AND r.used_at IS NULL AND r.cancelled_at IS NULL
    WHERE p_client_id IS NULL OR r.client_id = p_client_id
    ORDER BY r.client_id, r.id
$$;

ALTER FUNCTION public.own_releases(p_client_id text) OWNER TO provisioning_functions;

CREATE FUNCTION public.past_deadline(p_confirm_by timestamp with time zone, p_outage interval) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN clock_timestamp() >= effective_deadline(p_confirm_by, p_outage);
END
$$;

ALTER FUNCTION public.past_deadline(p_confirm_by timestamp with time zone, p_outage interval) OWNER TO provisioning_functions;

CREATE FUNCTION public.permission_changes_user() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    UPDATE users SET version = version + 1
    WHERE id = coalesce(NEW.user_id, OLD.user_id) AND xmin <> pg_current_xact_id()::xid;
    RETURN NULL;
END
$$;

ALTER FUNCTION public.permission_changes_user() OWNER TO provisioning_functions;

CREATE FUNCTION public.prune_refusals(p_keep interval, p_most bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_gone bigint := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('prune refusals', 0)) THEN
        RETURN 0;
    END IF;
    DELETE FROM refusals WHERE minute < clock_timestamp() - p_keep;
    IF NOT EXISTS (SELECT FROM refusals ORDER BY minute DESC OFFSET p_most LIMIT 1) THEN
        RETURN 0;
    END IF;
    WITH ranked AS (
        SELECT broker, username, client_id, reason, minute,
            row_number() OVER (PARTITION BY broker, share ORDER BY minute DESC, last_at DESC) AS place
        FROM refusals WHERE client_id <> '*'
    ), beyond AS (
        SELECT broker, username, client_id, reason, minute FROM ranked
        ORDER BY place, minute DESC, broker, username, client_id, reason OFFSET p_most * 8 / 10
    ), gone AS (
        DELETE FROM refusals r USING beyond b
        WHERE r.broker = b.broker AND r.username = b.username AND r.client_id = b.client_id AND r.reason = b.reason
            AND r.minute = b.minute
        RETURNING r.*
    ), summarised AS (
        INSERT INTO refusals (broker, username, client_id, reason, minute, account_id, count, first_at, last_at, share)
        SELECT broker, CASE WHEN share LIKE 'user %' THEN username ELSE '*' END, '*', reason,
            date_trunc('hour', minute, 'UTC'), CASE WHEN share LIKE 'user %' THEN min(account_id) END, sum(count),
            min(coalesce(first_at, minute)), max(last_at), min(share)
        FROM gone
        GROUP BY broker, CASE WHEN share LIKE 'user %' THEN username ELSE '*' END, share LIKE 'user %', reason,
            date_trunc('hour', minute, 'UTC')
        ON CONFLICT (broker, username, client_id, reason, minute) DO UPDATE
        SET count = refusals.count + excluded.count, last_at = greatest(refusals.last_at, excluded.last_at),
            first_at = least(refusals.first_at, excluded.first_at)
    )
    SELECT count(*) INTO v_gone FROM gone;
    DELETE FROM refusals WHERE ctid IN (
        SELECT ctid FROM refusals WHERE client_id = '*' ORDER BY minute DESC, last_at DESC OFFSET greatest(p_most / 10, 1)
    );
    RETURN v_gone;
END
$$;

ALTER FUNCTION public.prune_refusals(p_keep interval, p_most bigint) OWNER TO provisioning_functions;

CREATE FUNCTION public.read_access_journal(p_cluster text, p_position text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT jsonb_build_object(
        'held', held_since IS NOT NULL OR cluster NOT IN ('', cluster_name()),
        'cluster', cluster_name(),
        'position', pg_current_snapshot()::text,
        'changes', CASE WHEN held_since IS NOT NULL OR cluster NOT IN ('', cluster_name()) THEN '[]' ELSE (
            SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                'at', j.at, 'id', j.id, 'kind', j.kind, 'name', j.name, 'account', j.account, 'state', j.state,
                'made', j.made, 'version', j.version, 'client_id', j.client_id
            )) ORDER BY j.at, j.id), '[]')
            FROM access_journal j
            WHERE p_position IS NULL OR p_cluster IS DISTINCT FROM cluster_name() OR (
                j.xid >= pg_snapshot_xmin(p_position::pg_snapshot)
                AND NOT pg_visible_in_snapshot(j.xid, p_position::pg_snapshot)
                -- Of a dumped database: xids that this cluster has not come to.
                AND j.xid < pg_snapshot_xmax(pg_current_snapshot())
            )
        ) END
    )
    FROM heartbeats WHERE process = 'hooks'
$$;

ALTER FUNCTION public.read_access_journal(p_cluster text, p_position text) OWNER TO provisioning_functions;

CREATE FUNCTION public.refuse_provision_account() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF EXISTS (SELECT FROM accounts WHERE id = NEW.account_id AND kind = 'provision') THEN
        RAISE EXCEPTION 'the provision account owns nothing'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'owned_by_an_account', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

ALTER FUNCTION public.refuse_provision_account() OWNER TO provisioning_functions;

CREATE FUNCTION public.refuse_while_stopped() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF EXISTS (SELECT FROM issuing WHERE stopped_at IS NOT NULL) THEN
        RAISE EXCEPTION 'issuing is stopped'
            USING ERRCODE = 'serialization_failure', CONSTRAINT = 'provision_runs_begin_while_issuing', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

ALTER FUNCTION public.refuse_while_stopped() OWNER TO provisioning_functions;

CREATE FUNCTION public.request_of_client_id(p_client_id text) RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_first bigint;
    v_last bigint;
BEGIN
    SELECT min(id), max(id) INTO v_first, v_last FROM provision_requests WHERE client_id = p_client_id;
    IF v_first IS NOT DISTINCT FROM v_last THEN
        RETURN v_first;
    END IF;
    RETURN (
        SELECT q.id
        FROM provision_requests q
        LEFT JOIN releases r ON r.client_id = q.client_id AND r.used_at IS NULL AND r.cancelled_at IS NULL
        WHERE q.client_id = p_client_id
        ORDER BY (
                r.to_account_id = q.account_id AND q.state <> 'PROVISIONED'
                AND (q.state = 'RUNNING' OR clock_timestamp() < r.expires_on)
            ) IS TRUE DESC,
            (q.account_id = client_id_holder(p_client_id)) IS TRUE DESC, q.id DESC
        LIMIT 1
    );
END
$$;

ALTER FUNCTION public.request_of_client_id(p_client_id text) OWNER TO provisioning_functions;

CREATE FUNCTION public.require_event_author(p_key bytea, p_account_id bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF octet_length(p_key) IS DISTINCT FROM 32 THEN
        RAISE EXCEPTION 'the event key must have 32 bytes';
    END IF;
    -- An account's administrator writes its own account's events, whatever a mistake may ask for.
    IF session_user = 'provisioning_admin'
        AND p_account_id IS DISTINCT FROM NULLIF(current_setting('app.account_id', true), '')::bigint THEN
        RAISE EXCEPTION 'another account''s event' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- No partition comes between the choice of one and the insertion (make_event_partitions).
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('event partitions', 0));
END
$$;

ALTER FUNCTION public.require_event_author(p_key bytea, p_account_id bigint) OWNER TO provisioning_functions;

CREATE FUNCTION public.require_holder() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('client_id ' || NEW.client_id, 0));
    IF client_id_holder(NEW.client_id) IS DISTINCT FROM NEW.account_id THEN
        RAISE EXCEPTION 'the client id is not this account''s'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'releases_by_holder', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$$;

ALTER FUNCTION public.require_holder() OWNER TO provisioning_functions;

CREATE FUNCTION public.require_provision_credential() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM users WHERE id = NEW.user_id AND kind = 'provision') THEN
        RAISE EXCEPTION 'a credential is of a provision user'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'credentials_user_is_provision', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

ALTER FUNCTION public.require_provision_credential() OWNER TO provisioning_functions;

CREATE FUNCTION public.require_provision_user() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM users WHERE id = NEW.user_id AND kind = 'provision') THEN
        RAISE EXCEPTION 'a provision request refers to a provision user'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'provision_requests_user_is_provision', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

ALTER FUNCTION public.require_provision_user() OWNER TO provisioning_functions;

CREATE FUNCTION public.schema_level() RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT '0026_facts_at_once' $$;

ALTER FUNCTION public.schema_level() OWNER TO provisioning_migrator;

CREATE FUNCTION public.write_case(p_event_key bytea, p_actor text, p_source text, p_client_id text, p_account_id bigint, p_request_id bigint, p_run_id bigint, p_written jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
DECLARE
    v_one jsonb;
BEGIN
    FOR v_one IN SELECT jsonb_array_elements(p_written -> 'moves') LOOP
        UPDATE provision_runs SET state = v_one #>> '{}' WHERE id = p_run_id;
    END LOOP;
    IF p_written ? 'confirm_by' THEN
        UPDATE provision_runs SET confirm_by = (p_written ->> 'confirm_by')::timestamptz, outage = outage()
        WHERE id = p_run_id;
    END IF;
    FOR v_one IN SELECT jsonb_array_elements(p_written -> 'heard') LOOP
        UPDATE run_steps SET state = v_one ->> 'state', answered_at = clock_timestamp()
        WHERE run_id = p_run_id AND position = (v_one ->> 'position')::bigint;
    END LOOP;
    IF p_written ? 'sent' THEN
        v_one := p_written -> 'sent';
        UPDATE run_steps
        SET state = 'SENT', sent_at = clock_timestamp(), request_id = v_one ->> 'request_id',
            job_id = (v_one ->> 'job_id')::bigint, retries = (v_one ->> 'retries')::bigint
        WHERE run_id = p_run_id AND position = (v_one ->> 'position')::bigint;
    END IF;
    IF p_written ? 'key_failures' THEN
        v_one := p_written -> 'key_failures';
        UPDATE provision_requests
        SET key_failures = (v_one ->> 'failures')::bigint, key_failures_since = (v_one ->> 'since')::timestamptz
        WHERE id = p_request_id;
        PERFORM note_credential_uses(jsonb_build_array(jsonb_build_object(
            'username', u.name, 'kind', 'wrong_key', 'what', p_client_id, 'count', 1
        ))) FROM provision_requests q JOIN users u ON u.id = q.user_id WHERE q.id = p_request_id;
    END IF;
    IF p_written ? 'refusals' THEN
        PERFORM count_refusals(p_written -> 'refusals');
    END IF;
    FOR v_one IN SELECT jsonb_array_elements(p_written -> 'events') LOOP
        PERFORM append_event(p_event_key, v_one ->> 'kind', p_account_id, p_request_id, p_client_id, p_actor, p_source,
            v_one ->> 'correlation_id', v_one ->> 'reason', v_one -> 'detail');
    END LOOP;
END
$$;

ALTER FUNCTION public.write_case(p_event_key bytea, p_actor text, p_source text, p_client_id text, p_account_id bigint, p_request_id bigint, p_run_id bigint, p_written jsonb) OWNER TO provisioning_migrator;

CREATE FUNCTION public.write_event_checkpoint(p_key bytea) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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

ALTER FUNCTION public.write_event_checkpoint(p_key bytea) OWNER TO provisioning_functions;

CREATE TABLE public.access_journal (
    id bigint NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    account text,
    state text NOT NULL,
    made timestamp with time zone,
    version bigint,
    client_id text,
    CONSTRAINT access_journal_kind_known CHECK ((kind = ANY (ARRAY['account'::text, 'broker'::text, 'service'::text, 'user'::text, 'credential'::text, 'device'::text, 'request'::text, 'token'::text]))),
    CONSTRAINT access_journal_state_known CHECK ((state = ANY (ARRAY['enabled'::text, 'disabled'::text, 'deleted'::text])))
);

ALTER TABLE public.access_journal OWNER TO provisioning_migrator;

ALTER TABLE public.access_journal ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.access_journal_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.accounts (
    id bigint NOT NULL,
    name text NOT NULL,
    kind text DEFAULT 'account'::text NOT NULL,
    enabled boolean DEFAULT true NOT NULL,
    device_connection_coupling text DEFAULT 'STRICT'::text NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    mandatory_provisioning boolean DEFAULT false NOT NULL,
    CONSTRAINT accounts_coupling_known CHECK ((device_connection_coupling = ANY (ARRAY['LOOSE'::text, 'STRICT'::text]))),
    CONSTRAINT accounts_kind_known CHECK ((kind = ANY (ARRAY['account'::text, 'provision'::text]))),
    CONSTRAINT accounts_name_rule CHECK ((name ~ '^[A-Za-z0-9_-]{3,255}$'::text))
);

ALTER TABLE ONLY public.accounts FORCE ROW LEVEL SECURITY;

ALTER TABLE public.accounts OWNER TO provisioning_migrator;

ALTER TABLE public.accounts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.accounts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.api_tokens (
    id bigint NOT NULL,
    account_id bigint,
    name text NOT NULL,
    role text NOT NULL,
    token_sha256 bytea NOT NULL,
    expires_on timestamp with time zone NOT NULL,
    last_used_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT api_tokens_name_rule CHECK ((name ~ '^[A-Za-z0-9_-]{3,255}$'::text)),
    CONSTRAINT api_tokens_platform_has_no_account CHECK (((role = 'platform_administrator'::text) = (account_id IS NULL))),
    CONSTRAINT api_tokens_role_known CHECK ((role = ANY (ARRAY['platform_administrator'::text, 'account_administrator'::text, 'device_manager'::text, 'deployment_operator'::text, 'auditor'::text]))),
    CONSTRAINT api_tokens_token_is_sha256 CHECK ((octet_length(token_sha256) = 32))
);

ALTER TABLE ONLY public.api_tokens FORCE ROW LEVEL SECURITY;

ALTER TABLE public.api_tokens OWNER TO provisioning_migrator;

ALTER TABLE public.api_tokens ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.api_tokens_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.broker_accounts (
    broker_id bigint NOT NULL,
    broker_role text DEFAULT 'account'::text NOT NULL,
    account_id bigint NOT NULL,
    CONSTRAINT broker_accounts_account_brokers_only CHECK ((broker_role = 'account'::text))
);

ALTER TABLE ONLY public.broker_accounts FORCE ROW LEVEL SECURITY;

ALTER TABLE public.broker_accounts OWNER TO provisioning_migrator;

CREATE TABLE public.brokers (
    id bigint NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    secret_sha256 bytea NOT NULL,
    previous_secret_sha256 bytea,
    endpoints text[] DEFAULT '{}'::text[] NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ca text,
    CONSTRAINT brokers_ca_is_certificates CHECK ((ca ~ '^(-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=]+\n)+-----END CERTIFICATE-----\n)+$'::text)),
    CONSTRAINT brokers_ca_length CHECK ((octet_length(ca) <= 16384)),
    CONSTRAINT brokers_name_rule CHECK ((name ~ '^[A-Za-z0-9_-]{3,255}$'::text)),
    CONSTRAINT brokers_previous_secret_is_sha256 CHECK ((octet_length(previous_secret_sha256) = 32)),
    CONSTRAINT brokers_role_known CHECK ((role = ANY (ARRAY['provision'::text, 'account'::text]))),
    CONSTRAINT brokers_secret_is_sha256 CHECK ((octet_length(secret_sha256) = 32))
);

ALTER TABLE ONLY public.brokers FORCE ROW LEVEL SECURITY;

ALTER TABLE public.brokers OWNER TO provisioning_migrator;

ALTER TABLE public.brokers ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.brokers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.changes (
    id bigint NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    CONSTRAINT changes_kind_known CHECK ((kind = ANY (ARRAY['user'::text, 'client'::text, 'account'::text, 'broker'::text])))
);

ALTER TABLE public.changes OWNER TO provisioning_migrator;

ALTER TABLE public.changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.changes_pruned (
    only_row boolean DEFAULT true NOT NULL,
    xid xid8 DEFAULT '0'::xid8 NOT NULL,
    CONSTRAINT changes_pruned_only_row_check CHECK (only_row)
);

ALTER TABLE public.changes_pruned OWNER TO provisioning_migrator;

CREATE TABLE public.credential_uses (
    user_id bigint NOT NULL,
    account_id bigint NOT NULL,
    kind text NOT NULL,
    what text NOT NULL,
    hour timestamp with time zone NOT NULL,
    count bigint NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT credential_uses_bounded CHECK ((length(what) <= 256)),
    CONSTRAINT credential_uses_kind_known CHECK ((kind = ANY (ARRAY['unknown_client_id'::text, 'wrong_key'::text, 'address'::text, 'old_password'::text])))
);

ALTER TABLE ONLY public.credential_uses FORCE ROW LEVEL SECURITY;

ALTER TABLE public.credential_uses OWNER TO provisioning_migrator;

CREATE TABLE public.credentials (
    user_id bigint NOT NULL,
    account_id bigint NOT NULL,
    previous_password_bcrypt text,
    overlap_until timestamp with time zone,
    rotated_at timestamp with time zone,
    held_at timestamp with time zone,
    held_by text,
    most_unknown_client_ids bigint,
    most_wrong_keys bigint,
    most_addresses bigint,
    hold_on_leak boolean DEFAULT false NOT NULL,
    suspected_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT credentials_bcrypt_is_well_formed CHECK ((previous_password_bcrypt ~ '^\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$'::text)),
    CONSTRAINT credentials_held_by_somebody CHECK (((held_at IS NULL) = (held_by IS NULL))),
    CONSTRAINT credentials_overlap_is_whole CHECK (((previous_password_bcrypt IS NULL) = (overlap_until IS NULL))),
    CONSTRAINT credentials_overlap_was_rotated CHECK (((overlap_until IS NULL) OR COALESCE((overlap_until > rotated_at), false))),
    CONSTRAINT credentials_watch_in_range CHECK (((LEAST(most_unknown_client_ids, most_wrong_keys, most_addresses) >= 0) AND (GREATEST(most_unknown_client_ids, most_wrong_keys, most_addresses) <= 1000)))
);

ALTER TABLE ONLY public.credentials FORCE ROW LEVEL SECURITY;

ALTER TABLE public.credentials OWNER TO provisioning_migrator;

CREATE TABLE public.device_connections (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    client_id text NOT NULL,
    device_id bigint,
    coupling text DEFAULT 'INHERITED'::text NOT NULL,
    user_id bigint,
    reserved_user_id bigint,
    allow_user_change boolean DEFAULT false NOT NULL,
    status text,
    broker_id bigint,
    last_login_at timestamp with time zone,
    last_seen_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    status_at timestamp with time zone,
    born_at timestamp with time zone,
    ends_owed bigint DEFAULT 0 NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT device_connections_client_id_rule CHECK (((client_id ~ '^[A-Za-z0-9_.:-]{1,255}$'::text) AND (client_id !~ '::'::text))),
    CONSTRAINT device_connections_coupling_known CHECK ((coupling = ANY (ARRAY['INHERITED'::text, 'LOOSE'::text, 'STRICT'::text]))),
    CONSTRAINT device_connections_ends_owed_rule CHECK ((ends_owed = ANY (ARRAY[('-1'::integer)::bigint, (0)::bigint, (1)::bigint]))),
    CONSTRAINT device_connections_status_known CHECK ((status = ANY (ARRAY['CONNECTED'::text, 'DISCONNECTED'::text, 'MISSING'::text])))
);

ALTER TABLE ONLY public.device_connections FORCE ROW LEVEL SECURITY;

ALTER TABLE public.device_connections OWNER TO provisioning_migrator;

ALTER TABLE public.device_connections ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.device_connections_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.devices (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    client_id text NOT NULL,
    enabled boolean DEFAULT true NOT NULL,
    display_name text,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    birth jsonb,
    birth_at timestamp with time zone,
    CONSTRAINT devices_birth_bounded CHECK (((jsonb_typeof(birth) = 'object'::text) AND (octet_length((birth)::text) <= 131072))),
    CONSTRAINT devices_client_id_rule CHECK (((client_id ~ '^[A-Za-z0-9_.:-]{1,255}$'::text) AND (client_id !~ '::'::text)))
);

ALTER TABLE ONLY public.devices FORCE ROW LEVEL SECURITY;

ALTER TABLE public.devices OWNER TO provisioning_migrator;

ALTER TABLE public.devices ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.devices_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.event_checkpoints (
    account_id bigint NOT NULL,
    request_id bigint NOT NULL,
    kind text NOT NULL,
    count bigint NOT NULL,
    head bytea NOT NULL,
    at timestamp with time zone NOT NULL,
    seal bytea NOT NULL,
    CONSTRAINT event_checkpoints_kind_known CHECK ((kind = ANY (ARRAY['checkpoint'::text, 'cut'::text]))),
    CONSTRAINT event_checkpoints_sealed CHECK (((count > 0) AND (octet_length(head) = 32) AND (octet_length(seal) = 32)))
);

ALTER TABLE ONLY public.event_checkpoints FORCE ROW LEVEL SECURITY;

ALTER TABLE public.event_checkpoints OWNER TO provisioning_migrator;

CREATE TABLE public.event_heads (
    account_id bigint NOT NULL,
    request_id bigint DEFAULT 0 NOT NULL,
    client_id text,
    count bigint NOT NULL,
    head bytea,
    kept_users jsonb DEFAULT '[]'::jsonb NOT NULL,
    CONSTRAINT event_heads_chained CHECK (((count >= 0) AND ((count = 0) = (head IS NULL)) AND (octet_length(head) = 32)))
);

ALTER TABLE ONLY public.event_heads FORCE ROW LEVEL SECURITY;

ALTER TABLE public.event_heads OWNER TO provisioning_migrator;

CREATE TABLE public.events (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    account_id bigint,
    request_id bigint,
    number bigint,
    client_id text,
    actor text NOT NULL,
    source text NOT NULL,
    correlation_id text,
    reason text,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    chain bytea,
    CONSTRAINT events_chained CHECK ((((request_id IS NULL) OR (number IS NOT NULL)) AND ((number IS NULL) = (chain IS NULL)) AND (octet_length(chain) = 32))),
    CONSTRAINT events_kind_rule CHECK ((kind ~ '^[a-z_]{3,64}$'::text)),
    CONSTRAINT events_source_known CHECK ((source = ANY (ARRAY['hooks'::text, 'mqtt'::text, 'cli'::text, 'api'::text, 'sweep'::text])))
)
PARTITION BY RANGE (at);

ALTER TABLE ONLY public.events FORCE ROW LEVEL SECURITY;

ALTER TABLE public.events OWNER TO provisioning_migrator;

CREATE TABLE public.events_default (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    account_id bigint,
    request_id bigint,
    number bigint,
    client_id text,
    actor text NOT NULL,
    source text NOT NULL,
    correlation_id text,
    reason text,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    chain bytea,
    CONSTRAINT events_chained CHECK ((((request_id IS NULL) OR (number IS NOT NULL)) AND ((number IS NULL) = (chain IS NULL)) AND (octet_length(chain) = 32))),
    CONSTRAINT events_kind_rule CHECK ((kind ~ '^[a-z_]{3,64}$'::text)),
    CONSTRAINT events_source_known CHECK ((source = ANY (ARRAY['hooks'::text, 'mqtt'::text, 'cli'::text, 'api'::text, 'sweep'::text])))
);

ALTER TABLE ONLY public.events_default FORCE ROW LEVEL SECURITY;

ALTER TABLE public.events_default OWNER TO provisioning_migrator;

ALTER TABLE public.events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.heartbeats (
    process text NOT NULL,
    at timestamp with time zone NOT NULL,
    outage interval DEFAULT '00:00:00'::interval NOT NULL,
    held_since timestamp with time zone,
    cluster text DEFAULT ''::text NOT NULL,
    CONSTRAINT heartbeats_process_known CHECK ((process = 'hooks'::text))
);

ALTER TABLE public.heartbeats OWNER TO provisioning_migrator;

CREATE TABLE public.idempotency_keys (
    token_id bigint NOT NULL,
    key_sha256 bytea NOT NULL,
    account_id bigint,
    request_sha256 bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT idempotency_keys_are_sha256 CHECK (((octet_length(key_sha256) = 32) AND (octet_length(request_sha256) = 32)))
);

ALTER TABLE ONLY public.idempotency_keys FORCE ROW LEVEL SECURITY;

ALTER TABLE public.idempotency_keys OWNER TO provisioning_migrator;

CREATE TABLE public.issuing (
    only_row boolean DEFAULT true NOT NULL,
    stopped_at timestamp with time zone,
    stopped_by text,
    CONSTRAINT issuing_only_row_check CHECK (only_row),
    CONSTRAINT issuing_stopped_by_somebody CHECK (((stopped_at IS NULL) = (stopped_by IS NULL)))
);

ALTER TABLE public.issuing OWNER TO provisioning_migrator;

CREATE TABLE public.key_proofs (
    request_id bigint NOT NULL,
    account_id bigint NOT NULL,
    proved_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.key_proofs FORCE ROW LEVEL SECURITY;

ALTER TABLE public.key_proofs OWNER TO provisioning_migrator;

CREATE TABLE public.logins (
    broker text NOT NULL,
    username text NOT NULL,
    client_id text NOT NULL,
    hour timestamp with time zone NOT NULL,
    account_id bigint,
    count bigint NOT NULL,
    first_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT logins_bounded CHECK (((length(username) <= 256) AND (length(client_id) <= 256)))
);

ALTER TABLE ONLY public.logins FORCE ROW LEVEL SECURITY;

ALTER TABLE public.logins OWNER TO provisioning_migrator;

CREATE TABLE public.one_time_passwords (
    secret_sha256 bytea NOT NULL,
    client_id text NOT NULL,
    expires_at timestamp with time zone DEFAULT (clock_timestamp() + '00:00:05'::interval) NOT NULL,
    broker text,
    username text,
    CONSTRAINT one_time_passwords_is_sha256 CHECK ((octet_length(secret_sha256) = 32))
);

ALTER TABLE public.one_time_passwords OWNER TO provisioning_migrator;

CREATE TABLE public.password_guesses (
    username text NOT NULL,
    full_at timestamp with time zone NOT NULL,
    CONSTRAINT password_guesses_username_rule CHECK ((username ~ '^[a-z0-9_-]{3,255}$'::text))
);

ALTER TABLE public.password_guesses OWNER TO provisioning_migrator;

CREATE TABLE public.provision_applications (
    account_id bigint NOT NULL,
    request_id bigint NOT NULL,
    "position" bigint NOT NULL,
    name text NOT NULL,
    application_version text NOT NULL,
    url text NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    CONSTRAINT provision_applications_sha256_rule CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT provision_applications_size_rule CHECK ((size > 0)),
    CONSTRAINT provision_applications_url_rule CHECK ((url ~ '^https://.+'::text))
);

ALTER TABLE ONLY public.provision_applications FORCE ROW LEVEL SECURITY;

ALTER TABLE public.provision_applications OWNER TO provisioning_migrator;

CREATE TABLE public.provision_requests (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    client_id text NOT NULL,
    user_id bigint NOT NULL,
    activation_key_sha256 bytea,
    provision_endpoint text NOT NULL,
    broker_id bigint NOT NULL,
    activates_on timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_on timestamp with time zone,
    reserve_user boolean DEFAULT true NOT NULL,
    device_connection_coupling text DEFAULT 'INHERITED'::text NOT NULL,
    additional_device_configuration jsonb DEFAULT '{}'::jsonb NOT NULL,
    maximum_attempts bigint DEFAULT 5 NOT NULL,
    attempts bigint DEFAULT 0 NOT NULL,
    enabled boolean DEFAULT true NOT NULL,
    state text DEFAULT 'OPEN'::text NOT NULL,
    key_failures bigint DEFAULT 0 NOT NULL,
    key_failures_since timestamp with time zone,
    events_count bigint DEFAULT 0 NOT NULL,
    events_head bytea,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    created_by text NOT NULL,
    modified_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    modified_by text NOT NULL,
    start_on_birth boolean DEFAULT false NOT NULL,
    CONSTRAINT provision_requests_attempts_rule CHECK (((attempts >= 0) AND (attempts <= maximum_attempts))),
    CONSTRAINT provision_requests_birth_has_no_key CHECK ((NOT (start_on_birth AND (activation_key_sha256 IS NOT NULL)))),
    CONSTRAINT provision_requests_client_id_rule CHECK (((client_id ~ '^[A-Za-z0-9_.:-]{1,255}$'::text) AND (client_id !~ '::'::text))),
    CONSTRAINT provision_requests_configuration_is_object CHECK ((jsonb_typeof(additional_device_configuration) = 'object'::text)),
    CONSTRAINT provision_requests_coupling_known CHECK ((device_connection_coupling = ANY (ARRAY['INHERITED'::text, 'LOOSE'::text, 'STRICT'::text]))),
    CONSTRAINT provision_requests_endpoint_rule CHECK ((provision_endpoint ~ '^(mqtts?|wss?)://.+'::text)),
    CONSTRAINT provision_requests_expires_after_activates CHECK ((expires_on > activates_on)),
    CONSTRAINT provision_requests_key_is_sha256 CHECK ((octet_length(activation_key_sha256) = 32)),
    CONSTRAINT provision_requests_maximum_attempts_rule CHECK (((maximum_attempts >= 1) AND (maximum_attempts <= 1000))),
    CONSTRAINT provision_requests_state_known CHECK ((state = ANY (ARRAY['OPEN'::text, 'RUNNING'::text, 'PROVISIONED'::text, 'ABANDONED'::text])))
);

ALTER TABLE ONLY public.provision_requests FORCE ROW LEVEL SECURITY;

ALTER TABLE public.provision_requests OWNER TO provisioning_migrator;

ALTER TABLE public.provision_requests ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.provision_requests_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.provision_runs (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    request_id bigint NOT NULL,
    number bigint NOT NULL,
    wire text NOT NULL,
    state text DEFAULT 'CREATED'::text NOT NULL,
    token_sha256 bytea NOT NULL,
    salt bytea,
    user_id bigint,
    username text NOT NULL,
    device_id bigint,
    made_device boolean NOT NULL,
    answer jsonb NOT NULL,
    confirm_by timestamp with time zone NOT NULL,
    outage interval DEFAULT '00:00:00'::interval NOT NULL,
    failure text,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    sealed_key text,
    CONSTRAINT provision_runs_ended_has_time CHECK (((state = ANY (ARRAY['COMPLETED'::text, 'FAILED'::text, 'STOPPED'::text, 'SKIPPED'::text, 'ABANDONED'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT provision_runs_key_only_while_live CHECK (((ended_at IS NULL) OR (sealed_key IS NULL))),
    CONSTRAINT provision_runs_live_has_user CHECK (((ended_at IS NOT NULL) OR (state = 'STOPPING'::text) OR (user_id IS NOT NULL))),
    CONSTRAINT provision_runs_salt_length CHECK ((octet_length(salt) = 32)),
    CONSTRAINT provision_runs_salt_only_while_live CHECK (((ended_at IS NULL) = (salt IS NOT NULL))),
    CONSTRAINT provision_runs_state_known CHECK ((state = ANY (ARRAY['CREATED'::text, 'STARTED'::text, 'RUNNING'::text, 'APPS_INSTALLING'::text, 'APPS_INSTALLED'::text, 'CONF_UPDATING'::text, 'CONF_UPDATED'::text, 'COMPLETED'::text, 'FAILED'::text, 'STOPPING'::text, 'STOPPED'::text, 'SKIPPED'::text, 'ABANDONED'::text]))),
    CONSTRAINT provision_runs_token_is_sha256 CHECK ((octet_length(token_sha256) = 32)),
    CONSTRAINT provision_runs_wire_known CHECK ((wire = ANY (ARRAY['json'::text, 'kura'::text])))
);

ALTER TABLE ONLY public.provision_runs FORCE ROW LEVEL SECURITY;

ALTER TABLE public.provision_runs OWNER TO provisioning_migrator;

ALTER TABLE public.provision_runs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.provision_runs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.refusals (
    broker text NOT NULL,
    username text NOT NULL,
    client_id text NOT NULL,
    reason text NOT NULL,
    minute timestamp with time zone NOT NULL,
    account_id bigint,
    count bigint NOT NULL,
    last_at timestamp with time zone NOT NULL,
    last_topic text,
    last_access text,
    share text DEFAULT 'nobody'::text NOT NULL,
    first_at timestamp with time zone,
    CONSTRAINT refusals_bounded CHECK (((length(username) <= 256) AND (length(client_id) <= 256) AND (length(reason) <= 64) AND (length(last_topic) <= 1024) AND (length(last_access) <= 32))),
    CONSTRAINT refusals_share_bounded CHECK ((length(share) <= 300))
);

ALTER TABLE ONLY public.refusals FORCE ROW LEVEL SECURITY;

ALTER TABLE public.refusals OWNER TO provisioning_migrator;

CREATE TABLE public.releases (
    id bigint NOT NULL,
    client_id text NOT NULL,
    account_id bigint NOT NULL,
    to_account_id bigint NOT NULL,
    expires_on timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    created_by text NOT NULL,
    cancelled_at timestamp with time zone,
    CONSTRAINT releases_ends_once CHECK (((used_at IS NULL) OR (cancelled_at IS NULL))),
    CONSTRAINT releases_to_another_account CHECK ((account_id <> to_account_id)),
    CONSTRAINT releases_until_after_created CHECK ((expires_on > created_at))
);

ALTER TABLE ONLY public.releases FORCE ROW LEVEL SECURITY;

ALTER TABLE public.releases OWNER TO provisioning_migrator;

ALTER TABLE public.releases ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.releases_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.run_steps (
    account_id bigint NOT NULL,
    run_id bigint NOT NULL,
    "position" bigint NOT NULL,
    kind text NOT NULL,
    request_id text NOT NULL,
    job_id bigint,
    sent_at timestamp with time zone,
    answered_at timestamp with time zone,
    retries bigint DEFAULT 0 NOT NULL,
    state text DEFAULT 'WAITING'::text NOT NULL,
    CONSTRAINT run_steps_job_rule CHECK (((job_id IS NULL) OR ((job_id > 0) AND (kind = 'application'::text)))),
    CONSTRAINT run_steps_kind_known CHECK ((kind = ANY (ARRAY['application'::text, 'ca'::text, 'configuration'::text]))),
    CONSTRAINT run_steps_state_known CHECK ((state = ANY (ARRAY['WAITING'::text, 'SENT'::text, 'ACCEPTED'::text, 'DONE'::text])))
);

ALTER TABLE ONLY public.run_steps FORCE ROW LEVEL SECURITY;

ALTER TABLE public.run_steps OWNER TO provisioning_migrator;

CREATE TABLE public.user_permissions (
    account_id bigint NOT NULL,
    user_id bigint NOT NULL,
    permission text NOT NULL,
    CONSTRAINT user_permissions_known CHECK ((permission = ANY (ARRAY['broker:connect'::text, 'device:manage'::text, 'data:manage'::text, 'data:view'::text])))
);

ALTER TABLE ONLY public.user_permissions FORCE ROW LEVEL SECURITY;

ALTER TABLE public.user_permissions OWNER TO provisioning_migrator;

CREATE TABLE public.users (
    id bigint NOT NULL,
    account_id bigint,
    name text NOT NULL,
    kind text NOT NULL,
    password_bcrypt text,
    secret_sha256 bytea,
    enabled boolean DEFAULT true NOT NULL,
    confirmed_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT users_bcrypt_is_well_formed CHECK ((password_bcrypt ~ '^\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$'::text)),
    CONSTRAINT users_kind_known CHECK ((kind = ANY (ARRAY['provision'::text, 'device'::text, 'person'::text, 'service'::text]))),
    CONSTRAINT users_name_rule CHECK (
CASE kind
    WHEN 'service'::text THEN (name ~ '^~[a-z]{3,32}$'::text)
    ELSE (name ~ '^[A-Za-z0-9_-]{3,255}$'::text)
END),
    CONSTRAINT users_only_devices_are_confirmed CHECK (((confirmed_at IS NULL) OR (kind = 'device'::text))),
    CONSTRAINT users_secret_is_sha256 CHECK ((octet_length(secret_sha256) = 32)),
    CONSTRAINT users_secret_of_kind CHECK ((((kind = 'provision'::text) = (password_bcrypt IS NOT NULL)) AND ((kind <> 'provision'::text) = (secret_sha256 IS NOT NULL)))),
    CONSTRAINT users_service_has_no_account CHECK (((kind = 'service'::text) = (account_id IS NULL)))
);

ALTER TABLE ONLY public.users FORCE ROW LEVEL SECURITY;

ALTER TABLE public.users OWNER TO provisioning_migrator;

ALTER TABLE public.users ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.users_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY public.events ATTACH PARTITION public.events_default DEFAULT;

ALTER TABLE ONLY public.access_journal
    ADD CONSTRAINT access_journal_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_token_unique UNIQUE (token_sha256);

ALTER TABLE ONLY public.broker_accounts
    ADD CONSTRAINT broker_accounts_pkey PRIMARY KEY (broker_id, account_id);

ALTER TABLE ONLY public.brokers
    ADD CONSTRAINT brokers_id_role_unique UNIQUE (id, role);

ALTER TABLE ONLY public.brokers
    ADD CONSTRAINT brokers_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.changes
    ADD CONSTRAINT changes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.changes_pruned
    ADD CONSTRAINT changes_pruned_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.credential_uses
    ADD CONSTRAINT credential_uses_pkey PRIMARY KEY (user_id, kind, hour, what);

ALTER TABLE ONLY public.credentials
    ADD CONSTRAINT credentials_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY public.device_connections
    ADD CONSTRAINT device_connections_client_id_unique UNIQUE (account_id, client_id);

ALTER TABLE ONLY public.device_connections
    ADD CONSTRAINT device_connections_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.device_connections
    ADD CONSTRAINT device_connections_reserved_user_unique UNIQUE (account_id, reserved_user_id);

ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_account_id_unique UNIQUE (account_id, id);

ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_client_id_unique UNIQUE (account_id, client_id);

ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.event_checkpoints
    ADD CONSTRAINT event_checkpoints_pkey PRIMARY KEY (account_id, request_id, kind);

ALTER TABLE ONLY public.event_heads
    ADD CONSTRAINT event_heads_pkey PRIMARY KEY (account_id, request_id);

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id, at);

ALTER TABLE ONLY public.events_default
    ADD CONSTRAINT events_default_pkey PRIMARY KEY (id, at);

ALTER TABLE ONLY public.events_default
    ADD CONSTRAINT events_number_unique UNIQUE (request_id, number);

ALTER TABLE ONLY public.heartbeats
    ADD CONSTRAINT heartbeats_pkey PRIMARY KEY (process);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (token_id, key_sha256);

ALTER TABLE ONLY public.issuing
    ADD CONSTRAINT issuing_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.key_proofs
    ADD CONSTRAINT key_proofs_pkey PRIMARY KEY (request_id);

ALTER TABLE ONLY public.logins
    ADD CONSTRAINT logins_pkey PRIMARY KEY (broker, username, client_id, hour);

ALTER TABLE ONLY public.one_time_passwords
    ADD CONSTRAINT one_time_passwords_pkey PRIMARY KEY (secret_sha256);

ALTER TABLE ONLY public.password_guesses
    ADD CONSTRAINT password_guesses_pkey PRIMARY KEY (username);

ALTER TABLE ONLY public.provision_applications
    ADD CONSTRAINT provision_applications_pkey PRIMARY KEY (request_id, "position");

ALTER TABLE ONLY public.provision_requests
    ADD CONSTRAINT provision_requests_account_id_unique UNIQUE (account_id, id);

ALTER TABLE ONLY public.provision_requests
    ADD CONSTRAINT provision_requests_client_id_unique UNIQUE (account_id, client_id);

ALTER TABLE ONLY public.provision_requests
    ADD CONSTRAINT provision_requests_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.provision_runs
    ADD CONSTRAINT provision_runs_account_id_unique UNIQUE (account_id, id);

ALTER TABLE ONLY public.provision_runs
    ADD CONSTRAINT provision_runs_number_unique UNIQUE (request_id, number);

ALTER TABLE ONLY public.provision_runs
    ADD CONSTRAINT provision_runs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.provision_runs
    ADD CONSTRAINT provision_runs_user_unique UNIQUE (user_id);

ALTER TABLE ONLY public.refusals
    ADD CONSTRAINT refusals_pkey PRIMARY KEY (broker, username, client_id, reason, minute);

ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.run_steps
    ADD CONSTRAINT run_steps_pkey PRIMARY KEY (run_id, "position");

ALTER TABLE ONLY public.user_permissions
    ADD CONSTRAINT user_permissions_pkey PRIMARY KEY (user_id, permission);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_account_id_unique UNIQUE (account_id, id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

CREATE INDEX access_journal_by_at ON public.access_journal USING btree (at);

CREATE INDEX access_journal_by_xid ON public.access_journal USING btree (xid);

CREATE UNIQUE INDEX accounts_name_unique ON public.accounts USING btree (lower((name COLLATE "C")));

CREATE UNIQUE INDEX accounts_one_provision_account ON public.accounts USING btree (kind) WHERE (kind = 'provision'::text);

CREATE INDEX api_tokens_by_account ON public.api_tokens USING btree (account_id);

CREATE UNIQUE INDEX api_tokens_name_unique ON public.api_tokens USING btree (account_id, name) NULLS NOT DISTINCT;

CREATE INDEX broker_accounts_by_account ON public.broker_accounts USING btree (account_id);

CREATE UNIQUE INDEX brokers_name_unique ON public.brokers USING btree (lower((name COLLATE "C")));

CREATE INDEX changes_by_at ON public.changes USING btree (at);

CREATE INDEX changes_by_xid ON public.changes USING btree (xid);

CREATE INDEX credential_uses_by_account ON public.credential_uses USING btree (account_id);

CREATE INDEX credential_uses_by_hour ON public.credential_uses USING btree (hour);

CREATE INDEX credentials_by_account ON public.credentials USING btree (account_id);

CREATE INDEX credentials_by_overlap ON public.credentials USING btree (overlap_until) WHERE (overlap_until IS NOT NULL);

CREATE INDEX device_connections_by_broker ON public.device_connections USING btree (broker_id);

CREATE INDEX device_connections_by_client_id ON public.device_connections USING btree (client_id);

CREATE INDEX device_connections_by_device ON public.device_connections USING btree (account_id, device_id);

CREATE INDEX device_connections_by_user ON public.device_connections USING btree (account_id, user_id);

CREATE INDEX devices_by_client_id ON public.devices USING btree (client_id);

CREATE INDEX event_checkpoints_by_request ON public.event_checkpoints USING btree (request_id, kind);

CREATE INDEX event_heads_by_request ON public.event_heads USING btree (request_id);

CREATE UNIQUE INDEX events_account_number_unique ON public.events_default USING btree (COALESCE(account_id, (0)::bigint), number) WHERE ((request_id IS NULL) AND (number IS NOT NULL));

CREATE INDEX events_by_account ON ONLY public.events USING btree (account_id, at);

CREATE INDEX events_by_client_id ON ONLY public.events USING btree (client_id, at);

CREATE INDEX events_by_correlation_id ON ONLY public.events USING btree (correlation_id) WHERE (correlation_id IS NOT NULL);

CREATE INDEX events_default_account_id_at_idx ON public.events_default USING btree (account_id, at);

CREATE INDEX events_default_client_id_at_idx ON public.events_default USING btree (client_id, at);

CREATE INDEX events_default_correlation_id_idx ON public.events_default USING btree (correlation_id) WHERE (correlation_id IS NOT NULL);

CREATE INDEX idempotency_keys_by_account ON public.idempotency_keys USING btree (account_id);

CREATE INDEX idempotency_keys_by_time ON public.idempotency_keys USING btree (created_at);

CREATE INDEX key_proofs_by_account ON public.key_proofs USING btree (account_id);

CREATE INDEX logins_by_account ON public.logins USING btree (account_id);

CREATE INDEX logins_by_client_id ON public.logins USING btree (client_id, hour);

CREATE INDEX logins_by_hour ON public.logins USING btree (hour);

CREATE INDEX one_time_passwords_by_expiry ON public.one_time_passwords USING btree (expires_at);

CREATE INDEX password_guesses_by_full_at ON public.password_guesses USING btree (full_at);

CREATE INDEX provision_requests_by_broker ON public.provision_requests USING btree (broker_id, account_id);

CREATE INDEX provision_requests_by_change ON public.provision_requests USING btree (account_id, modified_at, id);

CREATE INDEX provision_requests_by_client_id ON public.provision_requests USING btree (client_id);

CREATE INDEX provision_requests_by_creation ON public.provision_requests USING btree (account_id, created_at, id);

CREATE INDEX provision_requests_by_user ON public.provision_requests USING btree (account_id, user_id);

CREATE INDEX provision_runs_by_account ON public.provision_runs USING btree (account_id);

CREATE INDEX provision_runs_by_deadline ON public.provision_runs USING btree (confirm_by) WHERE (ended_at IS NULL);

CREATE INDEX provision_runs_by_device ON public.provision_runs USING btree (account_id, device_id);

CREATE UNIQUE INDEX provision_runs_one_live_per_request ON public.provision_runs USING btree (request_id) WHERE (ended_at IS NULL);

CREATE INDEX refusals_by_account ON public.refusals USING btree (account_id);

CREATE INDEX refusals_by_client_id ON public.refusals USING btree (client_id, minute);

CREATE INDEX refusals_by_minute ON public.refusals USING btree (minute);

CREATE INDEX releases_by_account ON public.releases USING btree (account_id);

CREATE INDEX releases_by_client_id ON public.releases USING btree (client_id);

CREATE INDEX releases_by_to_account ON public.releases USING btree (to_account_id);

CREATE UNIQUE INDEX releases_one_open_per_client_id ON public.releases USING btree (client_id) WHERE ((used_at IS NULL) AND (cancelled_at IS NULL));

CREATE INDEX users_bcrypt_cost ON public.users USING btree (substr(password_bcrypt, 5, 2)) WHERE (kind = 'provision'::text);

CREATE UNIQUE INDEX users_name_unique ON public.users USING btree (lower((name COLLATE "C")));

ALTER INDEX public.events_by_account ATTACH PARTITION public.events_default_account_id_at_idx;

ALTER INDEX public.events_by_client_id ATTACH PARTITION public.events_default_client_id_at_idx;

ALTER INDEX public.events_by_correlation_id ATTACH PARTITION public.events_default_correlation_id_idx;

ALTER INDEX public.events_pkey ATTACH PARTITION public.events_default_pkey;

CREATE TRIGGER accounts_access AFTER INSERT OR DELETE OR UPDATE OF enabled ON public.accounts FOR EACH ROW EXECUTE FUNCTION public.note_access('account', 'name');

CREATE TRIGGER accounts_change AFTER DELETE OR UPDATE OF enabled, device_connection_coupling, mandatory_provisioning ON public.accounts FOR EACH ROW EXECUTE FUNCTION public.note_change('account', 'id');

CREATE TRIGGER accounts_version BEFORE UPDATE OF enabled, device_connection_coupling, mandatory_provisioning ON public.accounts FOR EACH ROW EXECUTE FUNCTION public.next_version();

CREATE TRIGGER api_tokens_access AFTER INSERT OR DELETE ON public.api_tokens FOR EACH ROW EXECUTE FUNCTION public.note_access('token', 'name');

CREATE TRIGGER broker_accounts_access AFTER INSERT OR DELETE ON public.broker_accounts FOR EACH ROW EXECUTE FUNCTION public.note_access('service', 'broker_id');

CREATE TRIGGER broker_accounts_change AFTER DELETE ON public.broker_accounts FOR EACH ROW EXECUTE FUNCTION public.note_change('account', 'account_id');

CREATE TRIGGER brokers_access AFTER INSERT OR DELETE OR UPDATE OF secret_sha256, previous_secret_sha256 ON public.brokers FOR EACH ROW EXECUTE FUNCTION public.note_access('broker', 'name');

CREATE TRIGGER brokers_change AFTER INSERT OR DELETE OR UPDATE OF role, secret_sha256, previous_secret_sha256, endpoints ON public.brokers FOR EACH ROW EXECUTE FUNCTION public.note_change('broker', 'name');

CREATE TRIGGER brokers_version BEFORE UPDATE OF role, secret_sha256, previous_secret_sha256, endpoints ON public.brokers FOR EACH ROW EXECUTE FUNCTION public.next_version();

CREATE TRIGGER credentials_access AFTER UPDATE OF held_at ON public.credentials FOR EACH ROW WHEN ((old.held_at IS DISTINCT FROM new.held_at)) EXECUTE FUNCTION public.note_access('credential', 'user_id');

CREATE TRIGGER credentials_change AFTER UPDATE OF held_at, previous_password_bcrypt, overlap_until ON public.credentials FOR EACH ROW EXECUTE FUNCTION public.note_credential_change();

CREATE TRIGGER credentials_held AFTER INSERT ON public.credentials FOR EACH ROW WHEN ((new.held_at IS NOT NULL)) EXECUTE FUNCTION public.note_access('credential', 'user_id');

CREATE TRIGGER credentials_user_kind BEFORE INSERT OR UPDATE OF user_id ON public.credentials FOR EACH ROW EXECUTE FUNCTION public.require_provision_credential();

CREATE TRIGGER credentials_version BEFORE UPDATE ON public.credentials FOR EACH ROW EXECUTE FUNCTION public.next_version();

CREATE TRIGGER device_connections_account BEFORE INSERT OR UPDATE OF account_id ON public.device_connections FOR EACH ROW EXECUTE FUNCTION public.refuse_provision_account();

CREATE TRIGGER device_connections_change AFTER UPDATE ON public.device_connections FOR EACH ROW WHEN ((((old.coupling IS DISTINCT FROM new.coupling) OR (old.user_id IS DISTINCT FROM new.user_id)) OR (old.reserved_user_id IS DISTINCT FROM new.reserved_user_id))) EXECUTE FUNCTION public.note_change('client', 'client_id');

CREATE TRIGGER device_connections_deleted AFTER DELETE ON public.device_connections FOR EACH ROW EXECUTE FUNCTION public.note_change('client', 'client_id');

CREATE TRIGGER device_connections_first_login BEFORE INSERT ON public.device_connections FOR EACH ROW EXECUTE FUNCTION public.note_first_login();

CREATE TRIGGER device_connections_login BEFORE UPDATE OF last_login_at ON public.device_connections FOR EACH ROW WHEN ((new.last_login_at IS NOT NULL)) EXECUTE FUNCTION public.note_login();

CREATE TRIGGER device_connections_version BEFORE UPDATE OF client_id, device_id, coupling, user_id, reserved_user_id, allow_user_change ON public.device_connections FOR EACH ROW EXECUTE FUNCTION public.next_version();

CREATE TRIGGER devices_access AFTER INSERT OR DELETE OR UPDATE OF enabled ON public.devices FOR EACH ROW EXECUTE FUNCTION public.note_access('device', 'client_id');

CREATE TRIGGER devices_account BEFORE INSERT OR UPDATE OF account_id ON public.devices FOR EACH ROW EXECUTE FUNCTION public.refuse_provision_account();

CREATE TRIGGER devices_change AFTER DELETE OR UPDATE OF enabled ON public.devices FOR EACH ROW EXECUTE FUNCTION public.note_change('client', 'client_id');

CREATE TRIGGER devices_client_id BEFORE INSERT OR UPDATE OF client_id, account_id ON public.devices FOR EACH ROW EXECUTE FUNCTION public.keep_client_id_in_one_account();

CREATE TRIGGER devices_version BEFORE UPDATE OF client_id, enabled ON public.devices FOR EACH ROW EXECUTE FUNCTION public.next_version();

CREATE TRIGGER provision_requests_access AFTER INSERT OR DELETE ON public.provision_requests FOR EACH ROW EXECUTE FUNCTION public.note_access('request', 'client_id');

CREATE TRIGGER provision_requests_access_changed AFTER UPDATE OF enabled, activation_key_sha256 ON public.provision_requests FOR EACH ROW WHEN (((old.enabled IS DISTINCT FROM new.enabled) OR (old.activation_key_sha256 IS DISTINCT FROM new.activation_key_sha256))) EXECUTE FUNCTION public.note_access('request', 'client_id');

CREATE TRIGGER provision_requests_account BEFORE INSERT OR UPDATE OF account_id ON public.provision_requests FOR EACH ROW EXECUTE FUNCTION public.refuse_provision_account();

CREATE TRIGGER provision_requests_change AFTER DELETE OR UPDATE OF enabled, user_id ON public.provision_requests FOR EACH ROW EXECUTE FUNCTION public.note_change('client', 'client_id');

CREATE TRIGGER provision_requests_client_id BEFORE INSERT OR UPDATE OF client_id, account_id ON public.provision_requests FOR EACH ROW EXECUTE FUNCTION public.keep_client_id_in_one_account();

CREATE TRIGGER provision_requests_keep_event_head BEFORE DELETE ON public.provision_requests FOR EACH ROW EXECUTE FUNCTION public.keep_event_head();

CREATE TRIGGER provision_requests_moves BEFORE UPDATE ON public.provision_requests FOR EACH ROW WHEN ((old.state <> new.state)) EXECUTE FUNCTION public.allow_request_move();

CREATE TRIGGER provision_requests_reopened AFTER UPDATE OF state ON public.provision_requests FOR EACH ROW WHEN (((old.state = 'PROVISIONED'::text) AND (new.state <> 'PROVISIONED'::text))) EXECUTE FUNCTION public.note_change('client', 'client_id');

CREATE TRIGGER provision_requests_user_kind BEFORE INSERT OR UPDATE OF user_id ON public.provision_requests FOR EACH ROW EXECUTE FUNCTION public.require_provision_user();

CREATE TRIGGER provision_requests_version BEFORE UPDATE OF user_id, activation_key_sha256, provision_endpoint, broker_id, activates_on, expires_on, reserve_user, device_connection_coupling, additional_device_configuration, maximum_attempts, attempts, enabled, state, start_on_birth, modified_at ON public.provision_requests FOR EACH ROW EXECUTE FUNCTION public.next_version();

CREATE TRIGGER provision_runs_forget_key BEFORE UPDATE ON public.provision_runs FOR EACH ROW WHEN ((new.ended_at IS NOT NULL)) EXECUTE FUNCTION public.forget_sealed_key();

CREATE TRIGGER provision_runs_issuing BEFORE INSERT ON public.provision_runs FOR EACH ROW EXECUTE FUNCTION public.refuse_while_stopped();

CREATE TRIGGER provision_runs_moves BEFORE UPDATE ON public.provision_runs FOR EACH ROW WHEN ((old.state <> new.state)) EXECUTE FUNCTION public.allow_run_move();

CREATE TRIGGER provision_runs_version BEFORE UPDATE OF user_id, ended_at ON public.provision_runs FOR EACH ROW EXECUTE FUNCTION public.next_version();

CREATE TRIGGER releases_change AFTER INSERT OR UPDATE ON public.releases FOR EACH ROW EXECUTE FUNCTION public.note_change('client', 'client_id');

CREATE TRIGGER releases_holder AFTER INSERT ON public.releases FOR EACH ROW EXECUTE FUNCTION public.require_holder();

CREATE TRIGGER user_permissions_version AFTER INSERT OR DELETE OR UPDATE ON public.user_permissions FOR EACH ROW EXECUTE FUNCTION public.permission_changes_user();

CREATE TRIGGER users_access AFTER DELETE OR UPDATE OF enabled, password_bcrypt, secret_sha256, confirmed_at, version ON public.users FOR EACH ROW EXECUTE FUNCTION public.note_access('user', 'name');

CREATE TRIGGER users_account BEFORE INSERT OR UPDATE OF account_id ON public.users FOR EACH ROW EXECUTE FUNCTION public.refuse_provision_account();

CREATE TRIGGER users_change AFTER DELETE OR UPDATE OF password_bcrypt, secret_sha256, enabled, version ON public.users FOR EACH ROW EXECUTE FUNCTION public.note_change('user', 'name');

CREATE TRIGGER users_made AFTER INSERT ON public.users FOR EACH ROW WHEN ((new.kind <> 'device'::text)) EXECUTE FUNCTION public.note_access('user', 'name');

CREATE TRIGGER users_version BEFORE UPDATE OF name, kind, password_bcrypt, secret_sha256, enabled, confirmed_at ON public.users FOR EACH ROW EXECUTE FUNCTION public.next_version();

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.broker_accounts
    ADD CONSTRAINT broker_accounts_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.broker_accounts
    ADD CONSTRAINT broker_accounts_broker FOREIGN KEY (broker_id, broker_role) REFERENCES public.brokers(id, role) ON DELETE CASCADE;

ALTER TABLE ONLY public.credential_uses
    ADD CONSTRAINT credential_uses_user FOREIGN KEY (account_id, user_id) REFERENCES public.users(account_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.credentials
    ADD CONSTRAINT credentials_user FOREIGN KEY (account_id, user_id) REFERENCES public.users(account_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.device_connections
    ADD CONSTRAINT device_connections_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.device_connections
    ADD CONSTRAINT device_connections_broker_id_fkey FOREIGN KEY (broker_id) REFERENCES public.brokers(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.device_connections
    ADD CONSTRAINT device_connections_device FOREIGN KEY (account_id, device_id) REFERENCES public.devices(account_id, id) ON DELETE SET NULL (device_id);

ALTER TABLE ONLY public.device_connections
    ADD CONSTRAINT device_connections_reserved_user FOREIGN KEY (account_id, reserved_user_id) REFERENCES public.users(account_id, id) ON DELETE SET NULL (reserved_user_id);

ALTER TABLE ONLY public.device_connections
    ADD CONSTRAINT device_connections_user FOREIGN KEY (account_id, user_id) REFERENCES public.users(account_id, id) ON DELETE SET NULL (user_id);

ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE public.events
    ADD CONSTRAINT events_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_token_id_fkey FOREIGN KEY (token_id) REFERENCES public.api_tokens(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.key_proofs
    ADD CONSTRAINT key_proofs_request FOREIGN KEY (account_id, request_id) REFERENCES public.provision_requests(account_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.logins
    ADD CONSTRAINT logins_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.provision_applications
    ADD CONSTRAINT provision_applications_request FOREIGN KEY (account_id, request_id) REFERENCES public.provision_requests(account_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.provision_requests
    ADD CONSTRAINT provision_requests_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.provision_requests
    ADD CONSTRAINT provision_requests_broker_serves_account FOREIGN KEY (broker_id, account_id) REFERENCES public.broker_accounts(broker_id, account_id);

ALTER TABLE ONLY public.provision_requests
    ADD CONSTRAINT provision_requests_user FOREIGN KEY (account_id, user_id) REFERENCES public.users(account_id, id);

ALTER TABLE ONLY public.provision_runs
    ADD CONSTRAINT provision_runs_device FOREIGN KEY (account_id, device_id) REFERENCES public.devices(account_id, id) ON DELETE SET NULL (device_id);

ALTER TABLE ONLY public.provision_runs
    ADD CONSTRAINT provision_runs_request FOREIGN KEY (account_id, request_id) REFERENCES public.provision_requests(account_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.provision_runs
    ADD CONSTRAINT provision_runs_user FOREIGN KEY (account_id, user_id) REFERENCES public.users(account_id, id) ON DELETE SET NULL (user_id);

ALTER TABLE ONLY public.refusals
    ADD CONSTRAINT refusals_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_to_account_id_fkey FOREIGN KEY (to_account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.run_steps
    ADD CONSTRAINT run_steps_run FOREIGN KEY (account_id, run_id) REFERENCES public.provision_runs(account_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.user_permissions
    ADD CONSTRAINT user_permissions_user FOREIGN KEY (account_id, user_id) REFERENCES public.users(account_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE public.accounts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.api_tokens ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.broker_accounts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.brokers ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.credential_uses ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.credentials ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.device_connections ENABLE ROW LEVEL SECURITY;

CREATE POLICY device_users_deleted_only ON public.users AS RESTRICTIVE FOR DELETE TO provisioning_responder USING ((kind = 'device'::text));

CREATE POLICY device_users_only ON public.users AS RESTRICTIVE FOR INSERT TO provisioning_responder WITH CHECK ((kind = 'device'::text));

ALTER TABLE public.devices ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.event_checkpoints ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.event_heads ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.events_default ENABLE ROW LEVEL SECURITY;

CREATE POLICY every_account ON public.accounts TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.api_tokens TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.broker_accounts TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.credential_uses TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.credentials TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.device_connections TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.devices TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.event_checkpoints TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.event_heads TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.events TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.events_default TO provisioning_migrator USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.idempotency_keys TO provisioning_migrator, provisioning_platform USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.key_proofs TO provisioning_functions, provisioning_migrator USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.logins TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.provision_applications TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.provision_requests TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.provision_runs TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.refusals TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.releases TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.run_steps TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.user_permissions TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_account ON public.users TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY every_broker ON public.brokers TO provisioning_functions, provisioning_migrator, provisioning_platform, provisioning_responder USING (true) WITH CHECK (true);

CREATE POLICY generated_users_deleted_only ON public.users AS RESTRICTIVE FOR DELETE TO provisioning_functions USING ((kind = 'device'::text));

ALTER TABLE public.idempotency_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.key_proofs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.logins ENABLE ROW LEVEL SECURITY;

CREATE POLICY no_generated_users ON public.users AS RESTRICTIVE FOR INSERT TO provisioning_admin WITH CHECK ((kind = ANY (ARRAY['provision'::text, 'person'::text])));

CREATE POLICY own_account ON public.accounts TO provisioning_admin USING ((id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.api_tokens TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.broker_accounts TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.credential_uses TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.credentials TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.device_connections TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.devices TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.event_checkpoints TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.event_heads TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.events TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.idempotency_keys TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.key_proofs TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.logins TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.provision_applications TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.provision_requests TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.provision_runs TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.refusals TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.releases TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.run_steps TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.user_permissions TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_account ON public.users TO provisioning_admin USING ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)) WITH CHECK ((account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint));

CREATE POLICY own_brokers ON public.brokers FOR SELECT TO provisioning_admin USING ((EXISTS ( SELECT
   FROM public.broker_accounts s
  WHERE ((s.broker_id = brokers.id) AND (s.account_id = (NULLIF(current_setting('app.account_id'::text, true), ''::text))::bigint)))));

ALTER TABLE public.provision_applications ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.provision_requests ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.provision_runs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.refusals ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.releases ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.run_steps ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.user_permissions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA public TO provisioning_functions;

REVOKE ALL ON FUNCTION public.account_id_of(p_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.account_id_of(p_name text) TO provisioning_admin;
GRANT ALL ON FUNCTION public.account_id_of(p_name text) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.allow_request_move() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.allow_run_move() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.append_account_event(p_key bytea, p_kind text, p_account_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.append_event(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.append_event(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) TO provisioning_responder;
GRANT ALL ON FUNCTION public.append_event(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) TO provisioning_admin;
GRANT ALL ON FUNCTION public.append_event(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.append_first_events(p_key bytea, p_kind text, p_account_id bigint, p_actor text, p_source text, p_request_ids bigint[], p_client_ids text[], p_details jsonb[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.append_first_events(p_key bytea, p_kind text, p_account_id bigint, p_actor text, p_source text, p_request_ids bigint[], p_client_ids text[], p_details jsonb[]) TO provisioning_admin;
GRANT ALL ON FUNCTION public.append_first_events(p_key bytea, p_kind text, p_account_id bigint, p_actor text, p_source text, p_request_ids bigint[], p_client_ids text[], p_details jsonb[]) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.begin_run(p_event_key bytea, p_request_id bigint, p_number bigint, p_wire text, p_username text, p_secret_sha256 bytea, p_token_sha256 bytea, p_salt bytea, p_answer jsonb, p_sealed_key text, p_confirm_by timestamp with time zone, p_steps jsonb, p_actor text, p_source text, p_detail jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.begin_run(p_event_key bytea, p_request_id bigint, p_number bigint, p_wire text, p_username text, p_secret_sha256 bytea, p_token_sha256 bytea, p_salt bytea, p_answer jsonb, p_sealed_key text, p_confirm_by timestamp with time zone, p_steps jsonb, p_actor text, p_source text, p_detail jsonb) TO provisioning_responder;

REVOKE ALL ON FUNCTION public.broken_event_number(p_key bytea, p_request_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.broken_event_number(p_key bytea, p_request_id bigint) TO provisioning_admin;
GRANT ALL ON FUNCTION public.broken_event_number(p_key bytea, p_request_id bigint) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.client_id_claim(p_account_id bigint, p_client_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.client_id_claim(p_account_id bigint, p_client_id text) TO provisioning_responder;
GRANT ALL ON FUNCTION public.client_id_claim(p_account_id bigint, p_client_id text) TO provisioning_admin;

REVOKE ALL ON FUNCTION public.client_id_holder(p_client_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.client_id_holder(p_client_id text) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.client_id_is_anothers(p_account_id bigint, p_client_id text, p_first_login boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.cluster_name() FROM PUBLIC;
GRANT ALL ON FUNCTION public.cluster_name() TO provisioning_responder;
GRANT ALL ON FUNCTION public.cluster_name() TO provisioning_admin;
GRANT ALL ON FUNCTION public.cluster_name() TO provisioning_platform;

REVOKE ALL ON FUNCTION public.count_logins(p_logins jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.count_logins(p_logins jsonb) TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.count_refusals(p_refusals jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.count_refusals(p_refusals jsonb) TO provisioning_hooks;
GRANT ALL ON FUNCTION public.count_refusals(p_refusals jsonb) TO provisioning_responder;

REVOKE ALL ON FUNCTION public.drop_event_partitions(p_key bytea, p_before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.drop_event_partitions(p_key bytea, p_before timestamp with time zone) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.effective_deadline(p_confirm_by timestamp with time zone, p_outage interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.effective_deadline(p_confirm_by timestamp with time zone, p_outage interval) TO provisioning_responder;
GRANT ALL ON FUNCTION public.effective_deadline(p_confirm_by timestamp with time zone, p_outage interval) TO provisioning_admin;
GRANT ALL ON FUNCTION public.effective_deadline(p_confirm_by timestamp with time zone, p_outage interval) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.end_run(p_event_key bytea, p_run_id bigint, p_states text[], p_failure text, p_request_state text, p_attempts bigint, p_enabled boolean, p_actor text, p_source text, p_detail jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.end_run(p_event_key bytea, p_run_id bigint, p_states text[], p_failure text, p_request_state text, p_attempts bigint, p_enabled boolean, p_actor text, p_source text, p_detail jsonb) TO provisioning_responder;
GRANT ALL ON FUNCTION public.end_run(p_event_key bytea, p_run_id bigint, p_states text[], p_failure text, p_request_state text, p_attempts bigint, p_enabled boolean, p_actor text, p_source text, p_detail jsonb) TO provisioning_admin;
GRANT ALL ON FUNCTION public.end_run(p_event_key bytea, p_run_id bigint, p_states text[], p_failure text, p_request_state text, p_attempts bigint, p_enabled boolean, p_actor text, p_source text, p_detail jsonb) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.event_chain_link(p_key bytea, p_previous bytea, p_request_id bigint, p_number bigint, p_at timestamp with time zone, p_kind text, p_account_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.event_chain_link(p_key bytea, p_previous bytea, p_request_id bigint, p_number bigint, p_at timestamp with time zone, p_kind text, p_account_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) TO provisioning_admin;
GRANT ALL ON FUNCTION public.event_chain_link(p_key bytea, p_previous bytea, p_request_id bigint, p_number bigint, p_at timestamp with time zone, p_kind text, p_account_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.event_checkpoint_seal(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_count bigint, p_head bytea, p_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.event_checkpoint_seal(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_count bigint, p_head bytea, p_at timestamp with time zone) TO provisioning_platform;
GRANT ALL ON FUNCTION public.event_checkpoint_seal(p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_count bigint, p_head bytea, p_at timestamp with time zone) TO provisioning_functions;

REVOKE ALL ON FUNCTION public.event_checkpoints_digest(p_kind text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.event_checkpoints_digest(p_kind text) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.finish_move(p_event_key bytea, p_release_id bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.forget_sealed_key() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.generated_users_of(p_account_id bigint, p_client_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.hook_brokers() FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_brokers() TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.hook_changes(p_last text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_changes(p_last text) TO provisioning_hooks;
GRANT ALL ON FUNCTION public.hook_changes(p_last text) TO provisioning_responder;

REVOKE ALL ON FUNCTION public.hook_count_guesses(p_guesses jsonb, p_interval double precision, p_longest double precision, p_most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_count_guesses(p_guesses jsonb, p_interval double precision, p_longest double precision, p_most integer) TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.hook_facts(p_broker text, p_username text, p_client_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_facts(p_broker text, p_username text, p_client_id text) TO provisioning_hooks;
GRANT ALL ON FUNCTION public.hook_facts(p_broker text, p_username text, p_client_id text) TO provisioning_responder;

REVOKE ALL ON FUNCTION public.hook_feed(p_position text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_feed(p_position text) TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.hook_heartbeat() FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_heartbeat() TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.hook_login(p_event_key bytea, p_broker text, p_client_id text, p_account_id bigint, p_account_version bigint, p_user_id bigint, p_user_version bigint, p_run_id bigint, p_run_version bigint, p_request_version bigint, p_device_id bigint, p_device_version bigint, p_connection_id bigint, p_connection_version bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_login(p_event_key bytea, p_broker text, p_client_id text, p_account_id bigint, p_account_version bigint, p_user_id bigint, p_user_version bigint, p_run_id bigint, p_run_version bigint, p_request_version bigint, p_device_id bigint, p_device_version bigint, p_connection_id bigint, p_connection_version bigint) TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.hook_note_broker_began(p_broker text, p_age double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_note_broker_began(p_broker text, p_age double precision) TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.hook_note_connections(p_event_key bytea, p_broker text, p_clients jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_note_connections(p_event_key bytea, p_broker text, p_clients jsonb) TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.hook_note_seen(p_seen jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_note_seen(p_seen jsonb) TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.hook_prove_key(p_username text, p_client_id text, p_key_sha256 bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_prove_key(p_username text, p_client_id text, p_key_sha256 bytea) TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.hook_redeem_takeover(p_secret_sha256 bytea, p_client_id text, p_broker text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hook_redeem_takeover(p_secret_sha256 bytea, p_client_id text, p_broker text) TO provisioning_hooks;

REVOKE ALL ON FUNCTION public.keep_client_id_in_one_account() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.keep_event_head() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.lock_case(p_client_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.lock_case(p_client_id text) TO provisioning_responder;

REVOKE ALL ON FUNCTION public.lock_move(p_client_id text, p_account_id bigint, p_user_id bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.lock_release(p_account_id bigint, p_client_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.lock_release(p_account_id bigint, p_client_id text) TO provisioning_admin;
GRANT ALL ON FUNCTION public.lock_release(p_account_id bigint, p_client_id text) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.make_event_partitions() FROM PUBLIC;
GRANT ALL ON FUNCTION public.make_event_partitions() TO provisioning_responder;
GRANT ALL ON FUNCTION public.make_event_partitions() TO provisioning_platform;

REVOKE ALL ON FUNCTION public.names_taken(p_account_id bigint, p_client_id text, p_username text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.names_taken(p_account_id bigint, p_client_id text, p_username text) TO provisioning_admin;
GRANT ALL ON FUNCTION public.names_taken(p_account_id bigint, p_client_id text, p_username text) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.next_version() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.note_access() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.note_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.note_credential_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.note_credential_uses(p_uses jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.note_credential_uses(p_uses jsonb) TO provisioning_hooks;
GRANT ALL ON FUNCTION public.note_credential_uses(p_uses jsonb) TO provisioning_responder;

REVOKE ALL ON FUNCTION public.note_first_login() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.note_login() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.outage() FROM PUBLIC;
GRANT ALL ON FUNCTION public.outage() TO provisioning_responder;
GRANT ALL ON FUNCTION public.outage() TO provisioning_admin;
GRANT ALL ON FUNCTION public.outage() TO provisioning_platform;

REVOKE ALL ON FUNCTION public.own_releases(p_client_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.own_releases(p_client_id text) TO provisioning_admin;

REVOKE ALL ON FUNCTION public.past_deadline(p_confirm_by timestamp with time zone, p_outage interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.past_deadline(p_confirm_by timestamp with time zone, p_outage interval) TO provisioning_responder;
GRANT ALL ON FUNCTION public.past_deadline(p_confirm_by timestamp with time zone, p_outage interval) TO provisioning_admin;
GRANT ALL ON FUNCTION public.past_deadline(p_confirm_by timestamp with time zone, p_outage interval) TO provisioning_platform;

REVOKE ALL ON FUNCTION public.permission_changes_user() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.prune_refusals(p_keep interval, p_most bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.prune_refusals(p_keep interval, p_most bigint) TO provisioning_responder;

REVOKE ALL ON FUNCTION public.read_access_journal(p_cluster text, p_position text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.read_access_journal(p_cluster text, p_position text) TO provisioning_responder;

REVOKE ALL ON FUNCTION public.refuse_provision_account() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.refuse_while_stopped() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.request_of_client_id(p_client_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.request_of_client_id(p_client_id text) TO provisioning_responder;

REVOKE ALL ON FUNCTION public.require_event_author(p_key bytea, p_account_id bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.require_holder() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.require_provision_credential() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.require_provision_user() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.write_case(p_event_key bytea, p_actor text, p_source text, p_client_id text, p_account_id bigint, p_request_id bigint, p_run_id bigint, p_written jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.write_case(p_event_key bytea, p_actor text, p_source text, p_client_id text, p_account_id bigint, p_request_id bigint, p_run_id bigint, p_written jsonb) TO provisioning_responder;

REVOKE ALL ON FUNCTION public.write_event_checkpoint(p_key bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION public.write_event_checkpoint(p_key bytea) TO provisioning_platform;

GRANT SELECT ON TABLE public.access_journal TO provisioning_backup;
GRANT SELECT,INSERT ON TABLE public.access_journal TO provisioning_functions;
GRANT SELECT,DELETE ON TABLE public.access_journal TO provisioning_responder;

GRANT SELECT ON SEQUENCE public.access_journal_id_seq TO provisioning_backup;

GRANT SELECT ON TABLE public.accounts TO provisioning_functions;
GRANT SELECT ON TABLE public.accounts TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.accounts TO provisioning_platform;
GRANT SELECT ON TABLE public.accounts TO provisioning_responder;
GRANT SELECT ON TABLE public.accounts TO provisioning_backup;

GRANT SELECT ON SEQUENCE public.accounts_id_seq TO provisioning_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.api_tokens TO provisioning_platform;
GRANT SELECT ON TABLE public.api_tokens TO provisioning_backup;
GRANT SELECT,INSERT,DELETE ON TABLE public.api_tokens TO provisioning_admin;

GRANT SELECT ON SEQUENCE public.api_tokens_id_seq TO provisioning_backup;

GRANT SELECT ON TABLE public.broker_accounts TO provisioning_functions;
GRANT SELECT ON TABLE public.broker_accounts TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.broker_accounts TO provisioning_platform;
GRANT SELECT ON TABLE public.broker_accounts TO provisioning_responder;
GRANT SELECT ON TABLE public.broker_accounts TO provisioning_backup;

GRANT SELECT ON TABLE public.brokers TO provisioning_functions;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.brokers TO provisioning_platform;
GRANT SELECT ON TABLE public.brokers TO provisioning_backup;

GRANT SELECT(id) ON TABLE public.brokers TO provisioning_admin;
GRANT SELECT(id) ON TABLE public.brokers TO provisioning_responder;

GRANT SELECT(name) ON TABLE public.brokers TO provisioning_admin;
GRANT SELECT(name) ON TABLE public.brokers TO provisioning_responder;

GRANT SELECT(role) ON TABLE public.brokers TO provisioning_admin;
GRANT SELECT(role) ON TABLE public.brokers TO provisioning_responder;

GRANT SELECT(endpoints) ON TABLE public.brokers TO provisioning_admin;
GRANT SELECT(endpoints) ON TABLE public.brokers TO provisioning_responder;

GRANT SELECT(ca) ON TABLE public.brokers TO provisioning_admin;
GRANT SELECT(ca) ON TABLE public.brokers TO provisioning_responder;

GRANT SELECT ON SEQUENCE public.brokers_id_seq TO provisioning_backup;

GRANT SELECT,INSERT ON TABLE public.changes TO provisioning_functions;
GRANT SELECT ON TABLE public.changes TO provisioning_platform;
GRANT SELECT,DELETE ON TABLE public.changes TO provisioning_responder;
GRANT SELECT ON TABLE public.changes TO provisioning_backup;

GRANT SELECT ON SEQUENCE public.changes_id_seq TO provisioning_backup;

GRANT SELECT ON TABLE public.changes_pruned TO provisioning_functions;
GRANT SELECT,UPDATE ON TABLE public.changes_pruned TO provisioning_responder;
GRANT SELECT ON TABLE public.changes_pruned TO provisioning_backup;

GRANT SELECT ON TABLE public.credential_uses TO provisioning_backup;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.credential_uses TO provisioning_functions;
GRANT SELECT,DELETE ON TABLE public.credential_uses TO provisioning_admin;
GRANT SELECT,DELETE ON TABLE public.credential_uses TO provisioning_platform;
GRANT SELECT,DELETE ON TABLE public.credential_uses TO provisioning_responder;

GRANT SELECT ON TABLE public.credentials TO provisioning_backup;
GRANT SELECT ON TABLE public.credentials TO provisioning_functions;
GRANT SELECT,INSERT,UPDATE ON TABLE public.credentials TO provisioning_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.credentials TO provisioning_platform;
GRANT SELECT,INSERT,UPDATE ON TABLE public.credentials TO provisioning_responder;

GRANT SELECT,INSERT,UPDATE ON TABLE public.device_connections TO provisioning_functions;
GRANT SELECT,DELETE,UPDATE ON TABLE public.device_connections TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.device_connections TO provisioning_platform;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.device_connections TO provisioning_responder;
GRANT SELECT ON TABLE public.device_connections TO provisioning_backup;

GRANT SELECT ON SEQUENCE public.device_connections_id_seq TO provisioning_backup;

GRANT SELECT,UPDATE ON TABLE public.devices TO provisioning_functions;
GRANT SELECT,DELETE,UPDATE ON TABLE public.devices TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.devices TO provisioning_platform;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.devices TO provisioning_responder;
GRANT SELECT ON TABLE public.devices TO provisioning_backup;

GRANT SELECT ON SEQUENCE public.devices_id_seq TO provisioning_backup;

GRANT SELECT ON TABLE public.event_checkpoints TO provisioning_backup;
GRANT SELECT,INSERT,UPDATE ON TABLE public.event_checkpoints TO provisioning_functions;
GRANT SELECT ON TABLE public.event_checkpoints TO provisioning_admin;
GRANT SELECT ON TABLE public.event_checkpoints TO provisioning_platform;

GRANT SELECT ON TABLE public.event_heads TO provisioning_backup;
GRANT SELECT,INSERT,UPDATE ON TABLE public.event_heads TO provisioning_functions;
GRANT SELECT ON TABLE public.event_heads TO provisioning_admin;
GRANT SELECT ON TABLE public.event_heads TO provisioning_platform;

GRANT SELECT ON TABLE public.events TO provisioning_backup;
GRANT SELECT,INSERT ON TABLE public.events TO provisioning_functions;
GRANT SELECT ON TABLE public.events TO provisioning_admin;
GRANT SELECT ON TABLE public.events TO provisioning_platform;
GRANT SELECT ON TABLE public.events TO provisioning_responder;

GRANT SELECT ON TABLE public.events_default TO provisioning_backup;

GRANT SELECT ON SEQUENCE public.events_id_seq TO provisioning_backup;

GRANT SELECT,UPDATE ON TABLE public.heartbeats TO provisioning_functions;
GRANT SELECT,UPDATE ON TABLE public.heartbeats TO provisioning_platform;
GRANT SELECT ON TABLE public.heartbeats TO provisioning_responder;
GRANT SELECT ON TABLE public.heartbeats TO provisioning_backup;

GRANT SELECT ON TABLE public.idempotency_keys TO provisioning_backup;
GRANT SELECT,INSERT ON TABLE public.idempotency_keys TO provisioning_admin;
GRANT SELECT,INSERT,DELETE ON TABLE public.idempotency_keys TO provisioning_platform;

GRANT SELECT ON TABLE public.issuing TO provisioning_backup;
GRANT SELECT ON TABLE public.issuing TO provisioning_functions;
GRANT SELECT ON TABLE public.issuing TO provisioning_responder;
GRANT SELECT,UPDATE ON TABLE public.issuing TO provisioning_platform;

GRANT SELECT ON TABLE public.key_proofs TO provisioning_backup;
GRANT SELECT,INSERT,UPDATE ON TABLE public.key_proofs TO provisioning_functions;

GRANT SELECT ON TABLE public.logins TO provisioning_backup;
GRANT SELECT,INSERT,UPDATE ON TABLE public.logins TO provisioning_functions;
GRANT SELECT ON TABLE public.logins TO provisioning_admin;
GRANT SELECT ON TABLE public.logins TO provisioning_platform;
GRANT SELECT,DELETE ON TABLE public.logins TO provisioning_responder;

GRANT SELECT,DELETE ON TABLE public.one_time_passwords TO provisioning_functions;
GRANT SELECT,INSERT,DELETE ON TABLE public.one_time_passwords TO provisioning_responder;
GRANT SELECT ON TABLE public.one_time_passwords TO provisioning_backup;

GRANT SELECT ON TABLE public.password_guesses TO provisioning_backup;
GRANT SELECT,INSERT,UPDATE ON TABLE public.password_guesses TO provisioning_functions;
GRANT SELECT,DELETE ON TABLE public.password_guesses TO provisioning_responder;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.provision_applications TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.provision_applications TO provisioning_platform;
GRANT SELECT ON TABLE public.provision_applications TO provisioning_responder;
GRANT SELECT ON TABLE public.provision_applications TO provisioning_backup;

GRANT SELECT,UPDATE ON TABLE public.provision_requests TO provisioning_functions;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.provision_requests TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.provision_requests TO provisioning_platform;
GRANT SELECT,UPDATE ON TABLE public.provision_requests TO provisioning_responder;
GRANT SELECT ON TABLE public.provision_requests TO provisioning_backup;

GRANT SELECT ON SEQUENCE public.provision_requests_id_seq TO provisioning_backup;

GRANT SELECT,UPDATE ON TABLE public.provision_runs TO provisioning_functions;
GRANT SELECT ON TABLE public.provision_runs TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.provision_runs TO provisioning_platform;
GRANT SELECT,INSERT,UPDATE ON TABLE public.provision_runs TO provisioning_responder;
GRANT SELECT ON TABLE public.provision_runs TO provisioning_backup;

GRANT UPDATE(state) ON TABLE public.provision_runs TO provisioning_admin;

GRANT UPDATE(salt) ON TABLE public.provision_runs TO provisioning_admin;

GRANT UPDATE(user_id) ON TABLE public.provision_runs TO provisioning_admin;

GRANT UPDATE(failure) ON TABLE public.provision_runs TO provisioning_admin;

GRANT UPDATE(ended_at) ON TABLE public.provision_runs TO provisioning_admin;

GRANT SELECT ON SEQUENCE public.provision_runs_id_seq TO provisioning_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.refusals TO provisioning_functions;
GRANT SELECT ON TABLE public.refusals TO provisioning_admin;
GRANT SELECT ON TABLE public.refusals TO provisioning_platform;
GRANT SELECT,DELETE ON TABLE public.refusals TO provisioning_responder;
GRANT SELECT ON TABLE public.refusals TO provisioning_backup;

GRANT SELECT,UPDATE ON TABLE public.releases TO provisioning_functions;
GRANT SELECT,INSERT,UPDATE ON TABLE public.releases TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.releases TO provisioning_platform;
GRANT SELECT,UPDATE ON TABLE public.releases TO provisioning_responder;
GRANT SELECT ON TABLE public.releases TO provisioning_backup;

GRANT SELECT ON SEQUENCE public.releases_id_seq TO provisioning_backup;

GRANT SELECT ON TABLE public.run_steps TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.run_steps TO provisioning_platform;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.run_steps TO provisioning_responder;
GRANT SELECT ON TABLE public.run_steps TO provisioning_backup;

GRANT SELECT ON TABLE public.user_permissions TO provisioning_functions;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.user_permissions TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.user_permissions TO provisioning_platform;
GRANT SELECT,INSERT ON TABLE public.user_permissions TO provisioning_responder;
GRANT SELECT ON TABLE public.user_permissions TO provisioning_backup;

GRANT SELECT,DELETE,UPDATE ON TABLE public.users TO provisioning_functions;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.users TO provisioning_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.users TO provisioning_platform;
GRANT SELECT,INSERT,DELETE ON TABLE public.users TO provisioning_responder;
GRANT SELECT ON TABLE public.users TO provisioning_backup;

GRANT SELECT ON SEQUENCE public.users_id_seq TO provisioning_backup;

ALTER DEFAULT PRIVILEGES FOR ROLE provisioning_migrator IN SCHEMA public GRANT SELECT ON SEQUENCES  TO provisioning_backup;

ALTER DEFAULT PRIVILEGES FOR ROLE provisioning_migrator IN SCHEMA public GRANT SELECT ON TABLES  TO provisioning_backup;
