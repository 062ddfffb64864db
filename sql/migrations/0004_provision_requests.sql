-- Provision requests, their applications, and the runs that execute them.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

CREATE TABLE provision_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts (id),
    -- "Provision Target Client ID": what the device names itself at the provision broker.
    client_id text NOT NULL,
    -- "Provision Username" and "Provision Password": a user of kind 'provision', perhaps shared inside the account.
    user_id bigint NOT NULL,
    activation_key_sha256 bytea,
    -- A URL of an account broker that serves the account.
    provision_endpoint text NOT NULL,
    broker_id bigint NOT NULL,
    activates_on timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_on timestamptz,
    reserve_user boolean NOT NULL DEFAULT true,
    device_connection_coupling text NOT NULL DEFAULT 'INHERITED',
    -- {component: {parameter: {"type", "value"} or {"type", "sealed"}}}
    additional_device_configuration jsonb NOT NULL DEFAULT '{}',
    maximum_attempts bigint NOT NULL DEFAULT 5,
    attempts bigint NOT NULL DEFAULT 0,
    enabled boolean NOT NULL DEFAULT true,
    state text NOT NULL DEFAULT 'OPEN',
    -- Asks with a wrong or missing key since the time beside it.
    key_failures bigint NOT NULL DEFAULT 0,
    key_failures_since timestamptz,
    -- Length and end of the request's chain of events.
    events_count bigint NOT NULL DEFAULT 0,
    events_head bytea,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    modified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    modified_by text NOT NULL,
    CONSTRAINT provision_requests_client_id_rule CHECK (client_id ~ '^[A-Za-z0-9_.:-]{1,255}$' AND client_id !~ '::'),
    CONSTRAINT provision_requests_client_id_unique UNIQUE (account_id, client_id),
    CONSTRAINT provision_requests_account_id_unique UNIQUE (account_id, id),
    CONSTRAINT provision_requests_key_is_sha256 CHECK (octet_length(activation_key_sha256) = 32),
    CONSTRAINT provision_requests_endpoint_rule CHECK (provision_endpoint ~ '^(mqtts?|wss?)://.+'),
    -- "This date must follow the activation date otherwise the provision request will not be created."
    CONSTRAINT provision_requests_expires_after_activates CHECK (expires_on > activates_on),
    CONSTRAINT provision_requests_coupling_known CHECK (device_connection_coupling IN ('INHERITED', 'LOOSE', 'STRICT')),
    CONSTRAINT provision_requests_configuration_is_object CHECK (jsonb_typeof(additional_device_configuration) = 'object'),
    CONSTRAINT provision_requests_maximum_attempts_rule CHECK (maximum_attempts BETWEEN 1 AND 1000),
    CONSTRAINT provision_requests_attempts_rule CHECK (attempts BETWEEN 0 AND maximum_attempts),
    CONSTRAINT provision_requests_state_known CHECK (state IN ('OPEN', 'RUNNING', 'PROVISIONED', 'ABANDONED')),
    CONSTRAINT provision_requests_user FOREIGN KEY (account_id, user_id) REFERENCES users (account_id, id),
    CONSTRAINT provision_requests_broker_serves_account FOREIGN KEY (broker_id, account_id)
        REFERENCES broker_accounts (broker_id, account_id)
);
CREATE INDEX provision_requests_by_client_id ON provision_requests (client_id);
CREATE INDEX provision_requests_by_user ON provision_requests (account_id, user_id);
CREATE INDEX provision_requests_by_broker ON provision_requests (broker_id, account_id);

CREATE TRIGGER provision_requests_version
    BEFORE UPDATE OF user_id, activation_key_sha256, provision_endpoint, broker_id, activates_on, expires_on, reserve_user,
        device_connection_coupling, additional_device_configuration, maximum_attempts, attempts, enabled, state
    ON provision_requests FOR EACH ROW EXECUTE FUNCTION next_version();
CREATE TRIGGER provision_requests_account BEFORE INSERT OR UPDATE OF account_id ON provision_requests
    FOR EACH ROW EXECUTE FUNCTION refuse_provision_account();

