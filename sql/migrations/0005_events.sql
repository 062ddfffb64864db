-- What happened, and what was refused.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- Append-only. The events of one provision request form a chain: each carries an HMAC over itself and the one before,
-- and the request holds their number and the last HMAC, so that a removed, added or edited row shows.
-- request_id has no foreign key: events outlive their request.
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    account_id bigint REFERENCES accounts (id),
    request_id bigint,
    -- Place in the request's chain, from 1.
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
    CONSTRAINT events_kind_rule CHECK (kind ~ '^[a-z_]{3,64}$'),
    CONSTRAINT events_source_known CHECK (source IN ('hooks', 'mqtt', 'cli', 'api', 'sweep')),
    CONSTRAINT events_chained CHECK (
        (request_id IS NULL) = (number IS NULL) AND (request_id IS NULL) = (chain IS NULL)
        AND octet_length(chain) = 32
    ),
    CONSTRAINT events_number_unique UNIQUE (request_id, number)
);
CREATE INDEX events_by_client_id ON events (client_id, at);
CREATE INDEX events_by_account ON events (account_id, at);

CREATE FUNCTION event_chain_link(
    p_key bytea, p_previous bytea, p_request_id bigint, p_number bigint, p_at timestamptz, p_kind text,
    p_account_id bigint, p_client_id text, p_actor text, p_source text, p_correlation_id text, p_reason text,
    p_detail jsonb
) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, public, pg_temp AS $$
    -- An array's text keeps every value apart from its neighbours; microseconds do not depend on a time zone setting.
    SELECT hmac(
        coalesce(p_previous, ''::bytea) || convert_to(jsonb_build_array(
            p_request_id, p_number, (extract(epoch FROM p_at) * 1000000)::bigint, p_kind, p_account_id, p_client_id,
            p_actor, p_source, p_correlation_id, p_reason, p_detail
        )::text, 'UTF8'),
        p_key, 'sha256'
    )
$$;

-- Append one event; a request's event takes the next place in its chain (and the request's row lock).
-- The key is a bind parameter and is stored nowhere.
CREATE FUNCTION append_event(
    p_key bytea, p_kind text, p_account_id bigint, p_request_id bigint, p_client_id text, p_actor text, p_source text,
    p_correlation_id text DEFAULT NULL, p_reason text DEFAULT NULL, p_detail jsonb DEFAULT '{}'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_at CONSTANT timestamptz := clock_timestamp();
    v_number bigint;
    v_chain bytea;
    v_id bigint;
BEGIN
    IF octet_length(p_key) IS DISTINCT FROM 32 THEN
        RAISE EXCEPTION 'the event key must have 32 bytes';
    END IF;
    -- An account's administrator writes its own account's events, whatever a mistake may ask for.
    IF session_user = 'provisioning_admin'
        AND p_account_id IS DISTINCT FROM NULLIF(current_setting('app.account_id', true), '')::bigint THEN
        RAISE EXCEPTION 'another account''s event' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF p_request_id IS NOT NULL THEN
        SELECT events_count + 1,
            event_chain_link(p_key, events_head, p_request_id, events_count + 1, v_at, p_kind, p_account_id, p_client_id,
                p_actor, p_source, p_correlation_id, p_reason, p_detail)
        INTO STRICT v_number, v_chain
        FROM provision_requests WHERE id = p_request_id AND account_id = p_account_id FOR UPDATE;
        UPDATE provision_requests SET events_count = v_number, events_head = v_chain WHERE id = p_request_id;
    END IF;
    INSERT INTO events (at, kind, account_id, request_id, number, client_id, actor, source, correlation_id, reason, detail, chain)
    VALUES (v_at, p_kind, p_account_id, p_request_id, v_number, p_client_id, p_actor, p_source, p_correlation_id, p_reason, p_detail, v_chain)
    RETURNING id INTO v_id;
    RETURN v_id;
END
$$;

-- The first place in a request's chain that does not hold, or NULL: gaps, edits, a cut end, a foreign key.
CREATE FUNCTION broken_event_number(p_key bytea, p_request_id bigint) RETURNS bigint LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_previous bytea;
    v_expected bigint := 0;
    v_event events;
    v_request record;
BEGIN
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

-- Refused CONNECTs and topic checks, counted by the minute: bounded, however hard somebody knocks.
CREATE TABLE refusals (
    broker text NOT NULL,
    username text NOT NULL,
    client_id text NOT NULL,
    reason text NOT NULL,
    minute timestamptz NOT NULL,
    -- Whose credential was used; empty for a name that nobody has.
    account_id bigint REFERENCES accounts (id) ON DELETE CASCADE,
    count bigint NOT NULL,
    last_at timestamptz NOT NULL,
    last_topic text,
    last_access text,
    PRIMARY KEY (broker, username, client_id, reason, minute),
    CONSTRAINT refusals_bounded CHECK (
        length(username) <= 256 AND length(client_id) <= 256 AND length(reason) <= 64 AND length(last_topic) <= 1024
        AND length(last_access) <= 32
    )
);
CREATE INDEX refusals_by_client_id ON refusals (client_id, minute);
CREATE INDEX refusals_by_minute ON refusals (minute);
CREATE INDEX refusals_by_account ON refusals (account_id);

-- Tokens of the administrators' API: only their hash, with the account they speak for (none: the platform).
CREATE TABLE api_tokens (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint REFERENCES accounts (id) ON DELETE CASCADE,
    name text NOT NULL,
    role text NOT NULL,
    token_sha256 bytea NOT NULL,
    expires_on timestamptz NOT NULL,
    last_used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    CONSTRAINT api_tokens_role_known CHECK (role IN (
        'platform_administrator', 'account_administrator', 'device_manager', 'deployment_operator', 'auditor'
    )),
    CONSTRAINT api_tokens_token_is_sha256 CHECK (octet_length(token_sha256) = 32),
    CONSTRAINT api_tokens_platform_has_no_account CHECK ((role = 'platform_administrator') = (account_id IS NULL)),
    CONSTRAINT api_tokens_token_unique UNIQUE (token_sha256)
);
CREATE INDEX api_tokens_by_account ON api_tokens (account_id);

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0005_events' $$;
