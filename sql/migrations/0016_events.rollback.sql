-- Back to one table. Chains of administrators' changes, heads of deleted requests and checkpoints are lost; events of dropped months too.
SET lock_timeout = '5s';
SET statement_timeout = '30min';
DROP TRIGGER provision_requests_keep_event_head ON provision_requests;
DROP FUNCTION drop_event_partitions(bytea, timestamptz);
DROP FUNCTION make_event_partitions();
DROP FUNCTION write_event_checkpoint(bytea);
DROP FUNCTION event_checkpoints_digest(text);
DROP FUNCTION event_checkpoint_seal(bytea, text, bigint, bigint, bigint, bytea, timestamptz);
DROP FUNCTION append_first_events(bytea, text, bigint, text, text, bigint [], text [], jsonb []);
-- Append one event; a request's event takes the next place in its chain (and the request's row lock).
-- The key is a bind parameter and is stored nowhere.
CREATE OR REPLACE FUNCTION append_event(
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

DROP FUNCTION append_account_event(bytea, text, bigint, text, text, text, text, text, jsonb);
DROP FUNCTION require_event_author(bytea, bigint);
DROP FUNCTION keep_event_head();
DROP TABLE event_heads;
DROP TABLE event_checkpoints;

ALTER TABLE events RENAME TO events_by_month;
ALTER SEQUENCE events_id_seq RENAME TO events_by_month_id_seq;
ALTER TABLE events_by_month DROP CONSTRAINT events_account_id_fkey;
ALTER TABLE events_by_month RENAME CONSTRAINT events_pkey TO events_by_month_pkey;
ALTER TABLE events_default RENAME CONSTRAINT events_number_unique TO events_default_number_unique;
ALTER INDEX events_by_client_id RENAME TO events_by_month_by_client_id;
ALTER INDEX events_by_account RENAME TO events_by_month_by_account;
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


ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
CREATE POLICY every_account ON events TO provisioning_migrator, provisioning_functions, provisioning_platform, provisioning_responder
    USING (true) WITH CHECK (true);
CREATE POLICY own_account ON events TO provisioning_admin
    USING (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint)
    WITH CHECK (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint);
GRANT SELECT, INSERT ON events TO provisioning_functions;
GRANT SELECT ON events TO provisioning_admin, provisioning_platform, provisioning_responder;
INSERT INTO events (
    id, at, kind, account_id, request_id, number, client_id, actor, source, correlation_id, reason, detail, chain
) OVERRIDING SYSTEM VALUE
SELECT id, at, kind, account_id, request_id, CASE WHEN request_id IS NOT NULL THEN number END, client_id, actor, source,
    correlation_id, reason, detail, CASE WHEN request_id IS NOT NULL THEN chain END
FROM events_by_month;
DO $$ BEGIN PERFORM setval('events_id_seq', last_value, is_called) FROM events_by_month_id_seq; END $$;
DROP TABLE events_by_month;

-- The first place in a request's chain that does not hold, or NULL: gaps, edits, a cut end, a foreign key.
CREATE OR REPLACE FUNCTION broken_event_number(p_key bytea, p_request_id bigint) RETURNS bigint LANGUAGE plpgsql STABLE
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

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0012_account_move' $$;
