-- The administrators' API: tokens by name, and creations that are done once however often they are asked for.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- (The table was never written to: no token could be made.)
-- squawk-ignore require-concurrent-index-creation
CREATE UNIQUE INDEX api_tokens_name_unique ON api_tokens (account_id, name) NULLS NOT DISTINCT;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE api_tokens ADD CONSTRAINT api_tokens_name_rule CHECK (name ~ '^[A-Za-z0-9_-]{3,255}$');
GRANT SELECT, INSERT, DELETE ON api_tokens TO provisioning_admin;

-- Which creation an Idempotency-Key stood for: hashes only, so no secret of a request is kept.
CREATE TABLE idempotency_keys (
    token_id bigint NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    key_sha256 bytea NOT NULL,
    account_id bigint REFERENCES accounts (id) ON DELETE CASCADE,
    request_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (token_id, key_sha256),
    CONSTRAINT idempotency_keys_are_sha256 CHECK (octet_length(key_sha256) = 32 AND octet_length(request_sha256) = 32)
);
CREATE INDEX idempotency_keys_by_account ON idempotency_keys (account_id);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY every_account ON idempotency_keys TO provisioning_migrator, provisioning_platform USING (true) WITH CHECK (true);
CREATE POLICY own_account ON idempotency_keys TO provisioning_admin
    USING (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint)
    WITH CHECK (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint);
GRANT SELECT, INSERT ON idempotency_keys TO provisioning_admin;
GRANT SELECT, INSERT, DELETE ON idempotency_keys TO provisioning_platform;

-- What else an administrator changes of a request counts in its version.
CREATE OR REPLACE TRIGGER provision_requests_version
    BEFORE UPDATE OF user_id, activation_key_sha256, provision_endpoint, broker_id, activates_on, expires_on, reserve_user,
    device_connection_coupling, additional_device_configuration, maximum_attempts, attempts, enabled, state, start_on_birth,
    modified_at
    ON provision_requests FOR EACH ROW EXECUTE FUNCTION next_version();

-- Lists by time, beside those by client id.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX provision_requests_by_creation ON provision_requests (account_id, created_at, id);
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX provision_requests_by_change ON provision_requests (account_id, modified_at, id);

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0015_api' $$;
