-- Lists that may be long, of one account ($1; NULL: of all). Each takes the same filters, NULL leaves one out: client ids
-- (of users and credentials: names), statuses, kinds, a text, since, until. operations/lists.py puts order and page
-- around them.

-- name: requests
-- Provision requests, with the word that people see for each (core/states.py: shown_status) and the last run.
SELECT q.*, r.number AS run_number, r.state AS run_state, r.wire AS run_wire, r.username AS run_username,
    r.created_at AS run_created_at, r.ended_at AS run_ended_at, r.failure AS run_failure,
    CASE WHEN r.ended_at IS NULL AND r.id IS NOT NULL THEN effective_deadline(r.confirm_by, r.outage) END AS confirm_by
FROM (
    SELECT q.id, a.name AS account, q.client_id, u.name AS provision_username,
        q.activation_key_sha256 IS NOT NULL AS activation_key, q.provision_endpoint, q.activates_on, q.expires_on,
        q.reserve_user, q.device_connection_coupling, q.maximum_attempts, q.attempts, q.enabled, q.state,
        q.start_on_birth, q.created_at, q.created_by, q.modified_at, q.modified_by, q.version,
        CASE
            WHEN q.state <> 'OPEN' THEN q.state
            WHEN NOT q.enabled THEN 'DISABLED'
            WHEN q.expires_on <= statement_timestamp() THEN 'EXPIRED'
            WHEN q.activates_on > statement_timestamp() THEN 'SCHEDULED'
            ELSE 'OPEN'
        END AS status
    FROM provision_requests q JOIN accounts a ON a.id = q.account_id JOIN users u ON u.id = q.user_id
    WHERE ($1::bigint IS NULL OR q.account_id = $1)
) q
LEFT JOIN LATERAL (SELECT * FROM provision_runs r WHERE r.request_id = q.id ORDER BY r.number DESC LIMIT 1) r ON true
WHERE ($2::text[] IS NULL OR q.client_id = ANY ($2)) AND ($3::text[] IS NULL OR q.status = ANY ($3))
    AND $4::text[] IS NULL
    AND ($5::text IS NULL OR strpos(lower(q.client_id || ' ' || q.provision_username), lower($5)) > 0)
    AND ($6::timestamptz IS NULL OR q.created_at >= $6) AND ($7::timestamptz IS NULL OR q.created_at < $7);

-- name: devices
-- Devices with their connections; NEVER is no status yet.
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
WHERE ($1::bigint IS NULL OR d.account_id = $1) AND ($2::text[] IS NULL OR d.client_id = ANY ($2))
    AND ($3::text[] IS NULL OR coalesce(c.status, 'NEVER') = ANY ($3)) AND $4::text[] IS NULL
    AND ($5::text IS NULL OR strpos(lower(concat_ws(' ', d.client_id, d.display_name, u.name)), lower($5)) > 0)
    AND ($6::timestamptz IS NULL OR d.created_at >= $6) AND ($7::timestamptz IS NULL OR d.created_at < $7);

-- name: users
-- Users, never a secret.
SELECT u.id, a.name AS account, u.name, u.kind, u.enabled, u.confirmed_at, u.version, u.created_at,
    (SELECT coalesce(array_agg(permission ORDER BY permission), '{}') FROM user_permissions p WHERE p.user_id = u.id) AS permissions
FROM users u LEFT JOIN accounts a ON a.id = u.account_id
WHERE ($1::bigint IS NULL OR u.account_id = $1) AND ($2::text[] IS NULL OR u.name = ANY ($2)) AND $3::text[] IS NULL
    AND ($4::text[] IS NULL OR u.kind = ANY ($4))
    AND ($5::text IS NULL OR strpos(lower(u.name), lower($5)) > 0)
    AND ($6::timestamptz IS NULL OR u.created_at >= $6) AND ($7::timestamptz IS NULL OR u.created_at < $7);

-- name: credentials
-- Factory credentials (client ids: their names), never a secret.
SELECT u.id, a.name AS account, u.name, u.enabled, u.created_at,
    (SELECT count(*) FROM provision_requests q WHERE q.user_id = u.id) AS requests,
    (SELECT count(*) FROM provision_requests q WHERE q.user_id = u.id AND q.activation_key_sha256 IS NULL) AS requests_without_key,
    k.rotated_at, k.overlap_until, coalesce(k.overlap_until > clock_timestamp(), false) AS overlap_open,
    k.held_at, k.held_by, k.suspected_at, coalesce(k.hold_on_leak, false) AS hold_on_leak,
    k.most_unknown_client_ids, k.most_wrong_keys, k.most_addresses, coalesce(k.version, 0) AS version
FROM users u JOIN accounts a ON a.id = u.account_id LEFT JOIN credentials k ON k.user_id = u.id
WHERE u.account_id = $1 AND u.kind = 'provision' AND ($2::text[] IS NULL OR u.name = ANY ($2))
    AND $3::text[] IS NULL AND $4::text[] IS NULL
    AND ($5::text IS NULL OR strpos(lower(u.name), lower($5)) > 0)
    AND ($6::timestamptz IS NULL OR u.created_at >= $6) AND ($7::timestamptz IS NULL OR u.created_at < $7);

-- name: events
-- What happened in the account.
SELECT e.id, e.at, e.kind, a.name AS account, e.client_id, e.actor, e.source, e.correlation_id, e.reason, e.detail, e.number
FROM events e LEFT JOIN accounts a ON a.id = e.account_id
WHERE ($1::bigint IS NULL OR e.account_id = $1) AND ($2::text[] IS NULL OR e.client_id = ANY ($2)) AND $3::text[] IS NULL
    AND ($4::text[] IS NULL OR e.kind = ANY ($4))
    AND ($5::text IS NULL OR strpos(lower(concat_ws(' ', e.kind, e.client_id, e.actor, e.reason, e.correlation_id, e.detail::text)), lower($5)) > 0)
    AND ($6::timestamptz IS NULL OR e.at >= $6) AND ($7::timestamptz IS NULL OR e.at < $7);

-- name: runs
-- The runs of a request, the last one first, without what they answered.
SELECT r.number, r.state, r.wire, r.username, r.created_at, r.ended_at, r.failure,
    CASE WHEN r.ended_at IS NULL THEN effective_deadline(r.confirm_by, r.outage) END AS confirm_by,
    coalesce((
        SELECT json_agg(json_build_object('state', e.detail ->> 'state', 'at', e.at) ORDER BY e.number)
        FROM events e WHERE e.request_id = r.request_id AND e.kind IN ('run_moved', 'run_ended')
            AND (e.detail ->> 'run')::bigint = r.number
    ), '[]') AS states,
    coalesce((
        SELECT json_agg(json_build_object(
            'kind', s.kind, 'state', s.state, 'retries', s.retries, 'sent_at', s.sent_at, 'answered_at', s.answered_at
        ) ORDER BY s.position) FROM run_steps s WHERE s.run_id = r.id
    ), '[]') AS steps
FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id
WHERE q.account_id = $1 AND q.client_id = $2 ORDER BY r.number DESC;
