-- Runs: one execution of a request each.

-- name: lock_live
-- The run under way, held with its request.
SELECT r.id, r.account_id, r.request_id, r.number, r.wire, r.state, r.token_sha256, r.salt, r.user_id, r.username,
    r.device_id, r.made_device, r.answer, r.sealed_key, effective_deadline(r.confirm_by, r.outage) AS deadline,
    past_deadline(r.confirm_by, r.outage) AS past_deadline
FROM provision_runs r WHERE r.request_id = $1 AND r.ended_at IS NULL
FOR UPDATE;

-- name: past_deadline
-- Requests whose run was not confirmed in time.
SELECT q.client_id, q.account_id
FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id
WHERE r.ended_at IS NULL AND r.confirm_by <= statement_timestamp() AND past_deadline(r.confirm_by, r.outage)
ORDER BY r.confirm_by LIMIT 100;

-- name: list
-- Every run of a request, newest first.
SELECT number, wire, state, username, failure, created_at, ended_at,
    CASE WHEN ended_at IS NULL THEN effective_deadline(confirm_by, outage) END AS confirm_by
FROM provision_runs WHERE request_id = $1 ORDER BY number DESC;

-- name: generated_users
-- The generated users that a request's runs left behind, which may log in.
SELECT u.id, u.name FROM provision_runs r JOIN users u ON u.id = r.user_id WHERE r.request_id = $1 ORDER BY u.id;
