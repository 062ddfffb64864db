-- Who may see and do what. Row level security is enabled and forced on every account's table: the admin role sees the
-- account in app.account_id and nothing without one; other roles have policies of their own; hooks have no table at all.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

DO $$
DECLARE
    owned text;
    everybody CONSTANT text := 'provisioning_migrator, provisioning_functions, provisioning_platform, provisioning_responder';
    -- '' and not NULL is what a setting reads as after its first SET LOCAL ended.
    own CONSTANT text := $own$ NULLIF(current_setting('app.account_id', true), '')::bigint $own$;
BEGIN
    FOREACH owned IN ARRAY ARRAY[
        'users', 'user_permissions', 'devices', 'device_connections', 'releases', 'provision_requests',
        'provision_applications', 'provision_runs', 'run_steps', 'events', 'refusals', 'api_tokens', 'broker_accounts'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', owned);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', owned);
        EXECUTE format('CREATE POLICY every_account ON %I TO %s USING (true) WITH CHECK (true)', owned, everybody);
        EXECUTE format('CREATE POLICY own_account ON %I TO provisioning_admin USING (account_id = %s) WITH CHECK (account_id = %s)',
            owned, own, own);
    END LOOP;
    EXECUTE 'ALTER TABLE accounts ENABLE ROW LEVEL SECURITY';
    EXECUTE 'ALTER TABLE accounts FORCE ROW LEVEL SECURITY';
    EXECUTE format('CREATE POLICY every_account ON accounts TO %s USING (true) WITH CHECK (true)', everybody);
    EXECUTE format('CREATE POLICY own_account ON accounts TO provisioning_admin USING (id = %s) WITH CHECK (id = %s)', own, own);
    -- Of brokers an account sees those that serve it.
    EXECUTE 'ALTER TABLE brokers ENABLE ROW LEVEL SECURITY';
    EXECUTE 'ALTER TABLE brokers FORCE ROW LEVEL SECURITY';
    EXECUTE format('CREATE POLICY every_broker ON brokers TO %s USING (true) WITH CHECK (true)', everybody);
    EXECUTE format($policy$
        CREATE POLICY own_brokers ON brokers FOR SELECT TO provisioning_admin
        USING (EXISTS (SELECT FROM broker_accounts s WHERE s.broker_id = brokers.id AND s.account_id = %s))
    $policy$, own);
END
$$;

-- The responder makes and deletes generated users, an administrator everything but those.
CREATE POLICY device_users_only ON users AS RESTRICTIVE FOR INSERT TO provisioning_responder WITH CHECK (kind = 'device');
CREATE POLICY device_users_deleted_only ON users AS RESTRICTIVE FOR DELETE TO provisioning_responder USING (kind = 'device');
CREATE POLICY no_generated_users ON users AS RESTRICTIVE FOR INSERT TO provisioning_admin
    WITH CHECK (kind IN ('provision', 'person'));

-- The functions' owner: what the functions in 0002 to 0007 touch.
GRANT SELECT ON accounts, brokers, broker_accounts, user_permissions, releases, changes_pruned TO provisioning_functions;
GRANT SELECT, UPDATE ON users, provision_requests, provision_runs, devices, heartbeats TO provisioning_functions;
GRANT SELECT, INSERT, UPDATE ON device_connections, refusals TO provisioning_functions;
GRANT SELECT, INSERT ON events, changes TO provisioning_functions;
GRANT SELECT, DELETE ON one_time_passwords TO provisioning_functions;

GRANT SELECT ON accounts, broker_accounts, provision_runs, run_steps, events, refusals TO provisioning_admin;
GRANT SELECT (id, name, role, endpoints) ON brokers TO provisioning_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON users, user_permissions, provision_requests, provision_applications
    TO provisioning_admin;
GRANT UPDATE (state, salt, ended_at, failure, user_id) ON provision_runs TO provisioning_admin;
GRANT SELECT, UPDATE, DELETE ON devices, device_connections TO provisioning_admin;
GRANT SELECT, INSERT, UPDATE ON releases TO provisioning_admin;

GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, brokers, broker_accounts, users, user_permissions, devices,
    device_connections, releases, provision_requests, provision_applications, provision_runs, run_steps, api_tokens
    TO provisioning_platform;
GRANT SELECT ON events, refusals, changes TO provisioning_platform;
GRANT SELECT, UPDATE ON heartbeats TO provisioning_platform;

GRANT SELECT ON accounts, broker_accounts, provision_applications, events, heartbeats TO provisioning_responder;
GRANT SELECT (id, name, role, endpoints) ON brokers TO provisioning_responder;
GRANT SELECT, INSERT, DELETE ON users TO provisioning_responder;
GRANT SELECT, INSERT, UPDATE, DELETE ON devices, device_connections, run_steps TO provisioning_responder;
GRANT SELECT, INSERT ON user_permissions TO provisioning_responder;
GRANT SELECT, UPDATE ON provision_requests, releases, changes_pruned TO provisioning_responder;
GRANT SELECT, INSERT, UPDATE ON provision_runs TO provisioning_responder;
GRANT SELECT, DELETE ON refusals, changes TO provisioning_responder;
GRANT SELECT, INSERT, DELETE ON one_time_passwords TO provisioning_responder;

