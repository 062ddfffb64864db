-- Credentials of provision requests: a password that is rotated with an overlap, a watch for leaks, a hold.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- What there is to a provision user beyond its password; no row: nothing yet.
CREATE TABLE credentials (
    user_id bigint PRIMARY KEY,
    account_id bigint NOT NULL,
    -- Good beside the user's own until then.
    previous_password_bcrypt text,
    overlap_until timestamptz,
    rotated_at timestamptz,
    -- Its CONNECTs are answered "unavailable" until it is lifted.
    held_at timestamptz,
    held_by text,
    -- From how many in two hours a leak is suspected; 0: never, NULL: as core/credentials.py has it.
    most_unknown_client_ids bigint,
    most_wrong_keys bigint,
    most_addresses bigint,
    hold_on_leak boolean NOT NULL DEFAULT false,
    suspected_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT credentials_user FOREIGN KEY (account_id, user_id) REFERENCES users (account_id, id) ON DELETE CASCADE,
    CONSTRAINT credentials_overlap_is_whole CHECK ((previous_password_bcrypt IS NULL) = (overlap_until IS NULL)),
    CONSTRAINT credentials_overlap_was_rotated CHECK (overlap_until IS NULL OR coalesce(overlap_until > rotated_at, false)),
    CONSTRAINT credentials_bcrypt_is_well_formed
        CHECK (previous_password_bcrypt ~ '^\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$'),
    CONSTRAINT credentials_held_by_somebody CHECK ((held_at IS NULL) = (held_by IS NULL)),
    CONSTRAINT credentials_watch_in_range CHECK (
        least(most_unknown_client_ids, most_wrong_keys, most_addresses) >= 0
        AND greatest(most_unknown_client_ids, most_wrong_keys, most_addresses) <= 1000
    )
);
CREATE INDEX credentials_by_account ON credentials (account_id);
CREATE INDEX credentials_by_overlap ON credentials (overlap_until) WHERE overlap_until IS NOT NULL;
CREATE TRIGGER credentials_version BEFORE UPDATE ON credentials FOR EACH ROW EXECUTE FUNCTION next_version();

-- Only factory credentials have a row.
CREATE FUNCTION require_provision_credential() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM users WHERE id = NEW.user_id AND kind = 'provision') THEN
        RAISE EXCEPTION 'a credential is of a provision user'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'credentials_user_is_provision', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER credentials_user_kind BEFORE INSERT OR UPDATE OF user_id ON credentials
    FOR EACH ROW EXECUTE FUNCTION require_provision_credential();

-- Whoever remembers what a login of this user was decided from looks again: it is held, or has one password again.
CREATE FUNCTION note_credential_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO changes (kind, key) SELECT 'user', name FROM users WHERE id = NEW.user_id;
    PERFORM pg_notify('changes', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER credentials_change AFTER UPDATE OF held_at, previous_password_bcrypt, overlap_until ON credentials
    FOR EACH ROW EXECUTE FUNCTION note_credential_change();

-- How a credential is used, by the hour: what speaks for a leak (`what`: the client id, or the address), and who still
-- comes with the old password (`what`: the client id).
CREATE TABLE credential_uses (
    user_id bigint NOT NULL,
    account_id bigint NOT NULL,
    kind text NOT NULL,
    what text NOT NULL,
    hour timestamptz NOT NULL,
    count bigint NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, kind, hour, what),
    CONSTRAINT credential_uses_user FOREIGN KEY (account_id, user_id) REFERENCES users (account_id, id) ON DELETE CASCADE,
    CONSTRAINT credential_uses_kind_known CHECK (kind IN ('unknown_client_id', 'wrong_key', 'address', 'old_password')),
    CONSTRAINT credential_uses_bounded CHECK (length(what) <= 256)
);
CREATE INDEX credential_uses_by_account ON credential_uses (account_id);
CREATE INDEX credential_uses_by_hour ON credential_uses (hour);

ALTER TABLE credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE credentials FORCE ROW LEVEL SECURITY;
ALTER TABLE credential_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE credential_uses FORCE ROW LEVEL SECURITY;
CREATE POLICY every_account ON credentials
    TO provisioning_migrator, provisioning_functions, provisioning_platform, provisioning_responder
    USING (true) WITH CHECK (true);
CREATE POLICY own_account ON credentials TO provisioning_admin
    USING (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint)
    WITH CHECK (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint);
CREATE POLICY every_account ON credential_uses
    TO provisioning_migrator, provisioning_functions, provisioning_platform, provisioning_responder
    USING (true) WITH CHECK (true);
CREATE POLICY own_account ON credential_uses TO provisioning_admin
    USING (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint)
    WITH CHECK (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint);
GRANT SELECT ON credentials TO provisioning_functions;
GRANT SELECT, INSERT, UPDATE ON credentials TO provisioning_admin, provisioning_platform, provisioning_responder;
GRANT SELECT, INSERT, UPDATE, DELETE ON credential_uses TO provisioning_functions;
GRANT SELECT, DELETE ON credential_uses TO provisioning_admin, provisioning_platform, provisioning_responder;

