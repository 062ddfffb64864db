SET lock_timeout = '5s';
SET statement_timeout = '60s';
DROP TABLE releases;
DROP TABLE device_connections;
DROP TABLE devices;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0002_users' $$;
