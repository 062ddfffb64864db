-- The CA that devices must trust at a broker: handed out in the answer, certificates only, never a key.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

ALTER TABLE brokers ADD COLUMN ca text
    CONSTRAINT brokers_ca_length CHECK (octet_length(ca) <= 16384)
    CONSTRAINT brokers_ca_is_certificates CHECK (
        ca ~ '^(-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=]+\n)+-----END CERTIFICATE-----\n)+$'
    );
-- An administrator's request is judged with it (the answer's size), a run answers it. It is nobody's secret.
GRANT SELECT (ca) ON brokers TO provisioning_admin, provisioning_responder;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0011_broker_ca' $$;
