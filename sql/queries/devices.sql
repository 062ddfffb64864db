-- The registry: devices and their connections.

-- name: list
-- Devices of the visible accounts with their connections; NULL leaves a filter out, NEVER is no status yet.
SELECT d.id, a.name AS account, d.client_id, d.display_name, d.enabled, d.version, d.created_at,
    coalesce(c.status, 'NEVER') AS status, c.status_at, c.last_login_at, c.last_seen_at, c.coupling,
    CASE c.coupling WHEN 'INHERITED' THEN a.device_connection_coupling ELSE c.coupling END AS coupling_in_effect,
    u.name AS username, r.name AS reserved_user, c.allow_user_change, b.name AS broker
FROM devices d
JOIN accounts a ON a.id = d.account_id
LEFT JOIN device_connections c ON c.account_id = d.account_id AND c.client_id = d.client_id
LEFT JOIN users u ON u.id = c.user_id
LEFT JOIN users r ON r.id = c.reserved_user_id
LEFT JOIN brokers b ON b.id = c.broker_id
WHERE ($1::bigint IS NULL OR d.account_id = $1) AND ($2::text IS NULL OR d.client_id = $2)
    AND ($3::text IS NULL OR coalesce(c.status, 'NEVER') = $3)
    AND ($4::text IS NULL OR strpos(lower(concat_ws(' ', d.client_id, d.display_name, u.name)), lower($4)) > 0)
ORDER BY a.name, d.client_id;

-- name: birth
-- What a device said of itself last.
SELECT birth, birth_at FROM devices WHERE account_id = $1 AND client_id = $2;

-- name: set_enabled
-- Let the device in, or keep it out.
UPDATE devices SET enabled = $2 WHERE id = $1;

-- name: lock
-- A device, held until what is done with it is committed.
SELECT id FROM devices WHERE account_id = $1 AND client_id = $2 FOR UPDATE;
