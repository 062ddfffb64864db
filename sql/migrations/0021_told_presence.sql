-- Presence that brokers' plugins tell, and takeovers that end no session of whoever may be there.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- When the last connection ended, as its broker told; NULL while there is one, and where nobody told.
ALTER TABLE device_connections ADD COLUMN ended_at timestamptz;

-- As in 0014, with the ends that brokers tell: core/lifecycle.py has the rule (`decide_login`).
CREATE OR REPLACE FUNCTION note_login() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_unexplained CONSTANT boolean := coalesce(OLD.ended_at = OLD.status_at, false);
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
    IF OLD.ended_at >= NEW.last_login_at AND (OLD.broker_id IS NULL OR OLD.broker_id IS NOT DISTINCT FROM NEW.broker_id) THEN
        -- Its end was told first. (What another broker told was of an older connection.)
        RETURN NEW;
    END IF;
    NEW.ends_owed := CASE
        WHEN OLD.status = 'CONNECTED' AND OLD.born_at >= OLD.last_login_at OR v_unexplained AND OLD.born_at IS NOT NULL THEN 1
        ELSE 0 END;
    NEW.ended_at := NULL;
    IF OLD.status IS DISTINCT FROM 'CONNECTED' THEN
        NEW.status := 'CONNECTED';
        NEW.status_at := NEW.last_login_at;
    END IF;
    RETURN NEW;
END
$$;

-- A broker began `p_age` seconds ago: who was connected there before is not. Some thousand rows at a time; returns how
-- many there were, until none is left. The same as an end each (`decide_end`), without an event.
CREATE FUNCTION hook_note_broker_began(p_broker text, p_age double precision) RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '500ms' AS $$
    WITH began AS (
        SELECT b.id AS broker_id, clock_timestamp() - p_age * interval '1 second' AS at
        FROM brokers b WHERE b.name = p_broker AND b.role = 'account'
    ), gone AS (
        SELECT c.id, began.at FROM began JOIN device_connections c USING (broker_id)
        WHERE c.status = 'CONNECTED' AND c.last_login_at <= began.at
        ORDER BY c.id LIMIT 2000 FOR UPDATE OF c
    ), ended AS (
        UPDATE device_connections c
        SET status = CASE WHEN c.born_at IS NULL THEN 'DISCONNECTED' ELSE 'MISSING' END, status_at = gone.at, ended_at = gone.at
        FROM gone WHERE c.id = gone.id
        RETURNING c.id
    )
    SELECT count(*) FROM ended
$$;