GRANT SELECT ON ALL TABLES IN SCHEMA public TO provisioning_backup;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO provisioning_backup;
-- Also of tables to come, the migrations' own bookkeeping among them.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO provisioning_backup;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON SEQUENCES TO provisioning_backup;

-- Functions: nobody by default.
REVOKE EXECUTE ON FUNCTION
    append_event(bytea, text, bigint, bigint, text, text, text, text, text, jsonb),
    broken_event_number(bytea, bigint), cluster_name(), outage(), effective_deadline(timestamptz, interval),
    past_deadline(timestamptz, interval),
    event_chain_link(bytea, bytea, bigint, bigint, timestamptz, text, bigint, text, text, text, text, text, jsonb),
    hook_brokers(), hook_facts(text, text, text), hook_changes(text), hook_heartbeat(), count_refusals(jsonb),
    hook_note_seen(jsonb), hook_use_one_time_password(bytea, text),
    hook_login(bytea, text, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint),
    account_id_of(text), names_taken(bigint, text, text), note_change(), permission_changes_user(), refuse_provision_account(), require_provision_user(),
    keep_client_id_in_one_account(), next_version(), allow_request_move(), allow_run_move()
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    hook_brokers(), hook_facts(text, text, text), hook_changes(text), hook_heartbeat(), count_refusals(jsonb),
    hook_note_seen(jsonb), hook_use_one_time_password(bytea, text),
    hook_login(bytea, text, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint)
    TO provisioning_hooks;
GRANT EXECUTE ON FUNCTION append_event(bytea, text, bigint, bigint, text, text, text, text, text, jsonb)
    TO provisioning_responder, provisioning_admin, provisioning_platform;
GRANT EXECUTE ON FUNCTION
    event_chain_link(bytea, bytea, bigint, bigint, timestamptz, text, bigint, text, text, text, text, text, jsonb),
    broken_event_number(bytea, bigint)
    TO provisioning_admin, provisioning_platform;
GRANT EXECUTE ON FUNCTION count_refusals(jsonb), hook_changes(text) TO provisioning_responder;
GRANT EXECUTE ON FUNCTION account_id_of(text), names_taken(bigint, text, text)
    TO provisioning_admin, provisioning_platform;
GRANT EXECUTE ON FUNCTION cluster_name() TO provisioning_responder, provisioning_admin, provisioning_platform;
GRANT EXECUTE ON FUNCTION
    outage(), effective_deadline(timestamptz, interval), past_deadline(timestamptz, interval)
    TO provisioning_responder, provisioning_admin, provisioning_platform;

-- SECURITY DEFINER means: as provisioning_functions, which has just the rights above.
-- An owner must be allowed to create where its function stands, while it becomes the owner.
GRANT CREATE ON SCHEMA public TO provisioning_functions;
ALTER FUNCTION append_event(bytea, text, bigint, bigint, text, text, text, text, text, jsonb) OWNER TO provisioning_functions;
ALTER FUNCTION event_chain_link(bytea, bytea, bigint, bigint, timestamptz, text, bigint, text, text, text, text, text, jsonb)
    OWNER TO provisioning_functions;
ALTER FUNCTION account_id_of(text) OWNER TO provisioning_functions;
ALTER FUNCTION names_taken(bigint, text, text) OWNER TO provisioning_functions;
ALTER FUNCTION cluster_name() OWNER TO provisioning_functions;
ALTER FUNCTION outage() OWNER TO provisioning_functions;
ALTER FUNCTION effective_deadline(timestamptz, interval) OWNER TO provisioning_functions;
ALTER FUNCTION past_deadline(timestamptz, interval) OWNER TO provisioning_functions;
ALTER FUNCTION hook_brokers() OWNER TO provisioning_functions;
ALTER FUNCTION hook_facts(text, text, text) OWNER TO provisioning_functions;
ALTER FUNCTION hook_changes(text) OWNER TO provisioning_functions;
ALTER FUNCTION hook_heartbeat() OWNER TO provisioning_functions;
ALTER FUNCTION count_refusals(jsonb) OWNER TO provisioning_functions;
ALTER FUNCTION hook_note_seen(jsonb) OWNER TO provisioning_functions;
ALTER FUNCTION hook_use_one_time_password(bytea, text) OWNER TO provisioning_functions;
ALTER FUNCTION hook_login(
    bytea, text, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint
) OWNER TO provisioning_functions;
ALTER FUNCTION note_change() OWNER TO provisioning_functions;
ALTER FUNCTION permission_changes_user() OWNER TO provisioning_functions;
ALTER FUNCTION refuse_provision_account() OWNER TO provisioning_functions;
ALTER FUNCTION require_provision_user() OWNER TO provisioning_functions;
ALTER FUNCTION keep_client_id_in_one_account() OWNER TO provisioning_functions;
REVOKE CREATE ON SCHEMA public FROM provisioning_functions;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0008_isolation' $$;