-- Uses of the last moments, as [{"username","kind","what","count"}, ...]. A client that came with the new password
-- (kind `new_password`) uses the old one no more. What speaks for a leak gets so many rows an hour, the rest goes to `*`.
CREATE FUNCTION note_credential_uses(p_uses jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_hour CONSTANT timestamptz := date_trunc('hour', clock_timestamp(), 'UTC');
    most CONSTANT integer := 1000;
BEGIN
    DELETE FROM credential_uses c
    USING jsonb_to_recordset(p_uses) AS t (username text, kind text, what text), users u
    WHERE t.kind = 'new_password' AND lower(u.name COLLATE "C") = lower(t.username COLLATE "C")
        AND c.user_id = u.id AND c.kind = 'old_password' AND c.what = t.what;
    WITH told AS (
        SELECT u.id AS user_id, u.account_id, t.kind, t.what, t.count, EXISTS (
                SELECT FROM credential_uses k
                WHERE k.user_id = u.id AND k.kind = t.kind AND k.hour = v_hour AND k.what = t.what
            ) AS kept
        FROM jsonb_to_recordset(p_uses) AS t (username text, kind text, what text, count bigint)
        JOIN users u ON lower(u.name COLLATE "C") = lower(t.username COLLATE "C") AND u.kind = 'provision'
        WHERE t.kind <> 'new_password'
    ), used AS (
        SELECT k.user_id, k.kind, count(*) AS rows FROM credential_uses k
        WHERE k.hour = v_hour AND k.user_id IN (SELECT user_id FROM told) GROUP BY 1, 2
    ), placed AS (
        SELECT t.user_id, t.account_id, t.kind, t.count, CASE
                WHEN t.kind <> 'old_password' AND NOT t.kept AND coalesce(u.rows, 0)
                    + row_number() OVER (PARTITION BY t.user_id, t.kind, t.kept ORDER BY t.what) > most THEN '*'
                ELSE t.what
            END AS what
        FROM told t LEFT JOIN used u ON u.user_id = t.user_id AND u.kind = t.kind
    )
    INSERT INTO credential_uses (user_id, account_id, kind, what, hour, count, last_at)
    SELECT user_id, account_id, kind, what, v_hour, sum(count), clock_timestamp()
    FROM placed GROUP BY user_id, account_id, kind, what
    ORDER BY user_id, kind, what
    ON CONFLICT (user_id, kind, hour, what) DO UPDATE
    SET count = credential_uses.count + excluded.count, last_at = excluded.last_at;
END
$$;

-- As in 0012, with what a credential has beside its password.
CREATE OR REPLACE FUNCTION hook_facts(p_broker text, p_username text, p_client_id text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT jsonb_build_object(
        'broker_role', b.role,
        'highest_cost', (
            SELECT greatest(
                (SELECT max(substr(password_bcrypt, 5, 2))::integer FROM users WHERE kind = 'provision'),
                (SELECT max(substr(previous_password_bcrypt, 5, 2))::integer FROM credentials WHERE overlap_until IS NOT NULL)
            )
        ),
        -- Whether any credential on the platform has two passwords just now: then every refusal pays for two.
        'overlap_open', EXISTS (SELECT FROM credentials WHERE overlap_until > clock_timestamp()),
        'user', CASE WHEN u.id IS NOT NULL THEN jsonb_build_object(
            'id', u.id, 'kind', u.kind, 'enabled', u.enabled, 'confirmed', u.confirmed_at IS NOT NULL,
            'previous_password_bcrypt', CASE WHEN k.overlap_until > clock_timestamp() THEN k.previous_password_bcrypt END,
            'held', k.held_at IS NOT NULL,
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
    LEFT JOIN credentials k ON k.user_id = u.id
    LEFT JOIN accounts a ON a.id = u.account_id
    LEFT JOIN provision_requests q ON b.role = 'provision' AND q.client_id = p_client_id AND q.user_id = u.id
    LEFT JOIN provision_runs r ON r.user_id = u.id AND r.ended_at IS NULL
    LEFT JOIN provision_requests rq ON rq.id = r.request_id
    LEFT JOIN devices d ON d.account_id = u.account_id AND d.client_id = p_client_id
    LEFT JOIN device_connections c ON c.account_id = u.account_id AND c.client_id = p_client_id
$$;

REVOKE EXECUTE ON FUNCTION note_credential_uses(jsonb), require_provision_credential(), note_credential_change() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION note_credential_uses(jsonb) TO provisioning_hooks, provisioning_responder;
GRANT CREATE ON SCHEMA public TO provisioning_functions;
ALTER FUNCTION note_credential_uses(jsonb) OWNER TO provisioning_functions;
ALTER FUNCTION require_provision_credential() OWNER TO provisioning_functions;
ALTER FUNCTION note_credential_change() OWNER TO provisioning_functions;
REVOKE CREATE ON SCHEMA public FROM provisioning_functions;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0018_credentials' $$;
