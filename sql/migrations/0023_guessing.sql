-- Guesses at factory passwords, counted by username; clients that proved their activation key at CONNECT.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- Usernames, somebody's or nobody's, whose passwords were guessed at of late.
CREATE TABLE password_guesses (
    -- In lower case.
    username text PRIMARY KEY,
    -- When all its guesses are forgotten: each one moves it further from now.
    full_at timestamptz NOT NULL,
    CONSTRAINT password_guesses_username_rule CHECK (username ~ '^[a-z0-9_-]{3,255}$')
);
CREATE INDEX password_guesses_by_full_at ON password_guesses (full_at);
GRANT SELECT, INSERT, UPDATE ON password_guesses TO provisioning_functions;
GRANT SELECT, DELETE ON password_guesses TO provisioning_responder;

-- Guesses of the last moments, as [{"username","count"}, ...]; returns what every hooks process counted together, as
-- {"<username>": seconds until all is forgotten}. One guess is forgotten after p_interval seconds, none counts longer
-- than p_longest (a clock that was set back would lock a name out), no more than p_most names are told of.
CREATE FUNCTION hook_count_guesses(p_guesses jsonb, p_interval double precision, p_longest double precision, p_most integer)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_longest CONSTANT interval := make_interval(secs => p_longest);
    v_now timestamptz;
BEGIN
    INSERT INTO password_guesses AS k (username, full_at)
    SELECT g.username, clock_timestamp() + least(make_interval(secs => p_interval * g.count), v_longest)
    FROM jsonb_to_recordset(p_guesses) AS g (username text, count integer) ORDER BY g.username
    ON CONFLICT (username) DO UPDATE
    SET full_at = least(
        greatest(k.full_at, clock_timestamp()) + (excluded.full_at - clock_timestamp()), clock_timestamp() + v_longest
    );
    v_now := clock_timestamp();
    RETURN (
        SELECT coalesce(jsonb_object_agg(m.username, least(extract(epoch FROM m.full_at - v_now), p_longest)), '{}')
        FROM (SELECT * FROM password_guesses WHERE full_at > v_now ORDER BY full_at DESC LIMIT p_most) m
    );
END
$$;

-- Requests whose activation key came with a CONNECT, and when last.
CREATE TABLE key_proofs (
    request_id bigint PRIMARY KEY,
    account_id bigint NOT NULL,
    proved_at timestamptz NOT NULL,
    CONSTRAINT key_proofs_request FOREIGN KEY (account_id, request_id)
        REFERENCES provision_requests (account_id, id) ON DELETE CASCADE
);
CREATE INDEX key_proofs_by_account ON key_proofs (account_id);
ALTER TABLE key_proofs ENABLE ROW LEVEL SECURITY;
ALTER TABLE key_proofs FORCE ROW LEVEL SECURITY;
CREATE POLICY every_account ON key_proofs TO provisioning_migrator, provisioning_functions USING (true) WITH CHECK (true);
CREATE POLICY own_account ON key_proofs TO provisioning_admin
    USING (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint)
    WITH CHECK (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON key_proofs TO provisioning_functions;

-- Whether the activation key is that of the request of this credential and client id; written down once a minute.
CREATE FUNCTION hook_prove_key(p_username text, p_client_id text, p_key_sha256 bytea) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_request record;
BEGIN
    SELECT q.id, q.account_id INTO v_request
    FROM provision_requests q JOIN users u ON u.id = q.user_id
    WHERE q.client_id = p_client_id AND q.activation_key_sha256 = p_key_sha256 AND u.name = p_username;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO key_proofs AS k (request_id, account_id, proved_at)
    VALUES (v_request.id, v_request.account_id, clock_timestamp())
    ON CONFLICT (request_id) DO UPDATE SET proved_at = excluded.proved_at
    WHERE k.proved_at NOT BETWEEN excluded.proved_at - interval '1 minute' AND excluded.proved_at;
    IF FOUND THEN
        -- Whoever remembers a login without the key looks again.
        INSERT INTO changes (kind, key) VALUES ('client', p_client_id);
        PERFORM pg_notify('changes', '');
    END IF;
    RETURN true;
END
$$;

-- Whether a client id is kept for whoever has its activation key: it was proved within these ten minutes.
CREATE FUNCTION hook_key_proved(p_client_id text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM provision_requests q JOIN key_proofs k ON k.request_id = q.id
        WHERE q.client_id = p_client_id AND k.proved_at > clock_timestamp() - interval '10 minutes'
    )
$$;

REVOKE EXECUTE ON FUNCTION hook_count_guesses(jsonb, double precision, double precision, integer),
    hook_prove_key(text, text, bytea), hook_key_proved(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hook_count_guesses(jsonb, double precision, double precision, integer),
    hook_prove_key(text, text, bytea), hook_key_proved(text) TO provisioning_hooks;
-- The responder reads the facts of a login as the hooks do.
GRANT EXECUTE ON FUNCTION hook_key_proved(text) TO provisioning_responder;
GRANT CREATE ON SCHEMA public TO provisioning_functions;
ALTER FUNCTION hook_count_guesses(jsonb, double precision, double precision, integer) OWNER TO provisioning_functions;
ALTER FUNCTION hook_prove_key(text, text, bytea) OWNER TO provisioning_functions;
ALTER FUNCTION hook_key_proved(text) OWNER TO provisioning_functions;
REVOKE CREATE ON SCHEMA public FROM provisioning_functions;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0023_guessing' $$;
