-- All that the hooks may do: these functions, and nothing else.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- Every broker with the hashes of its secrets: the hooks keep them in memory.
CREATE FUNCTION hook_brokers() RETURNS TABLE (name text, role text, secret_sha256 bytea, previous_secret_sha256 bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT b.name, b.role, b.secret_sha256, b.previous_secret_sha256 FROM brokers b
$$;

-- Everything that a decision about this client of this broker is made from, as one document of one moment.
-- service/core/connect.py decides; the versions come back in hook_login where a row has to change.
CREATE FUNCTION hook_facts(p_broker text, p_username text, p_client_id text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT jsonb_build_object(
        'broker_role', b.role,
        'highest_cost', (SELECT max(substr(password_bcrypt, 5, 2))::integer FROM users WHERE kind = 'provision'),
        'user', CASE WHEN u.id IS NOT NULL THEN jsonb_build_object(
            'id', u.id, 'kind', u.kind, 'enabled', u.enabled, 'confirmed', u.confirmed_at IS NOT NULL,
            'password_bcrypt', u.password_bcrypt, 'secret_sha256', encode(u.secret_sha256, 'hex'), 'version', u.version,
            'permissions', (SELECT coalesce(jsonb_agg(permission), '[]') FROM user_permissions p WHERE p.user_id = u.id)
        ) END,
        'account', CASE WHEN a.id IS NOT NULL THEN jsonb_build_object(
            'id', a.id, 'name', a.name, 'enabled', a.enabled, 'coupling', a.device_connection_coupling, 'version', a.version,
            'served', EXISTS (SELECT FROM broker_accounts s WHERE s.broker_id = b.id AND s.account_id = a.id)
        ) END,
        -- The request that this credential and this client id match (provision brokers).
        'request', CASE WHEN q.id IS NOT NULL THEN jsonb_build_object('id', q.id, 'enabled', q.enabled) END,
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
        -- Another account's device, or request; or a mere connection of another account, where this one has neither.
        'client_id_of_another_account',
            EXISTS (SELECT FROM devices o WHERE o.client_id = p_client_id AND o.account_id <> u.account_id)
            OR EXISTS (SELECT FROM provision_requests o WHERE o.client_id = p_client_id AND o.account_id <> u.account_id)
            OR (
                d.id IS NULL AND r.id IS NULL
                AND EXISTS (SELECT FROM device_connections o WHERE o.client_id = p_client_id AND o.account_id <> u.account_id)
            )
    )
    FROM (VALUES (true)) AS one (row)
    LEFT JOIN brokers b ON b.name = p_broker
    LEFT JOIN users u ON lower(u.name COLLATE "C") = lower(p_username COLLATE "C") AND u.name = p_username
    LEFT JOIN accounts a ON a.id = u.account_id
    LEFT JOIN provision_requests q ON b.role = 'provision' AND q.client_id = p_client_id AND q.user_id = u.id
    LEFT JOIN provision_runs r ON r.user_id = u.id AND r.ended_at IS NULL
    LEFT JOIN provision_requests rq ON rq.id = r.request_id
    LEFT JOIN devices d ON d.account_id = u.account_id AND d.client_id = p_client_id
    LEFT JOIN device_connections c ON c.account_id = u.account_id AND c.client_id = p_client_id
$$;

-- An allowed login on an account broker that changes rows: the user's first one confirms its run; any one may make or
-- bind its connection. Locks in the order that everybody keeps (request, run, user, device, connection), each step
-- seeing what committed before it, and moves only if all that was decided on still stands: 'changed' where not.
CREATE FUNCTION hook_login(
    p_event_key bytea, p_broker text, p_client_id text, p_account_id bigint, p_account_version bigint, p_user_id bigint, p_user_version bigint,
    p_run_id bigint, p_run_version bigint, p_request_version bigint, p_device_id bigint, p_device_version bigint,
    p_connection_id bigint, p_connection_version bigint
) RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_request_id bigint;
    v_device_id bigint;
    v_broker_id bigint;
BEGIN
    IF p_run_id IS NOT NULL THEN
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
    IF p_connection_id IS NULL THEN
        -- One account at a time under a free client id: the same lock as where requests and devices claim one.
        PERFORM pg_advisory_xact_lock(hashtextextended('client_id ' || p_client_id, 0));
        IF EXISTS (SELECT FROM devices WHERE client_id = p_client_id AND account_id <> p_account_id)
            OR EXISTS (SELECT FROM provision_requests WHERE client_id = p_client_id AND account_id <> p_account_id)
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
    RETURN 'moved';
END
$$;

-- Good once: a takeover's password disappears as it is used.
CREATE FUNCTION hook_use_one_time_password(p_secret_sha256 bytea, p_client_id text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    DELETE FROM one_time_passwords
    WHERE secret_sha256 = p_secret_sha256 AND client_id = p_client_id AND expires_at > clock_timestamp();
    RETURN FOUND;
END
$$;

-- The changes since `p_last`, and the `last` to ask with next time; `lost` when some may already be pruned.
CREATE FUNCTION hook_changes(p_last text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT jsonb_build_object(
        'last', pg_snapshot_xmin(pg_current_snapshot())::text,
        'lost', (SELECT xid >= p_last::xid8 FROM changes_pruned),
        'changes', (
            SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_array(c.kind, c.key)), '[]')
            FROM changes c WHERE c.xid >= p_last::xid8
        )
    )
$$;

-- A sign of life. The first after a silence adds it to the outage; the first on a restored cluster holds the clock.
CREATE FUNCTION hook_heartbeat() RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
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

-- Counted refusals of the last moments, as [{"broker","username","client_id","reason","count","topic"?,"access"?}, ...].
CREATE FUNCTION count_refusals(p_refusals jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO refusals (broker, username, client_id, reason, minute, account_id, count, last_at, last_topic, last_access)
    SELECT r.broker, r.username, r.client_id, r.reason, date_trunc('minute', clock_timestamp(), 'UTC'), u.account_id, r.count,
        clock_timestamp(), r.topic, r.access
    FROM jsonb_to_recordset(p_refusals)
        AS r (broker text, username text, client_id text, reason text, count bigint, topic text, access text)
    LEFT JOIN users u ON lower(u.name COLLATE "C") = lower(r.username COLLATE "C")
    ON CONFLICT (broker, username, client_id, reason, minute) DO UPDATE
    SET count = refusals.count + excluded.count, last_at = excluded.last_at,
        last_topic = excluded.last_topic, last_access = excluded.last_access
$$;

-- Clients that were seen since the last call, as [[account_id, client_id, broker that it logged in at or null], ...].
-- A mere sign of life is written once a minute: it is asked for far more often than it is read.
CREATE FUNCTION hook_note_seen(p_seen jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    UPDATE device_connections c
    SET last_seen_at = clock_timestamp(),
        last_login_at = CASE WHEN b.id IS NULL THEN c.last_login_at ELSE clock_timestamp() END,
        status = CASE WHEN b.id IS NULL THEN c.status ELSE 'CONNECTED' END,
        broker_id = coalesce(b.id, c.broker_id)
    FROM jsonb_array_elements(p_seen) AS s LEFT JOIN brokers b ON b.name = s ->> 2
    WHERE c.account_id = (s ->> 0)::bigint AND c.client_id = s ->> 1
        AND (b.id IS NOT NULL OR c.last_seen_at IS NULL OR c.last_seen_at < clock_timestamp() - interval '1 minute')
$$;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0007_hook_functions' $$;
