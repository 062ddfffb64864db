-- Runs on Kura's wire: how far each step is, the key that their configuration is made with, and the start on birth.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- A stock Kura sends no PROV: its BIRTH asks. Nothing in a BIRTH can carry an activation key.
ALTER TABLE provision_requests ADD COLUMN start_on_birth boolean NOT NULL DEFAULT false;
-- (Every row that is there satisfies these constraints, and the tables are small: one step is enough.)
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE provision_requests ADD CONSTRAINT provision_requests_birth_has_no_key
    CHECK (NOT (start_on_birth AND activation_key_sha256 IS NOT NULL));

-- The activation key that was asked with, sealed: the generated password derives from it, and is sent after the
-- downloads. Whoever ends a run, the key goes with it.
ALTER TABLE provision_runs ADD COLUMN sealed_key text;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE provision_runs ADD CONSTRAINT provision_runs_key_only_while_live
    CHECK (ended_at IS NULL OR sealed_key IS NULL);
CREATE FUNCTION forget_sealed_key() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.sealed_key := NULL;
    RETURN NEW;
END
$$;
REVOKE EXECUTE ON FUNCTION forget_sealed_key() FROM PUBLIC;
CREATE TRIGGER provision_runs_forget_key BEFORE UPDATE ON provision_runs
    FOR EACH ROW WHEN (NEW.ended_at IS NOT NULL) EXECUTE FUNCTION forget_sealed_key();

ALTER TABLE run_steps ADD COLUMN state text NOT NULL DEFAULT 'WAITING';
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE run_steps ADD CONSTRAINT run_steps_state_known
    CHECK (state IN ('WAITING', 'SENT', 'ACCEPTED', 'DONE'));
-- Kura reads a job's id as a long; only applications have one.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE run_steps ADD CONSTRAINT run_steps_job_rule
    CHECK (job_id IS NULL OR (job_id > 0 AND kind = 'application'));

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0010_kura_runs' $$;
