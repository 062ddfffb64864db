-- What happened.

-- name: append
-- One event; one with a request takes the next place in the request's chain.
SELECT append_event(
    $1, $2, $3, $4, $5, $6, $7, p_correlation_id => $8, p_reason => $9, p_detail => $10::jsonb
);

-- name: of_client
-- The newest events of a client id.
SELECT e.id, e.at, e.kind, e.client_id, a.name AS account, e.actor, e.correlation_id, e.reason, e.detail
FROM events e LEFT JOIN accounts a ON a.id = e.account_id
WHERE e.client_id = $1 AND ($2::bigint IS NULL OR e.account_id = $2)
    AND ($3::timestamptz IS NULL OR e.at >= $3) AND ($4::timestamptz IS NULL OR e.at < $4)
ORDER BY e.at DESC, e.id DESC LIMIT $5;

-- name: of_correlation_id
-- The events that a correlation id stands in.
SELECT e.id, e.at, e.kind, e.client_id, a.name AS account, e.actor, e.correlation_id, e.reason, e.detail
FROM events e LEFT JOIN accounts a ON a.id = e.account_id
WHERE e.correlation_id = $1 AND ($2::bigint IS NULL OR e.account_id = $2)
    AND ($3::timestamptz IS NULL OR e.at >= $3) AND ($4::timestamptz IS NULL OR e.at < $4)
ORDER BY e.at DESC, e.id DESC LIMIT $5;

-- name: refusals_of_client
-- The newest refused CONNECTs and topic checks of a client id, by the minute; by the hour where its usernames were
-- too many to be kept.
SELECT coalesce(r.first_at, r.minute) AS at, r.last_at AS until, r.broker, r.username, r.reason, r.count, r.last_topic,
    r.last_access, a.name AS account
FROM refusals r LEFT JOIN accounts a ON a.id = r.account_id
WHERE r.client_id = $1 AND r.client_id <> '*' AND ($2::bigint IS NULL OR r.account_id = $2)
    AND ($3::timestamptz IS NULL OR r.last_at >= $3)
    AND ($4::timestamptz IS NULL OR coalesce(r.first_at, r.minute) < $4)
ORDER BY r.minute DESC, r.last_at DESC LIMIT $5;

-- name: others_refused
-- Refusals whose client ids were not kept, where this client id may be among them: of nobody's usernames, and of those
-- that it is known to have used.
SELECT min(coalesce(r.first_at, r.minute)) AS at, max(r.last_at) AS until, r.broker, r.username, r.reason,
    sum(r.count)::bigint AS count, NULL AS last_topic, NULL AS last_access, a.name AS account
FROM refusals r LEFT JOIN accounts a ON a.id = r.account_id
WHERE r.client_id = '*' AND ($2::bigint IS NULL OR r.account_id = $2)
    AND ($3::timestamptz IS NULL OR r.last_at >= $3)
    AND ($4::timestamptz IS NULL OR coalesce(r.first_at, r.minute) < $4)
    AND (
        r.username = '*'
        OR r.username IN (SELECT k.username FROM refusals k WHERE k.client_id = $1)
        OR lower(r.username) IN (
            SELECT lower(u.name) FROM provision_requests q JOIN users u ON u.id = q.user_id WHERE q.client_id = $1
        )
    )
GROUP BY r.broker, r.username, r.reason, a.name
ORDER BY max(r.last_at) DESC LIMIT $5;

-- name: logins_of_client
-- The newest allowed CONNECTs of a client id, by the hour.
SELECT l.first_at AS at, l.last_at AS until, l.broker, l.username, l.count, a.name AS account
FROM logins l LEFT JOIN accounts a ON a.id = l.account_id
WHERE l.client_id = $1 AND l.client_id <> '*' AND ($2::bigint IS NULL OR l.account_id = $2)
    AND ($3::timestamptz IS NULL OR l.last_at >= $3) AND ($4::timestamptz IS NULL OR l.first_at < $4)
ORDER BY l.hour DESC, l.last_at DESC LIMIT $5;

-- name: steps_of_client
-- The newest steps of Kura runs that the device answered.
SELECT s.answered_at AS at, s.kind, s.state, s.position, r.number AS run, a.name AS account
FROM provision_requests q
JOIN accounts a ON a.id = q.account_id
JOIN provision_runs r ON r.request_id = q.id
JOIN run_steps s ON s.run_id = r.id
WHERE q.client_id = $1 AND ($2::bigint IS NULL OR q.account_id = $2) AND s.answered_at IS NOT NULL
    AND ($3::timestamptz IS NULL OR s.answered_at >= $3) AND ($4::timestamptz IS NULL OR s.answered_at < $4)
ORDER BY s.answered_at DESC, s.position DESC LIMIT $5;

-- name: connection_of_client
-- When a client id last logged in at an account broker, and as whom.
SELECT c.last_login_at AS at, a.name AS account, u.name AS username, b.name AS broker
FROM device_connections c
JOIN accounts a ON a.id = c.account_id
LEFT JOIN users u ON u.id = c.user_id
LEFT JOIN brokers b ON b.id = c.broker_id
WHERE c.client_id = $1 AND ($2::bigint IS NULL OR c.account_id = $2) AND c.last_login_at IS NOT NULL
    AND ($3::timestamptz IS NULL OR c.last_login_at >= $3) AND ($4::timestamptz IS NULL OR c.last_login_at < $4)
ORDER BY c.last_login_at DESC LIMIT $5;

-- name: count_refusals
-- Counted refusals of the last moments.
SELECT count_refusals($1::jsonb);

-- name: prune_refusals
-- Old counters go, and beyond a number of rows those of the largest shares.
SELECT prune_refusals($1, $2);

-- name: prune_logins
-- Old counters go, and the oldest beyond a number of rows.
DELETE FROM logins WHERE ctid IN (
    SELECT ctid FROM logins WHERE hour < statement_timestamp() - $1::interval
    UNION ALL (SELECT ctid FROM logins ORDER BY hour DESC OFFSET $2)
);
