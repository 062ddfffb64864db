SET lock_timeout = '5s';
SET statement_timeout = '60s';

ALTER FUNCTION hook_login(
    bytea, text, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint
) RESET enable_seqscan RESET jit;
DROP FUNCTION write_case(bytea, text, text, text, bigint, bigint, bigint, jsonb);
DROP FUNCTION end_run(bytea, bigint, text[], text, text, bigint, boolean, text, text, jsonb);
DROP FUNCTION begin_run(
    bytea, bigint, bigint, text, text, bytea, bytea, bytea, jsonb, text, timestamptz, jsonb, text, text, jsonb
);
DROP FUNCTION lock_case(text);

CREATE OR REPLACE FUNCTION cluster_name() RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, public, pg_temp
    AS $$
    SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || (SELECT timeline_id FROM pg_control_checkpoint())
$$;

CREATE OR REPLACE FUNCTION outage() RETURNS interval
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp
    AS $$
    SELECT outage + CASE
        WHEN held_since IS NOT NULL THEN clock_timestamp() - held_since
        WHEN cluster NOT IN ('', cluster_name()) OR clock_timestamp() - at > interval '10 seconds' THEN clock_timestamp() - at
        ELSE interval '0'
    END
    FROM heartbeats WHERE process = 'hooks'
$$;

CREATE OR REPLACE FUNCTION effective_deadline(p_confirm_by timestamptz, p_outage interval) RETURNS timestamptz
    LANGUAGE sql
    SET search_path = pg_catalog, public, pg_temp
    AS $$
    SELECT p_confirm_by + greatest(outage() - p_outage, interval '0')
$$;

CREATE OR REPLACE FUNCTION past_deadline(p_confirm_by timestamptz, p_outage interval) RETURNS boolean
    LANGUAGE sql
    SET search_path = pg_catalog, public, pg_temp
    AS $$
    SELECT clock_timestamp() >= effective_deadline(p_confirm_by, p_outage)
$$;

CREATE OR REPLACE FUNCTION client_id_holder(p_client_id text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp
    AS $$
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
$$;

CREATE OR REPLACE FUNCTION request_of_client_id(p_client_id text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp
    AS $$
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
$$;

CREATE OR REPLACE FUNCTION event_chain_link(p_key bytea, p_previous bytea, p_request_id bigint, p_number bigint, p_at timestamptz, p_kind text, p_account_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text, p_detail jsonb) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, public, pg_temp
    AS $$
    -- An array's text keeps every value apart from its neighbours; microseconds do not depend on a time zone setting.
    SELECT hmac(
        coalesce(p_previous, ''::bytea) || convert_to(jsonb_build_array(
            p_request_id, p_number, (extract(epoch FROM p_at) * 1000000)::bigint, p_kind, p_account_id, p_client_id,
            p_actor, p_source, p_correlation_id, p_reason, p_detail
        )::text, 'UTF8'),
        p_key, 'sha256'
    )
$$;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0019_feed' $$;
