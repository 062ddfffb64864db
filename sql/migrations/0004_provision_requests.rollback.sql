SET lock_timeout = '5s';
SET statement_timeout = '60s';
DROP TABLE run_steps;
DROP TABLE provision_runs;
DROP TABLE provision_applications;
DROP TRIGGER devices_client_id ON devices;
DROP TABLE provision_requests;
DROP FUNCTION names_taken(bigint, text, text);
DROP FUNCTION require_provision_user();
DROP FUNCTION keep_client_id_in_one_account();
DROP FUNCTION allow_run_move();
DROP FUNCTION allow_request_move();

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0003_devices' $$;
