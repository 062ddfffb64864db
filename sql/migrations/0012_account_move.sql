-- Account move: a client id is released to another account, and its first login there takes it over.
-- Nothing made releases before this migration, so the table is empty, and checks and indexes on it wait for nobody:
-- squawk-ignore-file constraint-missing-not-valid, require-concurrent-index-deletion, require-concurrent-index-creation
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- Called off; a void one is, when the client id is released anew.
ALTER TABLE releases ADD COLUMN cancelled_at timestamptz;
ALTER TABLE releases ADD CONSTRAINT releases_ends_once CHECK (used_at IS NULL OR cancelled_at IS NULL);
ALTER TABLE releases ADD CONSTRAINT releases_until_after_created CHECK (expires_on > created_at);
DROP INDEX releases_one_open_per_client_id;
CREATE UNIQUE INDEX releases_one_open_per_client_id ON releases (client_id) WHERE used_at IS NULL AND cancelled_at IS NULL;
CREATE INDEX releases_by_client_id ON releases (client_id);

-- Whose a client id is, of the accounts that have a request or a device for it: who took it over last; else who never
-- was offered it; and at the end who gave it away, whose rows are left from before.
CREATE FUNCTION client_id_holder(p_client_id text) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT c.account_id
    FROM (
        SELECT account_id FROM provision_requests WHERE client_id = p_client_id
        UNION SELECT account_id FROM devices WHERE client_id = p_client_id
    ) c
    LEFT JOIN LATERAL (
        SELECT r.used_at, r.to_account_id = c.account_id AS received FROM releases r
        WHERE r.client_id = p_client_id AND r.used_at IS NOT NULL AND c.account_id IN (r.account_id, r.to_account_id)
        ORDER BY r.used_at DESC, r.id DESC LIMIT 1
    ) last ON true
    ORDER BY CASE
            WHEN last.received THEN 0
            WHEN NOT last.received THEN 3
            WHEN EXISTS (
                SELECT FROM releases r
                WHERE r.client_id = p_client_id AND r.to_account_id = c.account_id AND r.used_at IS NULL
            ) THEN 2
            ELSE 1
        END,
        last.used_at DESC, c.account_id
    LIMIT 1
$$;

-- What an account's hold on a client id is judged by (service/core/releases.py), of one moment.
CREATE FUNCTION client_id_claim(p_account_id bigint, p_client_id text) RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_release releases;
BEGIN
    SELECT * INTO v_release FROM releases
    WHERE client_id = p_client_id AND used_at IS NULL AND cancelled_at IS NULL;
    IF NOT FOUND
        AND NOT EXISTS (SELECT FROM provision_requests WHERE client_id = p_client_id AND account_id <> p_account_id)
        AND NOT EXISTS (SELECT FROM devices WHERE client_id = p_client_id AND account_id <> p_account_id)
    THEN
        RETURN '{"held": true, "given_away": false, "release": null}';
    END IF;
    RETURN jsonb_build_object(
        'held', coalesce(client_id_holder(p_client_id) = p_account_id, true),
        'given_away', EXISTS (
            SELECT FROM releases WHERE client_id = p_client_id AND account_id = p_account_id AND used_at IS NOT NULL
        ),
        'release', CASE WHEN v_release.id IS NOT NULL THEN jsonb_build_object(
            'to_own', v_release.to_account_id = p_account_id,
            'expired', clock_timestamp() >= v_release.expires_on,
            'request_state', (
                SELECT state FROM provision_requests
                WHERE client_id = p_client_id AND account_id = v_release.to_account_id
            )
        ) END
    );
END
$$;

