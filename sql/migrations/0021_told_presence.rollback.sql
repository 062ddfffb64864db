SET lock_timeout = '5s';
SET statement_timeout = '60s';
DROP FUNCTION hook_redeem_takeover(bytea, text, text);
DROP FUNCTION hook_note_connections(bytea, text, jsonb);
DROP FUNCTION hook_note_broker_began(text, double precision);
ALTER TABLE one_time_passwords DROP COLUMN username, DROP COLUMN broker;
CREATE OR REPLACE FUNCTION note_login() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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
ALTER TABLE device_connections DROP COLUMN ended_at;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0020_round_trips' $$;
