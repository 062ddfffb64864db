SET lock_timeout = '5s';
SET statement_timeout = '60s';
DO $$
DECLARE
    item record;
    role text;
BEGIN
    FOR item IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace
            AND p.proowner IN ('provisioning_functions'::regrole, 'provisioning_migrator'::regrole)
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO provisioning_migrator', item.name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM provisioning_hooks, provisioning_responder, provisioning_admin, provisioning_platform', item.name);
    END LOOP;
    FOR item IN SELECT tablename, policyname FROM pg_policies WHERE schemaname = 'public' LOOP
        EXECUTE format('DROP POLICY %I ON %I', item.policyname, item.tablename);
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', item.tablename);
        EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', item.tablename);
    END LOOP;
    FOREACH role IN ARRAY ARRAY['functions', 'hooks', 'responder', 'admin', 'platform', 'backup'] LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', 'provisioning_' || role);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM %I', 'provisioning_' || role);
    END LOOP;
END
$$;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM provisioning_backup;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON SEQUENCES FROM provisioning_backup;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0007_hook_functions' $$;
