-- Whether a key was proved is asked for beside the facts again, and the older takeover's function is back.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

CREATE OR REPLACE FUNCTION hook_facts(p_broker text, p_username text, p_client_id text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN (
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
    );
END
$$;

CREATE FUNCTION hook_key_proved(p_client_id text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM provision_requests q JOIN key_proofs k ON k.request_id = q.id
        WHERE q.client_id = p_client_id AND k.proved_at > clock_timestamp() - interval '10 minutes'
    )
$$;

CREATE FUNCTION hook_use_one_time_password(p_secret_sha256 bytea, p_client_id text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    DELETE FROM one_time_passwords
    WHERE secret_sha256 = p_secret_sha256 AND client_id = p_client_id AND expires_at > clock_timestamp();
    RETURN FOUND;
END
$$;

REVOKE EXECUTE ON FUNCTION hook_key_proved(text), hook_use_one_time_password(bytea, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hook_key_proved(text), hook_use_one_time_password(bytea, text) TO provisioning_hooks;
GRANT EXECUTE ON FUNCTION hook_key_proved(text) TO provisioning_responder;
GRANT CREATE ON SCHEMA public TO provisioning_functions;
ALTER FUNCTION hook_key_proved(text) OWNER TO provisioning_functions;
ALTER FUNCTION hook_use_one_time_password(bytea, text) OWNER TO provisioning_functions;
REVOKE CREATE ON SCHEMA public FROM provisioning_functions;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0025_partition_locks' $$;
