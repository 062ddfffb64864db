-- Presence of devices on the account brokers: BIRTH, DC and LWT beside the logins.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

ALTER TABLE device_connections ADD COLUMN status_at timestamptz;
ALTER TABLE device_connections ADD COLUMN born_at timestamptz;
-- 1: the connection before this one has not ended yet, the next end is its; -1: an end came ahead of its login.
ALTER TABLE device_connections ADD COLUMN ends_owed bigint NOT NULL DEFAULT 0;
-- (The column is new: every row satisfies it.)
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE device_connections ADD CONSTRAINT device_connections_ends_owed_rule CHECK (ends_owed IN (-1, 0, 1));

-- What a device said of itself last, metric by metric.
ALTER TABLE devices ADD COLUMN birth jsonb;
ALTER TABLE devices ADD COLUMN birth_at timestamptz;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE devices ADD CONSTRAINT devices_birth_bounded
    CHECK (jsonb_typeof(birth) = 'object' AND octet_length(birth::text) <= 131072);

-- What a login does to the status: core/lifecycle.py has the rule (`decide_login`), a test compares the two.
CREATE FUNCTION note_login() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.status := OLD.status;
    IF OLD.last_login_at >= NEW.last_login_at OR (
        OLD.born_at >= NEW.last_login_at - interval '0.5 seconds'
        AND (OLD.status = 'CONNECTED' OR OLD.status_at >= NEW.last_login_at)
    ) THEN
        -- Heard of already, by a newer login or by the BIRTH that followed this one.
        NEW.last_login_at := greatest(OLD.last_login_at, NEW.last_login_at);
        RETURN NEW;
    END IF;
    IF OLD.ends_owed = -1 AND OLD.status_at >= NEW.last_login_at THEN
        NEW.ends_owed := 0;
        RETURN NEW;
    END IF;
    NEW.ends_owed := CASE WHEN OLD.status = 'CONNECTED' AND OLD.born_at >= OLD.last_login_at THEN 1 ELSE 0 END;
    IF OLD.status IS DISTINCT FROM 'CONNECTED' THEN
        NEW.status := 'CONNECTED';
        NEW.status_at := NEW.last_login_at;
    END IF;
    RETURN NEW;
END
$$;
REVOKE EXECUTE ON FUNCTION note_login() FROM PUBLIC;
CREATE TRIGGER device_connections_login BEFORE UPDATE OF last_login_at ON device_connections
    FOR EACH ROW WHEN (NEW.last_login_at IS NOT NULL) EXECUTE FUNCTION note_login();
CREATE FUNCTION note_first_login() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.status_at := NEW.last_login_at;
    RETURN NEW;
END
$$;
REVOKE EXECUTE ON FUNCTION note_first_login() FROM PUBLIC;
CREATE TRIGGER device_connections_first_login BEFORE INSERT ON device_connections
    FOR EACH ROW EXECUTE FUNCTION note_first_login();

-- As in 0007, with the age of each login in seconds: what came between it and this is told apart by its time.
CREATE OR REPLACE FUNCTION hook_note_seen(p_seen jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    UPDATE device_connections c
    SET last_seen_at = clock_timestamp(),
        last_login_at = CASE WHEN b.id IS NULL THEN c.last_login_at
            ELSE clock_timestamp() - coalesce((s ->> 3)::double precision, 0) * interval '1 second' END,
        broker_id = coalesce(b.id, c.broker_id)
    FROM jsonb_array_elements(p_seen) AS s LEFT JOIN brokers b ON b.name = s ->> 2
    WHERE c.account_id = (s ->> 0)::bigint AND c.client_id = s ->> 1
        AND (b.id IS NOT NULL OR c.last_seen_at IS NULL OR c.last_seen_at < clock_timestamp() - interval '1 minute')
$$;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0014_presence' $$;
