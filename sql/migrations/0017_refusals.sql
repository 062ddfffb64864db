-- Refusals bounded by whose they are, so that a flood pushes out nobody else's; allowed logins by the hour; events by
-- their correlation id.
SET lock_timeout = '5s';
SET statement_timeout = '10min';

-- Whose share of the rows it takes: `client ` and a client id that some account has, else `user ` and a name that is
-- somebody's, else nobody's: all strangers together have one share a broker.
ALTER TABLE refusals ADD COLUMN share text NOT NULL DEFAULT 'nobody';
ALTER TABLE refusals ADD COLUMN first_at timestamptz;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE refusals ADD CONSTRAINT refusals_share_bounded CHECK (length(share) <= 300);

-- Allowed CONNECTs, counted by the hour.
CREATE TABLE logins (
    broker text NOT NULL,
    username text NOT NULL,
    client_id text NOT NULL,
    hour timestamptz NOT NULL,
    -- Whose credential was used.
    account_id bigint REFERENCES accounts (id) ON DELETE CASCADE,
    count bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (broker, username, client_id, hour),
    CONSTRAINT logins_bounded CHECK (length(username) <= 256 AND length(client_id) <= 256)
);
CREATE INDEX logins_by_client_id ON logins (client_id, hour);
CREATE INDEX logins_by_hour ON logins (hour);
CREATE INDEX logins_by_account ON logins (account_id);
ALTER TABLE logins ENABLE ROW LEVEL SECURITY;
ALTER TABLE logins FORCE ROW LEVEL SECURITY;
CREATE POLICY every_account ON logins
    TO provisioning_migrator, provisioning_functions, provisioning_platform, provisioning_responder
    USING (true) WITH CHECK (true);
