-- The hooks' side is in functions (migration 0007); this is what keeps the feed's tables small.

-- name: prune_changes
-- Changes that every reader saw long ago, up to the oldest running transaction; returns nothing to remember.
WITH old AS (
    DELETE FROM changes
    WHERE at < statement_timestamp() - $1::interval AND xid < pg_snapshot_xmin(pg_current_snapshot())
    RETURNING xid
)
UPDATE changes_pruned SET xid = greatest(changes_pruned.xid, (SELECT max(old.xid::text::numeric)::text::xid8 FROM old))
WHERE EXISTS (SELECT FROM old);

-- name: prune_one_time_passwords
-- Those nobody used in time.
DELETE FROM one_time_passwords WHERE expires_at < statement_timestamp();

-- name: mint_one_time_password
-- Good once, for a few seconds, for one client id at one broker ($3), to end the session of a user there ($4; NULL: of
-- nobody in particular).
INSERT INTO one_time_passwords (secret_sha256, client_id, broker, username) VALUES ($1, $2, $3, $4);

-- name: held
-- Whether deadlines stand still since a restore.
SELECT at, outage, held_since, cluster, cluster_name() AS cluster_now FROM heartbeats WHERE process = 'hooks';

-- name: accept_restore
-- An operator says that the restored cluster is the one to go on with: time counts again.
UPDATE heartbeats
SET outage = outage(), held_since = NULL, cluster = cluster_name(), at = clock_timestamp()
WHERE process = 'hooks' AND (held_since IS NOT NULL OR cluster <> cluster_name())
RETURNING outage;

-- name: last_logins
-- Who logged in last at a broker ($1) under the client ids that a change ($2 its kind, $3 its key) is about.
SELECT l.username, ids.client_id
FROM (
    SELECT $3::text AS client_id WHERE $2::text = 'client'
    UNION SELECT client_id FROM logins WHERE $2 = 'user' AND broker = $1 AND username = $3
    UNION SELECT c.client_id FROM device_connections c JOIN users u ON u.account_id = c.account_id AND u.id = c.user_id
        WHERE $2 = 'user' AND lower(u.name COLLATE "C") = lower($3 COLLATE "C") AND u.name = $3
    UNION SELECT client_id FROM logins
        WHERE broker = $1 AND account_id = CASE WHEN $2 = 'account' THEN $3::bigint END
    UNION SELECT client_id FROM device_connections WHERE account_id = CASE WHEN $2 = 'account' THEN $3::bigint END
) ids
CROSS JOIN LATERAL (
    SELECT x.username FROM (
        SELECT g.username, g.last_at AS at FROM logins g WHERE g.broker = $1 AND g.client_id = ids.client_id
        UNION ALL
        SELECT u.name, c.last_login_at FROM device_connections c
        JOIN users u ON u.id = c.user_id JOIN brokers b ON b.id = c.broker_id
        WHERE c.client_id = ids.client_id AND b.name = $1
    ) x ORDER BY x.at DESC NULLS LAST LIMIT 1
) l
WHERE ids.client_id <> '*'
LIMIT $4;
