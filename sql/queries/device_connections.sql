-- Device connections: who had a client id last, and who may have it.

-- name: show
-- A connection of the account at hand, with what people want to see of it.
SELECT a.name AS account, c.client_id, c.device_id IS NOT NULL AS device, c.coupling,
    CASE c.coupling WHEN 'INHERITED' THEN a.device_connection_coupling ELSE c.coupling END AS coupling_in_effect,
    u.name AS username, r.name AS reserved_user, c.allow_user_change, c.status, c.status_at, b.name AS broker, c.last_login_at,
    c.last_seen_at, c.version, c.created_at
FROM device_connections c
JOIN accounts a ON a.id = c.account_id
LEFT JOIN users u ON u.id = c.user_id
LEFT JOIN users r ON r.id = c.reserved_user_id
LEFT JOIN brokers b ON b.id = c.broker_id
WHERE c.account_id = $1 AND c.client_id = $2;

-- name: lock
-- A connection, held until what is done with it is committed.
SELECT id, coupling, reserved_user_id, allow_user_change
FROM device_connections WHERE account_id = $1 AND client_id = $2 FOR UPDATE;

-- name: lock_device
-- A device, held until what is done with it is committed.
SELECT id FROM devices WHERE account_id = $1 AND client_id = $2 FOR UPDATE;

-- name: update
-- What an administrator may change.
UPDATE device_connections SET coupling = $2, reserved_user_id = $3, allow_user_change = $4 WHERE id = $1;

-- name: delete
-- Nobody had this client id, and nobody is expected to.
DELETE FROM device_connections WHERE id = $1;

-- name: delete_device
-- Out of the registry.
DELETE FROM devices WHERE id = $1;

-- name: request_state
-- How far the client id's provision request is, if there is one; read after the connection was locked.
SELECT state FROM provision_requests WHERE account_id = $1 AND client_id = $2;

-- name: own_user
-- The generated user of a provisioned client id.
SELECT u.name
FROM provision_requests q JOIN provision_runs r ON r.request_id = q.id JOIN users u ON u.id = r.user_id
WHERE q.account_id = $1 AND q.client_id = $2;

-- name: candidate
-- A user that a connection is to be reserved for: for which request it was generated, for whom it is reserved already.
SELECT u.kind,
    (
        SELECT q.client_id FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id WHERE r.user_id = u.id
    ) AS generated_for,
    (
        SELECT c.client_id FROM device_connections c
        WHERE c.account_id = u.account_id AND c.reserved_user_id = u.id AND c.client_id <> $2
    ) AS reserved_for
FROM users u WHERE u.id = $1;

-- name: kept_users
-- The generated users of a client id that outlived their request, which was deleted.
SELECT u.id, u.name
FROM users u
WHERE u.account_id = $1 AND u.kind = 'device' AND NOT EXISTS (SELECT FROM provision_runs r WHERE r.user_id = u.id)
    AND EXISTS (
        SELECT FROM event_heads h WHERE h.account_id = $1 AND h.client_id = $2 AND h.kept_users ? u.name
    )
ORDER BY u.id;

-- name: accounts_of
-- The accounts in which a client id has a device or a connection.
SELECT a.name FROM accounts a
WHERE EXISTS (SELECT FROM devices d WHERE d.account_id = a.id AND d.client_id = $1)
    OR EXISTS (SELECT FROM device_connections c WHERE c.account_id = a.id AND c.client_id = $1)
ORDER BY a.name;