-- What a broker tells of its clients: [[client id, whether connected, seconds since then, whether an event is due], ...].
-- core/lifecycle.py has the rule (`decide_end`, `decide_connected`), a test compares the two. Of a client id whose last
-- login was at another broker nothing is changed.
CREATE FUNCTION hook_note_connections(p_event_key bytea, p_broker text, p_clients jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    v_broker_id CONSTANT bigint := (SELECT id FROM brokers WHERE name = p_broker AND role = 'account');
    v_now CONSTANT timestamptz := clock_timestamp();
    v_told record;
    v_row device_connections;
    v_unexplained boolean;
    v_status text;
BEGIN
    FOR v_told IN
        -- In one order for everybody, so that nobody waits in a circle; most of what is told is known already.
        SELECT f.id, f.connected, f.at, f.event_due FROM (
            SELECT DISTINCT ON (c.client_id) c.id, c.status, (s.value ->> 1)::boolean AS connected,
                v_now - (s.value ->> 2)::double precision * interval '1 second' AS at, (s.value ->> 3)::boolean AS event_due
            FROM jsonb_array_elements(p_clients) AS s (value)
            JOIN device_connections c ON c.client_id = s.value ->> 0 AND c.broker_id = v_broker_id
            ORDER BY c.client_id, c.last_login_at DESC NULLS LAST
        ) f
        WHERE NOT (f.connected AND f.status IS NOT DISTINCT FROM 'CONNECTED')
        ORDER BY f.id
    LOOP
        SELECT * INTO v_row FROM device_connections WHERE id = v_told.id AND broker_id = v_broker_id FOR UPDATE;
        CONTINUE WHEN NOT FOUND OR v_row.last_login_at IS NULL;
        v_unexplained := coalesce(v_row.ended_at = v_row.status_at, false);
        v_status := v_row.status;
        IF v_told.connected THEN
            CONTINUE WHEN v_status = 'CONNECTED' OR NOT v_unexplained AND v_row.status_at >= v_told.at;
            v_status := 'CONNECTED';
            UPDATE device_connections SET status = v_status, status_at = v_told.at, ended_at = NULL WHERE id = v_row.id;
        ELSE
            CONTINUE WHEN v_row.last_login_at > v_told.at;
            IF v_status = 'CONNECTED' THEN
                v_status := CASE WHEN v_row.born_at IS NULL THEN 'DISCONNECTED' ELSE 'MISSING' END;
                v_unexplained := true;
            END IF;
            UPDATE device_connections
            SET status = v_status, status_at = CASE WHEN v_unexplained THEN v_told.at ELSE status_at END, ended_at = v_told.at
            WHERE id = v_row.id;
        END IF;
        IF v_told.event_due AND v_status IS DISTINCT FROM v_row.status THEN
            PERFORM append_event(
                p_event_key, 'device_' || lower(v_status), v_row.account_id, NULL, v_row.client_id, 'device', 'hooks',
                p_detail => jsonb_build_object('broker', p_broker)
            );
        END IF;
    END LOOP;
END
$$;

-- What a takeover is for: at which broker, and whose session it ends (NULL: of a client id that nobody may have there).
ALTER TABLE one_time_passwords ADD COLUMN broker text;
ALTER TABLE one_time_passwords ADD COLUMN username text;

-- A takeover's password is used up, and tells whose session it ends: {"username": its or null, "replaced": whether
-- somebody else logged in at about the same time or later, "facts": of that user there, or null}. NULL: it is not good. (Logins are counted in batches, each
-- with the time of its batch.)
CREATE FUNCTION hook_redeem_takeover(p_secret_sha256 bytea, p_client_id text, p_broker text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_username text;
BEGIN
    DELETE FROM one_time_passwords
    WHERE secret_sha256 = p_secret_sha256 AND client_id = p_client_id AND (broker IS NULL OR broker = p_broker)
        AND expires_at > clock_timestamp()
    RETURNING username INTO v_username;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_build_object('username', v_username, 'facts', CASE WHEN v_username IS NOT NULL THEN
        hook_facts(p_broker, v_username, p_client_id)
            || jsonb_build_object('as_of', pg_snapshot_xmin(pg_current_snapshot())::text)
    END, 'replaced', (
        WITH known AS (
            SELECT g.username, g.last_at AS at FROM logins g WHERE g.broker = p_broker AND g.client_id = p_client_id
            UNION ALL
            SELECT u.name, c.last_login_at FROM device_connections c
            JOIN users u ON u.id = c.user_id JOIN brokers b ON b.id = c.broker_id
            WHERE c.client_id = p_client_id AND b.name = p_broker AND c.last_login_at IS NOT NULL
        )
        SELECT EXISTS (
            SELECT FROM known WHERE username IS DISTINCT FROM v_username AND at >= coalesce(
                (SELECT max(own.at) FROM known own WHERE own.username = v_username) - interval '1.5 seconds', '-infinity'
            )
        )
    ));
END
$$;

REVOKE EXECUTE ON FUNCTION hook_note_broker_began(text, double precision), hook_note_connections(bytea, text, jsonb),
    hook_redeem_takeover(bytea, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hook_note_broker_began(text, double precision), hook_note_connections(bytea, text, jsonb),
    hook_redeem_takeover(bytea, text, text) TO provisioning_hooks;
GRANT CREATE ON SCHEMA public TO provisioning_functions;
ALTER FUNCTION hook_note_broker_began(text, double precision) OWNER TO provisioning_functions;
ALTER FUNCTION hook_note_connections(bytea, text, jsonb) OWNER TO provisioning_functions;
ALTER FUNCTION hook_redeem_takeover(bytea, text, text) OWNER TO provisioning_functions;
REVOKE CREATE ON SCHEMA public FROM provisioning_functions;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0021_told_presence' $$;