CREATE POLICY own_account ON logins TO provisioning_admin
    USING (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint)
    WITH CHECK (account_id = NULLIF(current_setting('app.account_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON logins TO provisioning_functions;
GRANT SELECT ON logins TO provisioning_admin, provisioning_platform;
GRANT SELECT, DELETE ON logins TO provisioning_responder;
GRANT DELETE ON refusals TO provisioning_functions;

-- What a device was told leads to its event.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX events_by_correlation_id ON events (correlation_id) WHERE correlation_id IS NOT NULL;

-- Counted refusals of the last moments, as [{"broker","username","client_id","reason","count","topic"?,"access"?,
-- "account_id"?}, ...]. In one minute a share of a broker gets so many new rows; what is beyond, and what is summarised
-- already (client id `*`), is added to one row an hour for each reason and somebody's username. Processes that write at
-- the same moment may each fill the share.
CREATE OR REPLACE FUNCTION count_refusals(p_refusals jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_minute CONSTANT timestamptz := date_trunc('minute', v_now, 'UTC');
    most_of_client CONSTANT integer := 20;
    most_of_others CONSTANT integer := 100;
BEGIN
    WITH told AS (
        SELECT r.broker, r.username, r.client_id, r.reason, r.count, r.topic, r.access,
            -- A name that nobody has is told to the account whose client id it came with.
            coalesce(u.account_id, r.account_id, CASE WHEN u.id IS NULL THEN client_id_holder(r.client_id) END) AS account_id,
            CASE WHEN EXISTS (SELECT FROM provision_requests q WHERE q.client_id = r.client_id)
                    OR EXISTS (SELECT FROM devices d WHERE d.client_id = r.client_id) THEN 'client ' || r.client_id
                WHEN u.id IS NOT NULL THEN 'user ' || u.name
                ELSE 'nobody' END AS share,
            EXISTS (
                SELECT FROM refusals k WHERE k.broker = r.broker AND k.username = r.username
                    AND k.client_id = r.client_id AND k.reason = r.reason AND k.minute = v_minute
            ) AS kept
        FROM jsonb_to_recordset(p_refusals) AS r (
            broker text, username text, client_id text, reason text, count bigint, topic text, access text, account_id bigint
        )
        LEFT JOIN users u ON lower(u.name COLLATE "C") = lower(r.username COLLATE "C")
    ), used AS (
        SELECT broker, share, count(*) AS rows FROM refusals WHERE minute = v_minute AND client_id <> '*' GROUP BY 1, 2
    ), placed AS (
        SELECT t.*, t.client_id = '*' OR NOT t.kept AND coalesce(u.rows, 0)
                + row_number() OVER (PARTITION BY t.broker, t.share, t.kept ORDER BY t.username, t.client_id, t.reason)
                > CASE WHEN t.share LIKE 'client %' THEN most_of_client ELSE most_of_others END AS over
        FROM told t LEFT JOIN used u ON u.broker = t.broker AND u.share = t.share
    ), folded AS (
        SELECT p.broker, p.reason, p.count, p.topic, p.access, p.account_id, p.share,
            CASE WHEN p.over AND p.share NOT LIKE 'user %' THEN '*' ELSE p.username END AS username,
            CASE WHEN p.over AND p.share NOT LIKE 'client %' THEN '*' ELSE p.client_id END AS client_id,
            CASE WHEN p.over THEN date_trunc('hour', v_now, 'UTC') ELSE v_minute END AS minute
        FROM placed p
    )
    INSERT INTO refusals (
        broker, username, client_id, reason, minute, account_id, count, first_at, last_at, last_topic, last_access, share
    )
    SELECT broker, username, client_id, reason, minute, CASE WHEN username <> '*' THEN min(account_id) END, sum(count),
        v_now, v_now, max(topic), max(access), min(share)
    FROM folded GROUP BY broker, username, client_id, reason, minute
    ORDER BY broker, username, client_id, reason, minute
    ON CONFLICT (broker, username, client_id, reason, minute) DO UPDATE
    SET count = refusals.count + excluded.count, last_at = excluded.last_at,
        last_topic = excluded.last_topic, last_access = excluded.last_access;
END
$$;

-- Refusals older than this go, and where there are more rows than p_most, those that the largest shares have most of:
-- the newest row of every share stays longest. What goes for its number is summarised by the hour, in a tenth of p_most.
CREATE FUNCTION prune_refusals(p_keep interval, p_most bigint) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_gone bigint := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('prune refusals', 0)) THEN
        RETURN 0;
    END IF;
    DELETE FROM refusals WHERE minute < clock_timestamp() - p_keep;
    IF NOT EXISTS (SELECT FROM refusals ORDER BY minute DESC OFFSET p_most LIMIT 1) THEN
        RETURN 0;
    END IF;
    WITH ranked AS (
        SELECT broker, username, client_id, reason, minute,
            row_number() OVER (PARTITION BY broker, share ORDER BY minute DESC, last_at DESC) AS place
        FROM refusals WHERE client_id <> '*'
    ), beyond AS (
        SELECT broker, username, client_id, reason, minute FROM ranked
        ORDER BY place, minute DESC, broker, username, client_id, reason OFFSET p_most * 8 / 10
    ), gone AS (
        DELETE FROM refusals r USING beyond b
        WHERE r.broker = b.broker AND r.username = b.username AND r.client_id = b.client_id AND r.reason = b.reason
            AND r.minute = b.minute
        RETURNING r.*
    ), summarised AS (
        INSERT INTO refusals (broker, username, client_id, reason, minute, account_id, count, first_at, last_at, share)
        SELECT broker, CASE WHEN share LIKE 'user %' THEN username ELSE '*' END, '*', reason,
            date_trunc('hour', minute, 'UTC'), CASE WHEN share LIKE 'user %' THEN min(account_id) END, sum(count),
            min(coalesce(first_at, minute)), max(last_at), min(share)
        FROM gone
        GROUP BY broker, CASE WHEN share LIKE 'user %' THEN username ELSE '*' END, share LIKE 'user %', reason,
            date_trunc('hour', minute, 'UTC')
        ON CONFLICT (broker, username, client_id, reason, minute) DO UPDATE
        SET count = refusals.count + excluded.count, last_at = greatest(refusals.last_at, excluded.last_at),
            first_at = least(refusals.first_at, excluded.first_at)
    )
    SELECT count(*) INTO v_gone FROM gone;
    DELETE FROM refusals WHERE ctid IN (
        SELECT ctid FROM refusals WHERE client_id = '*' ORDER BY minute DESC, last_at DESC OFFSET greatest(p_most / 10, 1)
    );
    RETURN v_gone;
END
$$;

-- Allowed CONNECTs of the last moments, as [{"broker","username","client_id","count"}, ...].
CREATE FUNCTION count_logins(p_logins jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO logins (broker, username, client_id, hour, account_id, count, first_at, last_at)
    SELECT l.broker, l.username, l.client_id, date_trunc('hour', clock_timestamp(), 'UTC'), u.account_id, l.count,
        clock_timestamp(), clock_timestamp()
    FROM jsonb_to_recordset(p_logins) AS l (broker text, username text, client_id text, count bigint)
    LEFT JOIN users u ON lower(u.name COLLATE "C") = lower(l.username COLLATE "C")
    ORDER BY l.broker, l.username, l.client_id
    ON CONFLICT (broker, username, client_id, hour) DO UPDATE
    SET count = logins.count + excluded.count, last_at = excluded.last_at
$$;

REVOKE EXECUTE ON FUNCTION prune_refusals(interval, bigint), count_logins(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prune_refusals(interval, bigint) TO provisioning_responder;
GRANT EXECUTE ON FUNCTION count_logins(jsonb) TO provisioning_hooks;
GRANT CREATE ON SCHEMA public TO provisioning_functions;
ALTER FUNCTION prune_refusals(interval, bigint) OWNER TO provisioning_functions;
ALTER FUNCTION count_logins(jsonb) OWNER TO provisioning_functions;
REVOKE CREATE ON SCHEMA public FROM provisioning_functions;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0017_refusals' $$;
