SET lock_timeout = '5s';
SET statement_timeout = '60s';
DROP FUNCTION account_id_of(text);
DROP FUNCTION refuse_provision_account();
DROP TABLE broker_accounts;
DROP TABLE brokers;
DROP TABLE accounts;
DROP FUNCTION next_version();
REVOKE USAGE ON SCHEMA public FROM provisioning_functions;
DROP EXTENSION pgcrypto;

DROP FUNCTION schema_level();
