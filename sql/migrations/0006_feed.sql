-- What running services tell each other: changes to follow, signs of life, one-time passwords.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- One row for each thing whose grants may differ now. Readers ask for `xid >= last` and take the next `last` from
-- pg_snapshot_xmin of the same statement, so a transaction that commits late is not missed (plugin.md, measured).
CREATE TABLE changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- 'user': a username; 'client': a client id; 'account': an account's id; 'broker': a broker's name
    kind text NOT NULL,
    key text NOT NULL,
    CONSTRAINT changes_kind_known CHECK (kind IN ('user', 'client', 'account', 'broker'))
);
CREATE INDEX changes_by_xid ON changes (xid);
CREATE INDEX changes_by_at ON changes (at);

-- The highest xid whose changes were pruned: a reader that is not past it must forget all it knows.
CREATE TABLE changes_pruned (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    xid xid8 NOT NULL DEFAULT '0'
);
INSERT INTO changes_pruned DEFAULT VALUES;

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_row CONSTANT jsonb := CASE WHEN TG_OP = 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
BEGIN
    -- TG_ARGV: the kind of the change and the column that names what changed.
    INSERT INTO changes (kind, key) VALUES (TG_ARGV[0], v_row ->> TG_ARGV[1]);
    PERFORM pg_notify('changes', '');
    RETURN NULL;
END
$$;

-- A new row needs no change: nothing is remembered of what did not exist. (A user's new permission bumps its version.)
CREATE TRIGGER accounts_change AFTER UPDATE OF enabled, device_connection_coupling OR DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION note_change('account', 'id');
CREATE TRIGGER brokers_change AFTER INSERT OR UPDATE OF role, secret_sha256, previous_secret_sha256, endpoints OR DELETE ON brokers
    FOR EACH ROW EXECUTE FUNCTION note_change('broker', 'name');
CREATE TRIGGER broker_accounts_change AFTER DELETE ON broker_accounts
    FOR EACH ROW EXECUTE FUNCTION note_change('account', 'account_id');
CREATE TRIGGER users_change AFTER UPDATE OF password_bcrypt, secret_sha256, enabled, version OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION note_change('user', 'name');
CREATE TRIGGER provision_requests_change AFTER UPDATE OF enabled, user_id OR DELETE ON provision_requests
    FOR EACH ROW EXECUTE FUNCTION note_change('client', 'client_id');
CREATE TRIGGER devices_change AFTER UPDATE OF enabled OR DELETE ON devices
    FOR EACH ROW EXECUTE FUNCTION note_change('client', 'client_id');
CREATE TRIGGER device_connections_deleted AFTER DELETE ON device_connections
    FOR EACH ROW EXECUTE FUNCTION note_change('client', 'client_id');
-- A login that finds its connection as it should be writes the same values again: nobody needs to hear of that.
CREATE TRIGGER device_connections_change AFTER UPDATE ON device_connections
    FOR EACH ROW WHEN (
        (OLD.coupling, OLD.user_id, OLD.reserved_user_id) IS DISTINCT FROM (NEW.coupling, NEW.user_id, NEW.reserved_user_id)
    ) EXECUTE FUNCTION note_change('client', 'client_id');

-- Signs of life of the hooks. A deadline runs only while somebody could have logged in: time without hooks is added
-- up in `outage` and does not count. After a restore nothing counts until an operator says so (`held_since`):
-- a restored cluster shows by its timeline or its system identifier.
CREATE TABLE heartbeats (
    process text PRIMARY KEY,
    at timestamptz NOT NULL,
    outage interval NOT NULL DEFAULT '0',
    held_since timestamptz,
    cluster text NOT NULL DEFAULT '',
    CONSTRAINT heartbeats_process_known CHECK (process = 'hooks')
);
INSERT INTO heartbeats (process, at) VALUES ('hooks', 'epoch');

-- Which cluster, and which of its histories, this is.
CREATE FUNCTION cluster_name() RETURNS text LANGUAGE sql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || (SELECT timeline_id FROM pg_control_checkpoint())
$$;

-- Time without hooks so far. Silence of less than ten seconds is none: hooks beat every two.
CREATE FUNCTION outage() RETURNS interval LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT outage + CASE
        WHEN held_since IS NOT NULL THEN clock_timestamp() - held_since
        WHEN cluster NOT IN ('', cluster_name()) OR clock_timestamp() - at > interval '10 seconds' THEN clock_timestamp() - at
        ELSE interval '0'
    END
    FROM heartbeats WHERE process = 'hooks'
$$;

-- When a deadline passes, as things stand: what was set, and the time without hooks since.
CREATE FUNCTION effective_deadline(p_confirm_by timestamptz, p_outage interval) RETURNS timestamptz LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT p_confirm_by + greatest(outage() - p_outage, interval '0')
$$;

CREATE FUNCTION past_deadline(p_confirm_by timestamptz, p_outage interval) RETURNS boolean LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT clock_timestamp() >= effective_deadline(p_confirm_by, p_outage)
$$;

-- A takeover logs in as ~takeover under one client id, with a password minted for it that is good once, for 5 seconds.
CREATE TABLE one_time_passwords (
    secret_sha256 bytea PRIMARY KEY,
    client_id text NOT NULL,
    expires_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '5 seconds',
    CONSTRAINT one_time_passwords_is_sha256 CHECK (octet_length(secret_sha256) = 32)
);
CREATE INDEX one_time_passwords_by_expiry ON one_time_passwords (expires_at);

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0006_feed' $$;
