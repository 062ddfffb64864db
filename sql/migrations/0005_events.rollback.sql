SET lock_timeout = '5s';
SET statement_timeout = '60s';
DROP TABLE api_tokens;
DROP TABLE refusals;
DROP FUNCTION broken_event_number(bytea, bigint);
DROP FUNCTION append_event(bytea, text, bigint, bigint, text, text, text, text, text, jsonb);
DROP FUNCTION event_chain_link(bytea, bytea, bigint, bigint, timestamptz, text, bigint, text, text, text, text, text, jsonb);
DROP TABLE events;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0004_provision_requests' $$;
