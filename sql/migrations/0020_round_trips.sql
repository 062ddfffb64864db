-- The responder's transactions in few round trips: one call holds and reads what a message is decided from, one writes
-- what it leaves behind. The functions have the caller's rights; what they may not touch, policies and grants say.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- Kept plans: a function in plain SQL is planned again in each transaction, which costs more than what these do.
CREATE OR REPLACE FUNCTION cluster_name() RETURNS text LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system()) || '/' || (SELECT timeline_id FROM pg_control_checkpoint());
END
$$;

CREATE OR REPLACE FUNCTION outage() RETURNS interval LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION effective_deadline(p_confirm_by timestamptz, p_outage interval) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN p_confirm_by + greatest(outage() - p_outage, interval '0');
END
$$;

CREATE OR REPLACE FUNCTION past_deadline(p_confirm_by timestamptz, p_outage interval) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN clock_timestamp() >= effective_deadline(p_confirm_by, p_outage);
END
$$;

-- One account has to do with a client id, but for moves; then there is nothing to compare.
CREATE OR REPLACE FUNCTION client_id_holder(p_client_id text) RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION request_of_client_id(p_client_id text) RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION event_chain_link(
    p_key bytea, p_previous bytea, p_request_id bigint, p_number bigint, p_at timestamptz, p_kind text, p_account_id bigint,
    p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb
) RETURNS bytea LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, public, pg_temp AS $$
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

-- The request that a device's message concerns and its run under way, both held until the transaction ends, and all
-- that the message is decided from. One row; `now` is the time after the locks: waiting for them takes time too. Each
-- statement in here sees what was committed while the one before waited.
CREATE FUNCTION lock_case(p_client_id text) RETURNS TABLE (
    now timestamptz,
    id bigint, account_id bigint, account text, account_enabled boolean, client_id text, user_id bigint,
    activation_key_sha256 bytea, provision_endpoint text, broker_id bigint, activates_on timestamptz,
    expires_on timestamptz, reserve_user boolean, device_connection_coupling text,
    additional_device_configuration jsonb, maximum_attempts bigint, attempts bigint, enabled boolean, state text,
    start_on_birth boolean, key_failures bigint, key_failures_since timestamptz, version bigint, created_at timestamptz,
    created_by text, modified_at timestamptz, modified_by text, endpoint_served boolean,
    provision_username text, device_enabled boolean, claim jsonb, next_number bigint, applications jsonb, ca text,
    run_id bigint, run_account_id bigint, run_request_id bigint, run_number bigint, run_wire text, run_state text,
    run_token_sha256 bytea, run_salt bytea, run_user_id bigint, run_username text, run_device_id bigint,
    run_made_device boolean, run_answer jsonb, run_sealed_key text, run_deadline timestamptz, run_past_deadline boolean,
    run_steps jsonb
) LANGUAGE plpgsql ROWS 1
    SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off SET jit = off AS $$
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

-- A good ask's run: its user with `broker:connect`, device, connection, steps (Kura), request and event, in the order of
-- the locks. The request is held by the caller. `made`: there was no such device before.
CREATE FUNCTION begin_run(
    p_event_key bytea, p_request_id bigint, p_number bigint, p_wire text, p_username text, p_secret_sha256 bytea,
    p_token_sha256 bytea, p_salt bytea, p_answer jsonb, p_sealed_key text, p_confirm_by timestamptz, p_steps jsonb,
    p_actor text, p_source text, p_detail jsonb
) RETURNS TABLE (run_id bigint, user_id bigint, device_id bigint, made boolean) LANGUAGE plpgsql ROWS 1
    SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off SET jit = off AS $$
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

-- A run ends without a login: through these states, its salt goes, its user, and its device if the run made it (with the
-- connection where nobody ever logged in). The request is held by the caller.
CREATE FUNCTION end_run(
    p_event_key bytea, p_run_id bigint, p_states text[], p_failure text, p_request_state text, p_attempts bigint,
    p_enabled boolean, p_actor text, p_source text, p_detail jsonb
) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off SET jit = off AS $$
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

-- What one message leaves behind besides, each member where there is something:
--   moves         states that its run goes through, in order
--   confirm_by    its run's deadline from now on
--   heard         [{position, state}]: steps of its run that the device said something about that counts
--   sent          {position, request_id, job_id, retries}: the step of its run that goes out now
--   key_failures  {failures, since}: asks with a wrong or missing key, this one among them
--   refusals      as count_refusals takes them
--   events        [{kind, correlation_id, reason, detail}], in order; those with a request take places in its chain
-- Request and run are held by the caller.
CREATE FUNCTION write_case(
    p_event_key bytea, p_actor text, p_source text, p_client_id text, p_account_id bigint, p_request_id bigint,
    p_run_id bigint, p_written jsonb
) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off SET jit = off AS $$
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

-- Plans are kept as long as a connection, and what they were made for may be a table of one page, which soon is not:
-- these functions, and the foreign keys that are looked at within, read whole tables only where there is no index (the
-- few brokers by name), which must not look so dear that it is compiled.
ALTER FUNCTION hook_login(
    bytea, text, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint
) SET enable_seqscan = off SET jit = off;

REVOKE EXECUTE ON FUNCTION lock_case(text),
    begin_run(bytea, bigint, bigint, text, text, bytea, bytea, bytea, jsonb, text, timestamptz, jsonb, text, text, jsonb),
    end_run(bytea, bigint, text[], text, text, bigint, boolean, text, text, jsonb),
    write_case(bytea, text, text, text, bigint, bigint, bigint, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lock_case(text),
    begin_run(bytea, bigint, bigint, text, text, bytea, bytea, bytea, jsonb, text, timestamptz, jsonb, text, text, jsonb),
    write_case(bytea, text, text, text, bigint, bigint, bigint, jsonb) TO provisioning_responder;
-- Administrators stop runs too.
GRANT EXECUTE ON FUNCTION end_run(bytea, bigint, text[], text, text, bigint, boolean, text, text, jsonb)
TO provisioning_responder, provisioning_admin, provisioning_platform;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0020_round_trips' $$;
