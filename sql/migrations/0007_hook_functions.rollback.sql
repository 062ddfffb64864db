SET lock_timeout = '5s';
SET statement_timeout = '60s';
DROP FUNCTION hook_note_seen(jsonb);
DROP FUNCTION count_refusals(jsonb);
DROP FUNCTION hook_heartbeat();
DROP FUNCTION hook_changes(text);
DROP FUNCTION hook_use_one_time_password(bytea, text);
DROP FUNCTION hook_login;
DROP FUNCTION hook_facts(text, text, text);
DROP FUNCTION hook_brokers();

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0006_feed' $$;
