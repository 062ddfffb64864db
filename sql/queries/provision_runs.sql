-- Runs: one execution of a request each.

-- name: lock_live
-- The run under way, held with its request.
SELECT r.id, r.account_id, r.request_id, r.number, r.wire, r.state, r.token_sha256, r.salt, r.user_id, r.username,
    r.device_id, r.made_device, r.answer, r.sealed_key, effective_deadline(r.confirm_by, r.outage) AS deadline,
    past_deadline(r.confirm_by, r.outage) AS past_deadline
FROM provision_runs r WHERE r.request_id = $1 AND r.ended_at IS NULL
FOR UPDATE;

-- name: next_number
-- Runs are numbered from 1 within their request, which is locked.
SELECT coalesce(max(number), 0) + 1 FROM provision_runs WHERE request_id = $1;

-- name: insert
-- A new run. Its deadline is $12 from now, on a clock that stands still while there are no hooks.
INSERT INTO provision_runs (
    account_id, request_id, number, wire, token_sha256, salt, user_id, username, device_id, made_device, answer, confirm_by, outage
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb, clock_timestamp() + $12, outage())
RETURNING id;

-- name: set_state
-- A move of a live run that goes on.
UPDATE provision_runs SET state = $2 WHERE id = $1;

-- name: keep_key
-- The activation key that was asked with, sealed; a trigger forgets it as the run ends.
UPDATE provision_runs SET sealed_key = $2 WHERE id = $1;

-- name: extend
-- The deadline is at least $2 from now; never nearer than it was.
UPDATE provision_runs
SET confirm_by = greatest(effective_deadline(confirm_by, outage), clock_timestamp() + $2), outage = outage()
WHERE id = $1
RETURNING confirm_by;

-- name: end
-- The run is over: its salt goes, and with it the last way to compute its password.
UPDATE provision_runs SET state = $2, failure = $3, salt = NULL, ended_at = clock_timestamp() WHERE id = $1;

-- name: past_deadline
-- Requests whose run was not confirmed in time.
SELECT q.client_id, q.account_id
FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id
WHERE r.ended_at IS NULL AND r.confirm_by <= clock_timestamp() AND past_deadline(r.confirm_by, r.outage)
ORDER BY r.confirm_by LIMIT 100;

-- name: list
-- Every run of a request, newest first.
SELECT number, wire, state, username, failure, created_at, ended_at,
    CASE WHEN ended_at IS NULL THEN effective_deadline(confirm_by, outage) END AS confirm_by
FROM provision_runs WHERE request_id = $1 ORDER BY number DESC;

-- name: generated_users
-- The generated users that a request's runs left behind, which may log in.
SELECT u.id, u.name FROM provision_runs r JOIN users u ON u.id = r.user_id WHERE r.request_id = $1 ORDER BY u.id;
