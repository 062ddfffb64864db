-- The roles of the database, one for each kind of work (run once per cluster, as a superuser, before `migrate up`;
-- running it again changes nothing). Logins have no password here: set them with \password, or let `make up` do it.
--
--   provisioning_migrator    owns tables and runs migrations; data migrations see every account
--   provisioning_functions   owns the SECURITY DEFINER functions; nobody logs in as it
--   provisioning_hooks       may only EXECUTE those functions
--   provisioning_responder   runs, generated users, devices and connections
--   provisioning_admin       one account at a time: the one in app.account_id
--   provisioning_platform    accounts, brokers and what concerns more than one account
--   provisioning_backup      reads everything, whatever the policies say: pg_dump

DO $$
DECLARE
    login text;
BEGIN
    FOREACH login IN ARRAY ARRAY['migrator', 'hooks', 'responder', 'admin', 'platform', 'backup'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'provisioning_' || login) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', 'provisioning_' || login);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'provisioning_functions') THEN
        CREATE ROLE provisioning_functions NOLOGIN NOSUPERUSER;
    END IF;
END
$$;

ALTER ROLE provisioning_backup BYPASSRLS;

-- The migrator hands functions over to their owner, so it must be able to act as that owner.
GRANT provisioning_functions TO provisioning_migrator;

-- Keys and secrets reach SQL as bind parameters only, and bind parameters never reach the server's log.
DO $$
DECLARE
    login text;
BEGIN
    FOREACH login IN ARRAY ARRAY['migrator', 'hooks', 'responder', 'admin', 'platform'] LOOP
        EXECUTE format('ALTER ROLE %I SET log_parameter_max_length = 0', 'provisioning_' || login);
        EXECUTE format('ALTER ROLE %I SET log_parameter_max_length_on_error = 0', 'provisioning_' || login);
    END LOOP;
END
$$;
