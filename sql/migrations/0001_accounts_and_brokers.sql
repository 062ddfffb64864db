-- Accounts, the brokers that serve them, and the two helpers every later table uses.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

CREATE EXTENSION IF NOT EXISTS pgcrypto;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
-- A function's owner must be able to create in its schema when it is given the function, and only then.
GRANT USAGE ON SCHEMA public TO provisioning_functions;

-- A row's version counts the changes of what decisions are made from. A login hands back the versions it was
-- decided on, and is refused if one of them moved on.
CREATE FUNCTION next_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END
$$;

CREATE TABLE accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    -- 'account': a tenant. 'provision': the one row that provision users are shown under; it owns nothing.
    kind text NOT NULL DEFAULT 'account',
    enabled boolean NOT NULL DEFAULT true,
    -- What INHERITED means for this account's device connections.
    device_connection_coupling text NOT NULL DEFAULT 'STRICT',
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT accounts_name_rule CHECK (name ~ '^[A-Za-z0-9_-]{3,255}$'),
    CONSTRAINT accounts_kind_known CHECK (kind IN ('account', 'provision')),
    CONSTRAINT accounts_coupling_known CHECK (device_connection_coupling IN ('LOOSE', 'STRICT'))
);
-- COLLATE "C": lower('I') is not 'i' in every locale, and the names are ASCII.
CREATE UNIQUE INDEX accounts_name_unique ON accounts (lower(name COLLATE "C"));
CREATE UNIQUE INDEX accounts_one_provision_account ON accounts (kind) WHERE kind = 'provision';

CREATE TRIGGER accounts_version BEFORE UPDATE OF enabled, device_connection_coupling ON accounts
    FOR EACH ROW EXECUTE FUNCTION next_version();

CREATE TABLE brokers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    role text NOT NULL,
    -- What the broker proves itself with at the hooks. While a rotation is open the one before is good as well.
    secret_sha256 bytea NOT NULL,
    previous_secret_sha256 bytea,
    -- The URLs under which devices reach this broker.
    endpoints text[] NOT NULL DEFAULT '{}',
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT brokers_name_rule CHECK (name ~ '^[A-Za-z0-9_-]{3,255}$'),
    CONSTRAINT brokers_role_known CHECK (role IN ('provision', 'account')),
    CONSTRAINT brokers_secret_is_sha256 CHECK (octet_length(secret_sha256) = 32),
    CONSTRAINT brokers_previous_secret_is_sha256 CHECK (octet_length(previous_secret_sha256) = 32),
    CONSTRAINT brokers_id_role_unique UNIQUE (id, role)
);
CREATE UNIQUE INDEX brokers_name_unique ON brokers (lower(name COLLATE "C"));

CREATE TRIGGER brokers_version BEFORE UPDATE OF role, secret_sha256, previous_secret_sha256, endpoints ON brokers
    FOR EACH ROW EXECUTE FUNCTION next_version();

-- The accounts that an account broker serves. Provision brokers serve every account and have no rows here.
CREATE TABLE broker_accounts (
    broker_id bigint NOT NULL,
    broker_role text NOT NULL DEFAULT 'account',
    account_id bigint NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    PRIMARY KEY (broker_id, account_id),
    CONSTRAINT broker_accounts_broker FOREIGN KEY (broker_id, broker_role) REFERENCES brokers (id, role) ON DELETE CASCADE,
    CONSTRAINT broker_accounts_account_brokers_only CHECK (broker_role = 'account')
);
CREATE INDEX broker_accounts_by_account ON broker_accounts (account_id);

-- What an account owns can never be owned by the provision account.
CREATE FUNCTION refuse_provision_account() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM accounts WHERE id = NEW.account_id AND kind = 'provision') THEN
        RAISE EXCEPTION 'the provision account owns nothing'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'owned_by_an_account', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

-- For a role that sees one account: the id to see it under. The provision account is no tenant's.
CREATE FUNCTION account_id_of(p_name text) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT id FROM accounts WHERE lower(name COLLATE "C") = lower(p_name COLLATE "C") AND kind = 'account'
$$;

-- What services compare with the files they were built with before they start.
CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0001_accounts_and_brokers' $$;
