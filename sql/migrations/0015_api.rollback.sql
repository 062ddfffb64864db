SET lock_timeout = '5s';
SET statement_timeout = '60s';
DROP INDEX provision_requests_by_change;
DROP INDEX provision_requests_by_creation;
CREATE OR REPLACE TRIGGER provision_requests_version
    BEFORE UPDATE OF user_id, activation_key_sha256, provision_endpoint, broker_id, activates_on, expires_on, reserve_user,
    device_connection_coupling, additional_device_configuration, maximum_attempts, attempts, enabled, state
    ON provision_requests FOR EACH ROW EXECUTE FUNCTION next_version();
DROP TABLE idempotency_keys;
REVOKE SELECT, INSERT, DELETE ON api_tokens FROM provisioning_admin;
ALTER TABLE api_tokens DROP CONSTRAINT api_tokens_name_rule;
DROP INDEX api_tokens_name_unique;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0014_presence' $$;
