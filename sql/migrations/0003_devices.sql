-- The registry: devices, their connections, and a client id's way from one account to another.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

CREATE TABLE devices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts (id),
    client_id text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    display_name text,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT devices_client_id_rule CHECK (client_id ~ '^[A-Za-z0-9_.:-]{1,255}$' AND client_id !~ '::'),
    CONSTRAINT devices_client_id_unique UNIQUE (account_id, client_id),
    CONSTRAINT devices_account_id_unique UNIQUE (account_id, id)
);
CREATE INDEX devices_by_client_id ON devices (client_id);
CREATE TRIGGER devices_version BEFORE UPDATE OF client_id, enabled ON devices
    FOR EACH ROW EXECUTE FUNCTION next_version();
CREATE TRIGGER devices_account BEFORE INSERT OR UPDATE OF account_id ON devices
    FOR EACH ROW EXECUTE FUNCTION refuse_provision_account();

-- One row for each client id that has logged in at an account broker, or is expected to.
CREATE TABLE device_connections (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts (id),
    client_id text NOT NULL,
    -- Empty where a person connected, or until the device is known.
    device_id bigint,
    -- INHERITED takes the account's mode. STRICT binds the connection to its user; LOOSE lets any user of the
    -- account in, unless the connection has a reserved user.
    coupling text NOT NULL DEFAULT 'INHERITED',
    -- The last user, and the only one who may come if there is a reserved one.
    user_id bigint,
    reserved_user_id bigint,
    -- One-shot: a STRICT connection takes a new user once; each login clears it.
    allow_user_change boolean NOT NULL DEFAULT false,
    -- Empty: never logged in.
    status text,
    broker_id bigint REFERENCES brokers (id) ON DELETE SET NULL,
    last_login_at timestamptz,
    last_seen_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT device_connections_client_id_rule CHECK (client_id ~ '^[A-Za-z0-9_.:-]{1,255}$' AND client_id !~ '::'),
    CONSTRAINT device_connections_coupling_known CHECK (coupling IN ('INHERITED', 'LOOSE', 'STRICT')),
    CONSTRAINT device_connections_status_known CHECK (status IN ('CONNECTED', 'DISCONNECTED', 'MISSING')),
    CONSTRAINT device_connections_client_id_unique UNIQUE (account_id, client_id),
    -- The rule that makes a reservation hold when two devices log in at once.
    CONSTRAINT device_connections_reserved_user_unique UNIQUE (account_id, reserved_user_id),
    CONSTRAINT device_connections_device FOREIGN KEY (account_id, device_id)
        REFERENCES devices (account_id, id) ON DELETE SET NULL (device_id),
    CONSTRAINT device_connections_user FOREIGN KEY (account_id, user_id)
        REFERENCES users (account_id, id) ON DELETE SET NULL (user_id),
    CONSTRAINT device_connections_reserved_user FOREIGN KEY (account_id, reserved_user_id)
        REFERENCES users (account_id, id) ON DELETE SET NULL (reserved_user_id)
);
CREATE INDEX device_connections_by_client_id ON device_connections (client_id);
CREATE INDEX device_connections_by_device ON device_connections (account_id, device_id);
CREATE INDEX device_connections_by_user ON device_connections (account_id, user_id);
CREATE INDEX device_connections_by_broker ON device_connections (broker_id);
CREATE TRIGGER device_connections_version
    BEFORE UPDATE OF client_id, device_id, coupling, user_id, reserved_user_id, allow_user_change ON device_connections
    FOR EACH ROW EXECUTE FUNCTION next_version();
CREATE TRIGGER device_connections_account BEFORE INSERT OR UPDATE OF account_id ON device_connections
    FOR EACH ROW EXECUTE FUNCTION refuse_provision_account();

-- An account lets a client id go to another one. Until the first login there, the old device works on.
CREATE TABLE releases (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_id text NOT NULL,
    account_id bigint NOT NULL REFERENCES accounts (id),
    to_account_id bigint NOT NULL REFERENCES accounts (id),
    expires_on timestamptz NOT NULL,
    used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    CONSTRAINT releases_to_another_account CHECK (account_id <> to_account_id)
);
CREATE UNIQUE INDEX releases_one_open_per_client_id ON releases (client_id) WHERE used_at IS NULL;
CREATE INDEX releases_by_account ON releases (account_id);
CREATE INDEX releases_by_to_account ON releases (to_account_id);

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0003_devices' $$;