-- Packages to install, in this order.
CREATE TABLE provision_applications (
    account_id bigint NOT NULL,
    request_id bigint NOT NULL,
    position bigint NOT NULL,
    name text NOT NULL,
    application_version text NOT NULL,
    url text NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    PRIMARY KEY (request_id, position),
    CONSTRAINT provision_applications_request FOREIGN KEY (account_id, request_id)
        REFERENCES provision_requests (account_id, id) ON DELETE CASCADE,
    CONSTRAINT provision_applications_url_rule CHECK (url ~ '^https://.+'),
    CONSTRAINT provision_applications_sha256_rule CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT provision_applications_size_rule CHECK (size > 0)
);

-- One execution of a request.
CREATE TABLE provision_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL,
    request_id bigint NOT NULL,
    number bigint NOT NULL,
    wire text NOT NULL,
    state text NOT NULL DEFAULT 'CREATED',
    -- The device names its run with a token in each status message; only its hash is kept.
    token_sha256 bytea NOT NULL,
    -- The generated password is derived from this; gone when the run ends, and the password with it.
    salt bytea,
    -- Empty once that user is deleted.
    user_id bigint,
    username text NOT NULL,
    device_id bigint,
    -- This run made the device, so its failure takes it away again.
    made_device boolean NOT NULL,
    -- What was answered, less the password: {"endpoint", "account", "configuration" (values sealed), "applications"}
    answer jsonb NOT NULL,
    -- The deadline, and how much time without hooks had been counted when it was set: see past_deadline().
    confirm_by timestamptz NOT NULL,
    outage interval NOT NULL DEFAULT '0',
    failure text,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    CONSTRAINT provision_runs_request FOREIGN KEY (account_id, request_id)
        REFERENCES provision_requests (account_id, id) ON DELETE CASCADE,
    CONSTRAINT provision_runs_user FOREIGN KEY (account_id, user_id)
        REFERENCES users (account_id, id) ON DELETE SET NULL (user_id),
    CONSTRAINT provision_runs_device FOREIGN KEY (account_id, device_id)
        REFERENCES devices (account_id, id) ON DELETE SET NULL (device_id),
    CONSTRAINT provision_runs_account_id_unique UNIQUE (account_id, id),
    CONSTRAINT provision_runs_number_unique UNIQUE (request_id, number),
    CONSTRAINT provision_runs_user_unique UNIQUE (user_id),
    CONSTRAINT provision_runs_wire_known CHECK (wire IN ('json', 'kura')),
    CONSTRAINT provision_runs_state_known CHECK (state IN (
        'CREATED', 'STARTED', 'RUNNING', 'APPS_INSTALLING', 'APPS_INSTALLED', 'CONF_UPDATING', 'CONF_UPDATED',
        'COMPLETED', 'FAILED', 'STOPPING', 'STOPPED', 'SKIPPED', 'ABANDONED'
    )),
    CONSTRAINT provision_runs_ended_has_time CHECK (
        (state IN ('COMPLETED', 'FAILED', 'STOPPED', 'SKIPPED', 'ABANDONED')) = (ended_at IS NOT NULL)
    ),
    CONSTRAINT provision_runs_salt_only_while_live CHECK ((ended_at IS NULL) = (salt IS NOT NULL)),
    CONSTRAINT provision_runs_live_has_user CHECK (ended_at IS NOT NULL OR state = 'STOPPING' OR user_id IS NOT NULL),
    CONSTRAINT provision_runs_salt_length CHECK (octet_length(salt) = 32),
    CONSTRAINT provision_runs_token_is_sha256 CHECK (octet_length(token_sha256) = 32)
);
CREATE UNIQUE INDEX provision_runs_one_live_per_request ON provision_runs (request_id) WHERE ended_at IS NULL;
-- The sweep looks for deadlines that may have passed.
CREATE INDEX provision_runs_by_deadline ON provision_runs (confirm_by) WHERE ended_at IS NULL;
CREATE INDEX provision_runs_by_account ON provision_runs (account_id);
CREATE INDEX provision_runs_by_device ON provision_runs (account_id, device_id);
-- Steps and a later deadline change nothing that a login was decided on.
CREATE TRIGGER provision_runs_version BEFORE UPDATE OF user_id, ended_at ON provision_runs
    FOR EACH ROW EXECUTE FUNCTION next_version();

