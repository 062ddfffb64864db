SET lock_timeout = '5s';
SET statement_timeout = '60s';
DROP TABLE user_permissions;
DROP FUNCTION permission_changes_user();
DROP TABLE users;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0001_accounts_and_brokers' $$;
