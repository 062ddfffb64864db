-- A switch that stops issuing, and a journal of who may come in, to be written to a file outside of the database.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- While it is stopped no run begins; runs under way go on.
CREATE TABLE issuing (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    stopped_at timestamptz,
    stopped_by text,
    CONSTRAINT issuing_stopped_by_somebody CHECK ((stopped_at IS NULL) = (stopped_by IS NULL))
);
INSERT INTO issuing DEFAULT VALUES;

-- The responder decides before; this holds between its look and its commit. A serialization failure is tried again,
-- and then refused.
CREATE FUNCTION refuse_while_stopped() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM issuing WHERE stopped_at IS NOT NULL) THEN
        RAISE EXCEPTION 'issuing is stopped'
            USING ERRCODE = 'serialization_failure', CONSTRAINT = 'provision_runs_begin_while_issuing', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER provision_runs_issuing BEFORE INSERT ON provision_runs
    FOR EACH ROW EXECUTE FUNCTION refuse_while_stopped();

-- What was said last of a name here is what a restored database may have forgotten. No secret is in it, nor a hash.
CREATE TABLE access_journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- 'credential': the hold of a factory credential; 'service': an account that a broker serves
    kind text NOT NULL,
    -- A username, client id, account's, token's or broker's name; of a service the broker's
    name text NOT NULL,
    account text,
    state text NOT NULL,
    -- Which of several that had the name after each other, and as of which change
    made timestamptz,
    version bigint,
    -- Of a generated user whose first login was seen: the device
    client_id text,
    CONSTRAINT access_journal_kind_known
        CHECK (kind IN ('account', 'broker', 'service', 'user', 'credential', 'device', 'request', 'token')),
    CONSTRAINT access_journal_state_known CHECK (state IN ('enabled', 'disabled', 'deleted'))
);
CREATE INDEX access_journal_by_xid ON access_journal (xid);
CREATE INDEX access_journal_by_at ON access_journal (at);

CREATE FUNCTION note_access() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
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

CREATE TRIGGER accounts_access AFTER INSERT OR UPDATE OF enabled OR DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION note_access('account', 'name');
CREATE TRIGGER brokers_access AFTER INSERT OR UPDATE OF secret_sha256, previous_secret_sha256 OR DELETE ON brokers
    FOR EACH ROW EXECUTE FUNCTION note_access('broker', 'name');
CREATE TRIGGER broker_accounts_access AFTER INSERT OR DELETE ON broker_accounts
    FOR EACH ROW EXECUTE FUNCTION note_access('service', 'broker_id');
CREATE TRIGGER api_tokens_access AFTER INSERT OR DELETE ON api_tokens
    FOR EACH ROW EXECUTE FUNCTION note_access('token', 'name');
CREATE TRIGGER devices_access AFTER INSERT OR UPDATE OF enabled OR DELETE ON devices
    FOR EACH ROW EXECUTE FUNCTION note_access('device', 'client_id');
CREATE TRIGGER credentials_access AFTER UPDATE OF held_at ON credentials
    FOR EACH ROW WHEN (OLD.held_at IS DISTINCT FROM NEW.held_at) EXECUTE FUNCTION note_access('credential', 'user_id');
CREATE TRIGGER credentials_held AFTER INSERT ON credentials
    FOR EACH ROW WHEN (NEW.held_at IS NOT NULL) EXECUTE FUNCTION note_access('credential', 'user_id');
-- A generated user is of no interest before its first login: until then its device asks again.
CREATE TRIGGER users_made AFTER INSERT ON users
    FOR EACH ROW WHEN (NEW.kind <> 'device') EXECUTE FUNCTION note_access('user', 'name');
CREATE TRIGGER users_access AFTER UPDATE OF enabled, password_bcrypt, secret_sha256, confirmed_at, version OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION note_access('user', 'name');
CREATE TRIGGER provision_requests_access AFTER INSERT OR DELETE ON provision_requests
    FOR EACH ROW EXECUTE FUNCTION note_access('request', 'client_id');
CREATE TRIGGER provision_requests_access_changed AFTER UPDATE OF enabled, activation_key_sha256 ON provision_requests
    FOR EACH ROW WHEN (
        (OLD.enabled, OLD.activation_key_sha256) IS DISTINCT FROM (NEW.enabled, NEW.activation_key_sha256)
    ) EXECUTE FUNCTION note_access('request', 'client_id');

-- Each change once, also one that commits late: what became visible since a position, which is a snapshot of the
-- cluster that it was read in; of another one, or NULL: all. Nothing is told between a restore and its acceptance: what
-- was written before must not be mixed with that.
CREATE FUNCTION read_access_journal(p_cluster text, p_position text) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
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

GRANT SELECT ON issuing TO provisioning_functions, provisioning_responder;
GRANT SELECT, UPDATE ON issuing TO provisioning_platform;
GRANT INSERT, SELECT ON access_journal TO provisioning_functions;
GRANT SELECT, DELETE ON access_journal TO provisioning_responder;

REVOKE EXECUTE ON FUNCTION refuse_while_stopped(), note_access(), read_access_journal(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION read_access_journal(text, text) TO provisioning_responder;
GRANT CREATE ON SCHEMA public TO provisioning_functions;
ALTER FUNCTION refuse_while_stopped() OWNER TO provisioning_functions;
ALTER FUNCTION note_access() OWNER TO provisioning_functions;
ALTER FUNCTION read_access_journal(text, text) OWNER TO provisioning_functions;
REVOKE CREATE ON SCHEMA public FROM provisioning_functions;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0024_recovery' $$;