-- Whether a login of this account under the client id is somebody else's business. A first login (of a live run) may
-- come by an open release, which it uses up. (plpgsql keeps its plans, and this is asked at each login.)
CREATE FUNCTION client_id_is_anothers(p_account_id bigint, p_client_id text, p_first_login boolean) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM devices WHERE client_id = p_client_id AND account_id <> p_account_id)
        AND NOT EXISTS (SELECT FROM provision_requests WHERE client_id = p_client_id AND account_id <> p_account_id)
        OR client_id_holder(p_client_id) = p_account_id
    THEN
        RETURN false;
    END IF;
    RETURN NOT (p_first_login AND EXISTS (
        SELECT FROM releases
        WHERE client_id = p_client_id AND to_account_id = p_account_id AND used_at IS NULL AND cancelled_at IS NULL
    ));
END
$$;

-- The request that a message of this client id is about: the new account's while a move is on, else the holder's.
CREATE FUNCTION request_of_client_id(p_client_id text) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT q.id
    FROM provision_requests q
    LEFT JOIN releases r ON r.client_id = q.client_id AND r.used_at IS NULL AND r.cancelled_at IS NULL
    WHERE q.client_id = p_client_id
    ORDER BY (
            r.to_account_id = q.account_id AND q.state <> 'PROVISIONED'
            AND (q.state = 'RUNNING' OR clock_timestamp() < r.expires_on)
        ) IS TRUE DESC,
        (q.account_id = client_id_holder(p_client_id)) IS TRUE DESC, q.id DESC
    LIMIT 1
$$;

-- A client id is released by who holds it. (After the row is there, so that other rules speak first.)
CREATE FUNCTION require_holder() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('client_id ' || NEW.client_id, 0));
    IF client_id_holder(NEW.client_id) IS DISTINCT FROM NEW.account_id THEN
        RAISE EXCEPTION 'the client id is not this account''s'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'releases_by_holder', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER releases_holder AFTER INSERT ON releases FOR EACH ROW EXECUTE FUNCTION require_holder();
-- A release that is made anew or called off while the other account has its request changes who may connect.
CREATE TRIGGER releases_change AFTER INSERT OR UPDATE ON releases
    FOR EACH ROW EXECUTE FUNCTION note_change('client', 'client_id');

-- For who releases or cancels: an account's open release, held, with the state of the request it led to.
CREATE FUNCTION lock_release(p_account_id bigint, p_client_id text) RETURNS jsonb LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_release releases;
    v_state text;
BEGIN
    SELECT * INTO v_release FROM releases
    WHERE client_id = p_client_id AND account_id = p_account_id AND used_at IS NULL AND cancelled_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT state INTO v_state FROM provision_requests
    WHERE client_id = p_client_id AND account_id = v_release.to_account_id FOR UPDATE;
    RETURN jsonb_build_object(
        'id', v_release.id, 'expired', clock_timestamp() >= v_release.expires_on, 'request_state', v_state
    );
END
$$;

