-- A run on Kura's wire that is under way cannot go on without these: stop it first.
SET lock_timeout = '5s';

ALTER TABLE run_steps DROP CONSTRAINT run_steps_job_rule;
ALTER TABLE run_steps DROP CONSTRAINT run_steps_state_known;
ALTER TABLE run_steps DROP COLUMN state;
DROP TRIGGER provision_runs_forget_key ON provision_runs;
DROP FUNCTION forget_sealed_key();
ALTER TABLE provision_runs DROP CONSTRAINT provision_runs_key_only_while_live;
ALTER TABLE provision_runs DROP COLUMN sealed_key;
ALTER TABLE provision_requests DROP CONSTRAINT provision_requests_birth_has_no_key;
ALTER TABLE provision_requests DROP COLUMN start_on_birth;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0009_registry' $$;
