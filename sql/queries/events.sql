-- What happened.

-- name: append
-- One event; one with a request takes the next place in the request's chain.
SELECT append_event(
    $1, $2, $3, $4, $5, $6, $7, p_correlation_id => $8, p_reason => $9, p_detail => $10::jsonb
);

-- name: of_client
-- The events of a client id in the visible accounts, oldest first.
SELECT e.at, e.kind, a.name AS account, e.actor, e.source, e.correlation_id, e.reason, e.detail
FROM events e LEFT JOIN accounts a ON a.id = e.account_id
WHERE e.client_id = $1 AND ($2::bigint IS NULL OR e.account_id = $2)
ORDER BY e.at DESC LIMIT $3;

-- name: refusals_of_client
-- Refused CONNECTs and topic checks of a client id, by the minute.
SELECT r.last_at AS at, r.broker, r.username, r.reason, r.count, r.minute, r.last_topic, r.last_access, a.name AS account
FROM refusals r LEFT JOIN accounts a ON a.id = r.account_id
WHERE r.client_id = $1 AND ($2::bigint IS NULL OR r.account_id = $2)
ORDER BY r.last_at DESC LIMIT $3;

-- name: connection_of_client
-- When a client id last logged in at an account broker, and as whom.
SELECT c.last_login_at AS at, a.name AS account, u.name AS username, b.name AS broker
FROM device_connections c
JOIN accounts a ON a.id = c.account_id
LEFT JOIN users u ON u.id = c.user_id
LEFT JOIN brokers b ON b.id = c.broker_id
WHERE c.client_id = $1 AND ($2::bigint IS NULL OR c.account_id = $2) AND c.last_login_at IS NOT NULL;

-- name: count_refusals
-- Counted refusals of the last moments.
SELECT count_refusals($1::jsonb);

-- name: prune_refusals
-- Old counters go, and the oldest beyond a number of rows.
DELETE FROM refusals WHERE minute < clock_timestamp() - $1::interval
    OR minute < (SELECT minute FROM refusals ORDER BY minute DESC OFFSET $2 LIMIT 1);