-- For a role that sees one account: the releases it has part in. Who released is told to the account released from only.
CREATE FUNCTION own_releases(p_client_id text) RETURNS TABLE (
    client_id text, account text, to_account text, created_at timestamptz, expires_on timestamptz, used_at timestamptz,
    cancelled_at timestamptz, created_by text, request_state text, expired boolean
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT r.client_id, f.name, t.name, r.created_at, r.expires_on, r.used_at, r.cancelled_at,
        CASE WHEN r.account_id = own.id THEN r.created_by END, q.state, clock_timestamp() >= r.expires_on
    FROM (SELECT NULLIF(current_setting('app.account_id', true), '')::bigint AS id) own
    JOIN releases r ON own.id IN (r.account_id, r.to_account_id)
    JOIN accounts f ON f.id = r.account_id
    JOIN accounts t ON t.id = r.to_account_id
    LEFT JOIN provision_requests q ON q.client_id = r.client_id AND q.account_id = r.to_account_id
        AND r.used_at IS NULL AND r.cancelled_at IS NULL
    WHERE p_client_id IS NULL OR r.client_id = p_client_id
    ORDER BY r.client_id, r.id
$$;

-- The old account's generated users of a client id: of its request's runs, or of a request that was deleted.
CREATE FUNCTION generated_users_of(p_account_id bigint, p_client_id text) RETURNS bigint[] LANGUAGE sql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce(array_agg(u.id ORDER BY u.id), '{}') FROM users u
    WHERE u.account_id = p_account_id AND u.kind = 'device' AND (
        u.id IN (
            SELECT r.user_id FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id
            WHERE q.account_id = p_account_id AND q.client_id = p_client_id
        ) OR u.id IN (
            SELECT unnest(ARRAY[c.user_id, c.reserved_user_id]) FROM device_connections c
            WHERE c.account_id = p_account_id AND c.client_id = p_client_id
        )
    )
$$;

-- The release that a first login uses up, held with every row of both accounts that the move will change. NULL: none.
CREATE FUNCTION lock_move(p_client_id text, p_account_id bigint, p_user_id bigint) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_release releases;
    v_accounts bigint[];
BEGIN
    SELECT * INTO v_release FROM releases
    WHERE client_id = p_client_id AND to_account_id = p_account_id AND used_at IS NULL AND cancelled_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_accounts := ARRAY[v_release.account_id, p_account_id];
    PERFORM FROM provision_requests WHERE client_id = p_client_id AND account_id = ANY (v_accounts) ORDER BY id FOR UPDATE;
    PERFORM FROM provision_runs r
    WHERE r.ended_at IS NULL AND r.request_id IN (
        SELECT q.id FROM provision_requests q WHERE q.client_id = p_client_id AND q.account_id = ANY (v_accounts)
    ) ORDER BY r.id FOR UPDATE;
    PERFORM FROM users
    WHERE id = ANY (generated_users_of(v_release.account_id, p_client_id) || p_user_id) ORDER BY id FOR UPDATE;
    PERFORM FROM devices WHERE client_id = p_client_id AND account_id = ANY (v_accounts) ORDER BY id FOR UPDATE;
    RETURN v_release.id;
END
$$;

-- The first login in the new account: the release is used up, and in the old account device, generated users and
-- request are disabled. A run that is still under way there is stopped, as an administrator would.
CREATE FUNCTION finish_move(p_event_key bytea, p_release_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_release releases;
    v_request provision_requests;
    v_run provision_runs;
    v_users bigint[];
    v_names jsonb;
BEGIN
    UPDATE releases SET used_at = clock_timestamp() WHERE id = p_release_id RETURNING * INTO v_release;
    SELECT * INTO v_request FROM provision_requests
    WHERE client_id = v_release.client_id AND account_id = v_release.account_id;
    SELECT * INTO v_run FROM provision_runs WHERE request_id = v_request.id AND ended_at IS NULL;
    IF FOUND THEN
        UPDATE provision_runs SET state = 'STOPPING' WHERE id = v_run.id AND state <> 'STOPPING';
        UPDATE provision_runs
        SET state = 'STOPPED', salt = NULL, ended_at = clock_timestamp(), failure = 'released_to_another_account'
        WHERE id = v_run.id;
        DELETE FROM users WHERE id = v_run.user_id;
        UPDATE provision_requests SET state = 'OPEN' WHERE id = v_request.id;
        PERFORM append_event(
            p_event_key, 'run_ended', v_release.account_id, v_request.id, v_release.client_id, 'hooks', 'hooks',
            p_reason => 'released_to_another_account', p_detail => jsonb_build_object(
                'run', v_run.number, 'state', 'STOPPED', 'username', v_run.username, 'attempts', v_request.attempts
            )
        );
    END IF;
    v_users := generated_users_of(v_release.account_id, v_release.client_id);
    UPDATE users SET enabled = false WHERE id = ANY (v_users) AND enabled;
    UPDATE devices SET enabled = false
    WHERE account_id = v_release.account_id AND client_id = v_release.client_id AND enabled;
    UPDATE provision_requests SET enabled = false, modified_at = clock_timestamp(), modified_by = 'hooks'
    WHERE id = v_request.id;
    SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') INTO v_names FROM users WHERE id = ANY (v_users);
    PERFORM append_event(
        p_event_key, 'release_used', v_release.account_id, v_request.id, v_release.client_id, 'hooks', 'hooks',
        p_detail => jsonb_build_object(
            'to', (SELECT name FROM accounts WHERE id = v_release.to_account_id), 'disabled_users', v_names
        )
    );
END
$$;

-- A client id belongs to one account at a time: to its holder, and to the account it is released to for a new request.
-- The refusal does not say who holds it. The lock makes two accounts that ask at once take turns.
CREATE OR REPLACE FUNCTION keep_client_id_in_one_account() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_release releases;
BEGIN
    IF TG_TABLE_NAME = 'provision_requests' THEN
        -- Whoever cancels or uses the release comes before or after. (A device comes with its run, whose request is
        -- held already, and a release is held before its requests: see lock_release and lock_move.)
        PERFORM FROM releases WHERE client_id = NEW.client_id AND used_at IS NULL AND cancelled_at IS NULL FOR SHARE;
    END IF;
    SELECT * INTO v_release FROM releases
    WHERE client_id = NEW.client_id AND used_at IS NULL AND cancelled_at IS NULL;
    PERFORM pg_advisory_xact_lock(hashtextextended('client_id ' || NEW.client_id, 0));
    IF (
        EXISTS (SELECT FROM provision_requests WHERE client_id = NEW.client_id AND account_id <> NEW.account_id)
        OR EXISTS (SELECT FROM devices WHERE client_id = NEW.client_id AND account_id <> NEW.account_id)
    ) AND client_id_holder(NEW.client_id) IS DISTINCT FROM NEW.account_id AND NOT coalesce(
        -- The end date is for requests; the device of a request that was made in time comes with its run.
        v_release.to_account_id = NEW.account_id AND (v_release.expires_on > clock_timestamp() OR EXISTS (
            SELECT FROM provision_requests WHERE client_id = NEW.client_id AND account_id = NEW.account_id
        )), false
    ) THEN
        RAISE EXCEPTION 'client id is not available'
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'client_id_belongs_to_one_account', TABLE = TG_TABLE_NAME;
    END IF;
    IF v_release.to_account_id = NEW.account_id AND TG_TABLE_NAME = 'provision_requests' THEN
        -- The old account's factory credential is good no more from now on.
        INSERT INTO changes (kind, key) VALUES ('client', NEW.client_id);
        PERFORM pg_notify('changes', '');
    END IF;
    RETURN NEW;
END
$$;

-- As in 0004, with holders and cancelled releases.
CREATE OR REPLACE FUNCTION names_taken(p_account_id bigint, p_client_id text, p_username text)
    RETURNS TABLE (client_id_taken boolean, username_taken boolean) LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT
        EXISTS (SELECT FROM provision_requests q WHERE q.client_id = p_client_id AND q.account_id = p_account_id)
        OR (
            (
                EXISTS (SELECT FROM provision_requests q WHERE q.client_id = p_client_id AND q.account_id <> p_account_id)
                OR EXISTS (SELECT FROM devices d WHERE d.client_id = p_client_id AND d.account_id <> p_account_id)
            ) AND client_id_holder(p_client_id) IS DISTINCT FROM p_account_id AND NOT EXISTS (
                SELECT FROM releases r
                WHERE r.client_id = p_client_id AND r.to_account_id = p_account_id AND r.used_at IS NULL
                    AND r.cancelled_at IS NULL AND r.expires_on > clock_timestamp()
            )
        ),
        EXISTS (
            SELECT FROM users u WHERE lower(u.name COLLATE "C") = lower(p_username COLLATE "C")
                AND (u.account_id IS DISTINCT FROM p_account_id OR u.kind <> 'provision' OR u.name <> p_username)
        )
$$;

-- As in 0007, with what a move needs: the request's claim, and whose the client id is meanwhile.
CREATE OR REPLACE FUNCTION hook_facts(p_broker text, p_username text, p_client_id text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT jsonb_build_object(
        'broker_role', b.role,
        'highest_cost', (SELECT max(substr(password_bcrypt, 5, 2))::integer FROM users WHERE kind = 'provision'),
        'user', CASE WHEN u.id IS NOT NULL THEN jsonb_build_object(
            'id', u.id, 'kind', u.kind, 'enabled', u.enabled, 'confirmed', u.confirmed_at IS NOT NULL,
            'password_bcrypt', u.password_bcrypt, 'secret_sha256', encode(u.secret_sha256, 'hex'), 'version', u.version,
            'permissions', (SELECT coalesce(jsonb_agg(permission), '[]') FROM user_permissions p WHERE p.user_id = u.id)
        ) END,
        'account', CASE WHEN a.id IS NOT NULL THEN jsonb_build_object(
            'id', a.id, 'name', a.name, 'enabled', a.enabled, 'coupling', a.device_connection_coupling, 'version', a.version,
            'mandatory_provisioning', a.mandatory_provisioning,
            'served', EXISTS (SELECT FROM broker_accounts s WHERE s.broker_id = b.id AND s.account_id = a.id)
        ) END,
        -- The request that this credential and this client id match (provision brokers).
        'request', CASE WHEN q.id IS NOT NULL THEN jsonb_build_object(
            'id', q.id, 'enabled', q.enabled, 'claim', client_id_claim(q.account_id, p_client_id)
        ) END,
        -- Whether a request of the account was completed for this client id (asked where provisioning is mandatory).
        'provisioned', EXISTS (
            SELECT FROM provision_requests p
            WHERE p.account_id = u.account_id AND p.client_id = p_client_id AND p.state = 'PROVISIONED'
        ),
        -- The live run that generated this user, until its first login.
        'run', CASE WHEN r.id IS NOT NULL THEN jsonb_build_object(
            'id', r.id, 'version', r.version, 'past_deadline', past_deadline(r.confirm_by, r.outage),
            'request_version', rq.version, 'request_enabled', rq.enabled, 'client_id', rq.client_id
        ) END,
        'device', CASE WHEN d.id IS NOT NULL THEN jsonb_build_object(
            'id', d.id, 'enabled', d.enabled, 'version', d.version
        ) END,
        'connection', CASE WHEN c.id IS NOT NULL THEN jsonb_build_object(
            'id', c.id, 'coupling', c.coupling, 'user_id', c.user_id, 'reserved_user_id', c.reserved_user_id,
            'allow_user_change', c.allow_user_change, 'version', c.version
        ) END,
        'reserved_elsewhere', EXISTS (
            SELECT FROM device_connections o
            WHERE o.account_id = u.account_id AND o.reserved_user_id = u.id AND o.client_id <> p_client_id
        ),
        -- Another account's device, or request, while this one neither holds the client id nor logs in for the first
        -- time by a release; or a mere connection of another account, where this one has neither.
        'client_id_of_another_account',
            client_id_is_anothers(u.account_id, p_client_id, r.id IS NOT NULL)
            OR (
                d.id IS NULL AND r.id IS NULL
                AND EXISTS (SELECT FROM device_connections o WHERE o.client_id = p_client_id AND o.account_id <> u.account_id)
            )
    )
    FROM (VALUES (true)) AS one (row)
    LEFT JOIN brokers b ON b.name = p_broker
    LEFT JOIN users u ON lower(u.name COLLATE "C") = lower(p_username COLLATE "C") AND u.name = p_username
    LEFT JOIN accounts a ON a.id = u.account_id
    LEFT JOIN provision_requests q ON b.role = 'provision' AND q.client_id = p_client_id AND q.user_id = u.id
    LEFT JOIN provision_runs r ON r.user_id = u.id AND r.ended_at IS NULL
    LEFT JOIN provision_requests rq ON rq.id = r.request_id
    LEFT JOIN devices d ON d.account_id = u.account_id AND d.client_id = p_client_id
    LEFT JOIN device_connections c ON c.account_id = u.account_id AND c.client_id = p_client_id
$$;

-- As in 0007; a first login by a release takes the client id over, in the same transaction (lock order: release,
-- requests, runs, users, devices, each by id, connection).
CREATE OR REPLACE FUNCTION hook_login(
    p_event_key bytea, p_broker text, p_client_id text, p_account_id bigint, p_account_version bigint, p_user_id bigint, p_user_version bigint,
    p_run_id bigint, p_run_version bigint, p_request_version bigint, p_device_id bigint, p_device_version bigint,
    p_connection_id bigint, p_connection_version bigint
) RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_request_id bigint;
    v_device_id bigint;
    v_broker_id bigint;
    v_release_id bigint;
BEGIN
    IF p_run_id IS NOT NULL THEN
        v_release_id := lock_move(p_client_id, p_account_id, p_user_id);
        SELECT q.id INTO v_request_id
        FROM provision_requests q
        WHERE q.id = (SELECT request_id FROM provision_runs WHERE id = p_run_id)
            AND q.version = p_request_version AND q.state = 'RUNNING' AND q.enabled AND q.client_id = p_client_id
        FOR UPDATE;
        IF NOT FOUND THEN
            RETURN 'changed';
        END IF;
        PERFORM FROM provision_runs r
        WHERE r.id = p_run_id AND r.version = p_run_version AND r.ended_at IS NULL AND r.state <> 'STOPPING'
            AND r.user_id = p_user_id AND r.request_id = v_request_id
        FOR UPDATE;
        -- The deadline is judged after the lock: waiting for it takes time too.
        IF NOT FOUND OR (SELECT past_deadline(confirm_by, outage) FROM provision_runs WHERE id = p_run_id) THEN
            RETURN 'changed';
        END IF;
    END IF;

    PERFORM FROM users u
    WHERE u.id = p_user_id AND u.version = p_user_version AND u.enabled AND u.account_id = p_account_id FOR UPDATE;
    IF NOT FOUND OR NOT EXISTS (
        SELECT FROM accounts a JOIN broker_accounts s ON s.account_id = a.id JOIN brokers b ON b.id = s.broker_id
        WHERE a.id = p_account_id AND a.version = p_account_version AND a.enabled AND b.name = p_broker
    ) THEN
        RETURN 'changed';
    END IF;

    SELECT d.id INTO v_device_id FROM devices d WHERE d.account_id = p_account_id AND d.client_id = p_client_id FOR SHARE;
    IF v_device_id IS DISTINCT FROM p_device_id OR NOT EXISTS (
        SELECT FROM devices d WHERE d.id = v_device_id AND d.version = p_device_version AND d.enabled
        UNION ALL SELECT WHERE v_device_id IS NULL
    ) THEN
        RETURN 'changed';
    END IF;

    SELECT b.id INTO v_broker_id FROM brokers b WHERE b.name = p_broker;
    -- A first login in an account that does not hold the client id uses a release up; a cancelled one is none.
    IF p_run_id IS NOT NULL AND v_release_id IS NULL AND client_id_holder(p_client_id) <> p_account_id THEN
        RETURN 'changed';
    END IF;
    IF p_connection_id IS NULL THEN
        -- One account at a time under a free client id: the same lock as where requests and devices claim one.
        PERFORM pg_advisory_xact_lock(hashtextextended('client_id ' || p_client_id, 0));
        IF (client_id_holder(p_client_id) <> p_account_id AND v_release_id IS NULL)
            OR (p_device_id IS NULL AND EXISTS (
                SELECT FROM device_connections WHERE client_id = p_client_id AND account_id <> p_account_id
            ))
        THEN
            RETURN 'changed';
        END IF;
        INSERT INTO device_connections (account_id, client_id, device_id, user_id, broker_id, status, last_login_at, last_seen_at)
        VALUES (p_account_id, p_client_id, v_device_id, p_user_id, v_broker_id, 'CONNECTED', clock_timestamp(), clock_timestamp())
        ON CONFLICT DO NOTHING;
    ELSE
        UPDATE device_connections c
        SET user_id = p_user_id, allow_user_change = false, device_id = v_device_id, broker_id = v_broker_id,
            status = 'CONNECTED', last_login_at = clock_timestamp(), last_seen_at = clock_timestamp()
        WHERE c.id = p_connection_id AND c.version = p_connection_version;
    END IF;
    IF NOT FOUND THEN
        -- Nothing may remain of a login that is not allowed after all: the moves below come last.
        RETURN 'changed';
    END IF;

    IF p_run_id IS NOT NULL THEN
        UPDATE provision_runs SET state = 'COMPLETED', salt = NULL, ended_at = clock_timestamp() WHERE id = p_run_id;
        UPDATE provision_requests SET state = 'PROVISIONED', modified_at = clock_timestamp(), modified_by = 'hooks'
        WHERE id = v_request_id;
        UPDATE users SET confirmed_at = clock_timestamp() WHERE id = p_user_id;
        PERFORM append_event(
            p_event_key, 'confirmed', p_account_id, v_request_id, p_client_id, 'device', 'hooks',
            p_detail => jsonb_build_object(
                'run', (SELECT number FROM provision_runs WHERE id = p_run_id), 'broker', p_broker
            )
        );
    END IF;
    IF v_release_id IS NOT NULL THEN
        PERFORM finish_move(p_event_key, v_release_id);
    END IF;
    RETURN 'moved';
END
$$;

-- A move uses a release up, and deletes the generated user of a run that it stops: no other user.
GRANT UPDATE ON releases TO provisioning_functions;
GRANT DELETE ON users TO provisioning_functions;
CREATE POLICY generated_users_deleted_only ON users AS RESTRICTIVE FOR DELETE TO provisioning_functions
    USING (kind = 'device');

REVOKE EXECUTE ON FUNCTION
    client_id_holder(text), client_id_claim(bigint, text), client_id_is_anothers(bigint, text, boolean),
    request_of_client_id(text), require_holder(), lock_release(bigint, text), own_releases(text), generated_users_of(bigint, text), lock_move(text, bigint, bigint),
    finish_move(bytea, bigint)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION client_id_claim(bigint, text), request_of_client_id(text) TO provisioning_responder;
GRANT EXECUTE ON FUNCTION lock_release(bigint, text) TO provisioning_admin, provisioning_platform;
GRANT EXECUTE ON FUNCTION client_id_claim(bigint, text), own_releases(text) TO provisioning_admin;
GRANT EXECUTE ON FUNCTION client_id_holder(text) TO provisioning_platform;

GRANT CREATE ON SCHEMA public TO provisioning_functions;
ALTER FUNCTION client_id_holder(text) OWNER TO provisioning_functions;
ALTER FUNCTION client_id_claim(bigint, text) OWNER TO provisioning_functions;
ALTER FUNCTION client_id_is_anothers(bigint, text, boolean) OWNER TO provisioning_functions;
ALTER FUNCTION request_of_client_id(text) OWNER TO provisioning_functions;
ALTER FUNCTION require_holder() OWNER TO provisioning_functions;
ALTER FUNCTION lock_release(bigint, text) OWNER TO provisioning_functions;
ALTER FUNCTION own_releases(text) OWNER TO provisioning_functions;
ALTER FUNCTION generated_users_of(bigint, text) OWNER TO provisioning_functions;
ALTER FUNCTION lock_move(text, bigint, bigint) OWNER TO provisioning_functions;
ALTER FUNCTION finish_move(bytea, bigint) OWNER TO provisioning_functions;
REVOKE CREATE ON SCHEMA public FROM provisioning_functions;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0012_account_move' $$;
