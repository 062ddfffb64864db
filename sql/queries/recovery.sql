-- After a restore: what the journal outside of the database is compared with.

-- name: read_journal
-- What there is to write since a position in a cluster ($1, $2).
SELECT read_access_journal($1, $2);

-- name: prune_journal
-- Written long ago.
DELETE FROM access_journal WHERE at < clock_timestamp() - $1::interval;

-- name: standing
-- What has these names here, of whatever kind.
SELECT 'account' AS kind, NULL AS account, name, enabled, created_at AS made, version FROM accounts WHERE name = ANY ($1)
UNION ALL
SELECT 'broker', NULL, name, true, created_at, version FROM brokers WHERE name = ANY ($1)
UNION ALL
SELECT 'service', a.name, b.name, true, NULL, NULL
FROM broker_accounts s JOIN brokers b ON b.id = s.broker_id JOIN accounts a ON a.id = s.account_id WHERE b.name = ANY ($1)
UNION ALL
SELECT 'user', a.name, u.name, u.enabled, u.created_at, u.version
FROM users u LEFT JOIN accounts a ON a.id = u.account_id WHERE u.name = ANY ($1)
UNION ALL
SELECT 'credential', a.name, u.name, c.held_at IS NULL, NULL, NULL
FROM users u JOIN accounts a ON a.id = u.account_id LEFT JOIN credentials c ON c.user_id = u.id
WHERE u.kind = 'provision' AND u.name = ANY ($1)
UNION ALL
SELECT 'device', a.name, d.client_id, d.enabled, d.created_at, d.version
FROM devices d JOIN accounts a ON a.id = d.account_id WHERE d.client_id = ANY ($1)
UNION ALL
SELECT 'request', a.name, q.client_id, q.enabled, q.created_at, q.version
FROM provision_requests q JOIN accounts a ON a.id = q.account_id WHERE q.client_id = ANY ($1)
UNION ALL
SELECT 'token', a.name, t.name, true, t.created_at, NULL
FROM api_tokens t LEFT JOIN accounts a ON a.id = t.account_id WHERE t.name = ANY ($1);

-- name: request_states
-- The requests of these client ids.
SELECT a.name AS account, q.client_id, q.state FROM provision_requests q JOIN accounts a ON a.id = q.account_id
WHERE q.client_id = ANY ($1);

-- name: refused_devices
-- Who came to an account broker since then with a username that nobody has here.
SELECT r.client_id, r.username, sum(r.count)::bigint AS times, max(r.last_at) AS last_at
FROM refusals r JOIN brokers b ON b.name = r.broker AND b.role = 'account'
WHERE r.reason = 'unknown_user' AND r.last_at > $1 AND r.client_id <> '*'
GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 10000;

-- name: live_run_of_user
-- The client id whose run under way made this user, if there is one.
SELECT q.client_id FROM provision_runs r JOIN users u ON u.id = r.user_id JOIN provision_requests q ON q.id = r.request_id
WHERE u.name = $1 AND r.ended_at IS NULL;
