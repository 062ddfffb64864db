-- Provision requests and their applications.

-- name: lock_unless_locked
-- Hold the request, or leave it to who works on it just now.
SELECT q.id FROM provision_requests q WHERE q.client_id = $1 AND q.account_id = $2 FOR UPDATE SKIP LOCKED;

-- name: lock_own
-- A request of the account at hand, by client id, held until what is done with it is committed.
SELECT q.id, q.account_id, a.name AS account, a.enabled AS account_enabled, q.client_id, q.user_id,
    q.activation_key_sha256, q.provision_endpoint, q.broker_id, q.activates_on, q.expires_on, q.reserve_user,
    q.device_connection_coupling, q.additional_device_configuration, q.maximum_attempts, q.attempts, q.enabled, q.state,
    q.start_on_birth, q.key_failures, q.key_failures_since, q.version, q.created_at, q.created_by, q.modified_at, q.modified_by,
    EXISTS (SELECT FROM brokers b WHERE b.id = q.broker_id AND q.provision_endpoint = ANY (b.endpoints)) AS endpoint_served
FROM provision_requests q JOIN accounts a ON a.id = q.account_id
WHERE q.client_id = $1 AND q.account_id = $2
FOR UPDATE OF q;

-- name: now
-- The clock that windows and deadlines are judged by, asked after the lock: waiting for it takes time too.
SELECT clock_timestamp();

-- name: applications
-- What to install, in order.
SELECT name, application_version AS version, url, sha256, size
FROM provision_applications WHERE request_id = $1 ORDER BY position;

-- name: delete_applications
-- A request's applications are replaced as a whole.
DELETE FROM provision_applications WHERE request_id = $1;

-- name: insert_application
-- One package, at its place.
INSERT INTO provision_applications (account_id, request_id, position, name, application_version, url, sha256, size)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: set_state
-- A move of the request (states.py), with the attempts made so far and whether it stays enabled.
UPDATE provision_requests
SET state = $2, attempts = $3, enabled = $4, modified_at = clock_timestamp(), modified_by = $5
WHERE id = $1;

-- name: insert
-- A new request, OPEN.
INSERT INTO provision_requests (
    account_id, client_id, user_id, activation_key_sha256, provision_endpoint, broker_id, activates_on, expires_on,
    reserve_user, device_connection_coupling, additional_device_configuration, maximum_attempts, enabled, start_on_birth,
    created_by, modified_by
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb, $12, $13, $14, $15, $15)
RETURNING id;

-- name: update
-- What an administrator may change.
UPDATE provision_requests
SET activation_key_sha256 = $2, provision_endpoint = $3, broker_id = $4, activates_on = $5, expires_on = $6,
    reserve_user = $7, device_connection_coupling = $8, additional_device_configuration = $9::jsonb, maximum_attempts = $10,
    start_on_birth = $11, modified_at = clock_timestamp(), modified_by = $12
WHERE id = $1;

-- name: delete
-- The request with its runs and applications; its events stay.
DELETE FROM provision_requests WHERE id = $1;

-- name: names_taken
-- Whether another account, or another kind of user, has a name already (the answer does not say who).
SELECT client_id_taken, username_taken FROM names_taken($1, $2, $3);

-- name: list
-- Requests of the visible accounts, with what people want to see of them; NULL leaves a filter out.
SELECT q.id, q.account_id, a.name AS account, q.client_id, u.name AS provision_username,
    q.activation_key_sha256 IS NOT NULL AS activation_key, q.provision_endpoint, q.activates_on, q.expires_on, q.reserve_user,
    q.device_connection_coupling, q.additional_device_configuration,
    coalesce((
        SELECT json_agg(json_build_object(
            'name', p.name, 'version', p.application_version, 'url', p.url, 'sha256', p.sha256, 'size', p.size
        ) ORDER BY p.position) FROM provision_applications p WHERE p.request_id = q.id
    ), '[]') AS applications,
    q.maximum_attempts, q.attempts, q.enabled, q.state, q.start_on_birth,
    q.created_at, q.created_by, q.modified_at, q.modified_by, q.version, clock_timestamp() AS now,
    r.number AS run_number, r.state AS run_state, r.wire AS run_wire, r.username AS run_username,
    r.created_at AS run_created_at, r.ended_at AS run_ended_at, r.failure AS run_failure,
    CASE WHEN r.ended_at IS NULL AND r.id IS NOT NULL THEN effective_deadline(r.confirm_by, r.outage) END AS confirm_by
FROM provision_requests q
JOIN accounts a ON a.id = q.account_id
JOIN users u ON u.id = q.user_id
LEFT JOIN LATERAL (SELECT * FROM provision_runs r WHERE r.request_id = q.id ORDER BY r.number DESC LIMIT 1) r ON true
WHERE ($1::bigint IS NULL OR q.account_id = $1) AND ($2::text[] IS NULL OR q.client_id = ANY ($2))
ORDER BY q.client_id, q.account_id;

-- name: may_connect
-- Whether any enabled request lets this client id in at the provision broker.
SELECT EXISTS (
    SELECT FROM provision_requests q JOIN accounts a ON a.id = q.account_id WHERE q.client_id = $1 AND q.enabled AND a.enabled
);
