SET lock_timeout = '5s';
SET statement_timeout = '60s';

ALTER TABLE brokers DROP COLUMN ca;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0010_kura_runs' $$;
