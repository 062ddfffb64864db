-- A month's partition waits for its locks one after the other again.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- A partition for each month that events_default holds, for this month and the two after it; returns their names.
-- As the migrator, whose tables they are. Rows are moved, so each month takes its lock only as long as that needs.
CREATE OR REPLACE FUNCTION make_event_partitions() RETURNS text [] LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    v_month timestamptz;
    v_name text;
    v_made text [] := '{}';
BEGIN
    FOR v_month IN
        SELECT date_trunc('month', at) FROM events_default
        UNION SELECT date_trunc('month', now()) + make_interval(months => ahead) FROM generate_series(0, 2) ahead
        ORDER BY 1
    LOOP
        v_name := 'events_' || to_char(v_month, 'YYYY_MM');
        CONTINUE WHEN to_regclass('public.' || v_name) IS NOT NULL;
        -- While nobody appends: who had chosen the default partition for its event would find it refused there. Tried
        -- and not waited for, so that nobody who holds the lock waits for somebody who waits behind this.
        FOR v_try IN 1..100 LOOP
            EXIT WHEN pg_try_advisory_xact_lock(hashtextextended('event partitions', 0));
            IF v_try = 100 THEN
                RETURN v_made;
            END IF;
            PERFORM pg_sleep(0.02);
        END LOOP;
        CONTINUE WHEN to_regclass('public.' || v_name) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_name);
        EXECUTE format('CREATE POLICY every_account ON %I TO provisioning_migrator USING (true) WITH CHECK (true)', v_name);
        LOCK TABLE events_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format(
            'WITH moved AS (DELETE FROM events_default WHERE at >= %L AND at < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
            v_month, v_month + interval '1 month', v_name);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I UNIQUE (request_id, number)', v_name, v_name || '_number_unique');
        EXECUTE format(
            'CREATE UNIQUE INDEX %I ON %I (coalesce(account_id, 0), number) WHERE request_id IS NULL AND number IS NOT NULL',
            v_name || '_account_number_unique', v_name);
        EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            v_name, v_month, v_month + interval '1 month');
        v_made := v_made || v_name;
    END LOOP;
    RETURN v_made;
END
$$;

ALTER FUNCTION drop_event_partitions(bytea, timestamptz) SET lock_timeout = '5s';

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0024_recovery' $$;
