SET lock_timeout = '5s';
SET statement_timeout = '60s';
REVOKE EXECUTE ON FUNCTION hook_facts(text, text, text) FROM provisioning_responder;
DROP FUNCTION hook_feed(text);

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0018_credentials' $$;
