-- The hooks' side is in functions (migration 0007); this is what keeps the feed's tables small.

-- name: prune_changes
-- Changes that every reader saw long ago, up to the oldest running transaction; returns nothing to remember.
WITH old AS (
    DELETE FROM changes
    WHERE at < clock_timestamp() - $1::interval AND xid < pg_snapshot_xmin(pg_current_snapshot())
    RETURNING xid
)
UPDATE changes_pruned SET xid = greatest(changes_pruned.xid, (SELECT max(old.xid::text::numeric)::text::xid8 FROM old))
WHERE EXISTS (SELECT FROM old);

-- name: prune_one_time_passwords
-- Those nobody used in time.
DELETE FROM one_time_passwords WHERE expires_at < clock_timestamp();

-- name: mint_one_time_password
-- Good once, for a few seconds, for one client id.
INSERT INTO one_time_passwords (secret_sha256, client_id) VALUES ($1, $2);

-- name: held
-- Whether deadlines stand still since a restore.
SELECT at, outage, held_since, cluster, cluster_name() AS cluster_now FROM heartbeats WHERE process = 'hooks';

-- name: accept_restore
-- An operator says that the restored cluster is the one to go on with: time counts again.
UPDATE heartbeats
SET outage = outage(), held_since = NULL, cluster = cluster_name(), at = clock_timestamp()
WHERE process = 'hooks' AND (held_since IS NOT NULL OR cluster <> cluster_name())
RETURNING outage;