-- What was sent in a run and is awaited, so that it can be sent again with the same ids.
CREATE TABLE run_steps (
    account_id bigint NOT NULL,
    run_id bigint NOT NULL,
    position bigint NOT NULL,
    kind text NOT NULL,
    request_id text NOT NULL,
    job_id bigint,
    sent_at timestamptz,
    answered_at timestamptz,
    retries bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, position),
    CONSTRAINT run_steps_run FOREIGN KEY (account_id, run_id) REFERENCES provision_runs (account_id, id) ON DELETE CASCADE,
    CONSTRAINT run_steps_kind_known CHECK (kind IN ('application', 'configuration'))
);

-- The moves of requests and runs (core/states.py holds the same tables; a test compares them pair by pair).
CREATE FUNCTION allow_request_move() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER provision_requests_moves BEFORE UPDATE ON provision_requests
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION allow_request_move();

CREATE FUNCTION allow_run_move() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER provision_runs_moves BEFORE UPDATE ON provision_runs
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION allow_run_move();

-- A client id belongs to one account at a time, through its request or its device, unless it was released to another.
-- The refusal does not say who holds it. The lock makes two accounts that ask at once take turns.
CREATE FUNCTION keep_client_id_in_one_account() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('client_id ' || NEW.client_id, 0));
    IF (
        EXISTS (SELECT FROM provision_requests WHERE client_id = NEW.client_id AND account_id <> NEW.account_id)
        OR EXISTS (SELECT FROM devices WHERE client_id = NEW.client_id AND account_id <> NEW.account_id)
    ) AND NOT EXISTS (
        SELECT FROM releases
        WHERE client_id = NEW.client_id AND to_account_id = NEW.account_id AND used_at IS NULL
            AND expires_on > clock_timestamp()
    ) THEN
        RAISE EXCEPTION 'client id is not available'
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'client_id_belongs_to_one_account', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER provision_requests_client_id BEFORE INSERT OR UPDATE OF client_id, account_id ON provision_requests
    FOR EACH ROW EXECUTE FUNCTION keep_client_id_in_one_account();
CREATE TRIGGER devices_client_id BEFORE INSERT OR UPDATE OF client_id, account_id ON devices
    FOR EACH ROW EXECUTE FUNCTION keep_client_id_in_one_account();

-- A request's user is a factory credential, never somebody's own user.
CREATE FUNCTION require_provision_user() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM users WHERE id = NEW.user_id AND kind = 'provision') THEN
        RAISE EXCEPTION 'a provision request refers to a provision user'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'provision_requests_user_is_provision', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER provision_requests_user_kind BEFORE INSERT OR UPDATE OF user_id ON provision_requests
    FOR EACH ROW EXECUTE FUNCTION require_provision_user();

-- For a role that sees one account: whether somebody else has a name already. The answer does not say who.
CREATE FUNCTION names_taken(p_account_id bigint, p_client_id text, p_username text)
    RETURNS TABLE (client_id_taken boolean, username_taken boolean) LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT
        EXISTS (SELECT FROM provision_requests q WHERE q.client_id = p_client_id AND q.account_id = p_account_id)
        OR (
            (
                EXISTS (SELECT FROM provision_requests q WHERE q.client_id = p_client_id AND q.account_id <> p_account_id)
                OR EXISTS (SELECT FROM devices d WHERE d.client_id = p_client_id AND d.account_id <> p_account_id)
            ) AND NOT EXISTS (
                SELECT FROM releases r
                WHERE r.client_id = p_client_id AND r.to_account_id = p_account_id AND r.used_at IS NULL
                    AND r.expires_on > clock_timestamp()
            )
        ),
        EXISTS (
            SELECT FROM users u WHERE lower(u.name COLLATE "C") = lower(p_username COLLATE "C")
                AND (u.account_id IS DISTINCT FROM p_account_id OR u.kind <> 'provision' OR u.name <> p_username)
        )
$$;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0004_provision_requests' $$;
