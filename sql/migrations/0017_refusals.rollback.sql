-- Allowed logins are forgotten; refusals stay, without whose share they took.
SET lock_timeout = '5s';
SET statement_timeout = '60s';
DROP FUNCTION count_logins(jsonb);
DROP FUNCTION prune_refusals(interval, bigint);
-- Counted refusals of the last moments, as [{"broker","username","client_id","reason","count","topic"?,"access"?}, ...].
CREATE OR REPLACE FUNCTION count_refusals(p_refusals jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO refusals (broker, username, client_id, reason, minute, account_id, count, last_at, last_topic, last_access)
    SELECT r.broker, r.username, r.client_id, r.reason, date_trunc('minute', clock_timestamp(), 'UTC'), u.account_id, r.count,
        clock_timestamp(), r.topic, r.access
    FROM jsonb_to_recordset(p_refusals)
        AS r (broker text, username text, client_id text, reason text, count bigint, topic text, access text)
    LEFT JOIN users u ON lower(u.name COLLATE "C") = lower(r.username COLLATE "C")
    ON CONFLICT (broker, username, client_id, reason, minute) DO UPDATE
    SET count = refusals.count + excluded.count, last_at = excluded.last_at,
        last_topic = excluded.last_topic, last_access = excluded.last_access
$$;
REVOKE DELETE ON refusals FROM provisioning_functions;
DROP INDEX events_by_correlation_id;
DROP TABLE logins;
ALTER TABLE refusals DROP CONSTRAINT refusals_share_bounded;
ALTER TABLE refusals DROP COLUMN first_at;
ALTER TABLE refusals DROP COLUMN share;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0016_events' $$;
