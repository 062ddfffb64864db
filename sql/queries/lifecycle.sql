-- What devices say of their lives on account brokers.

-- name: lock
-- The connection of a client id in the account that its topic names, held until what is done with it is committed.
SELECT c.id, c.account_id, c.device_id, c.status, c.status_at, c.last_login_at, c.born_at, c.ends_owed,
    c.ended_at, clock_timestamp() AS now
FROM accounts a JOIN device_connections c ON c.account_id = a.id
WHERE a.name = $1 AND c.client_id = $2 FOR UPDATE OF c;

-- name: update
-- What was heard of it.
UPDATE device_connections
SET status = $2, status_at = $3, born_at = $4, ends_owed = $5, ended_at = $6,
    last_seen_at = clock_timestamp()
WHERE id = $1;

-- name: put_device
-- Its device, made where there is none, with what it said of itself; an empty display name leaves the old one.
WITH device AS (
    INSERT INTO devices (account_id, client_id, display_name, birth, birth_at)
    VALUES ($2, $3, $4, $5::jsonb, clock_timestamp())
    ON CONFLICT (account_id, client_id) DO UPDATE
    SET display_name = coalesce(excluded.display_name, devices.display_name), birth = excluded.birth,
        birth_at = excluded.birth_at
    RETURNING id
)
UPDATE device_connections SET device_id = device.id FROM device
WHERE device_connections.id = $1 AND device_connections.device_id IS DISTINCT FROM device.id;
