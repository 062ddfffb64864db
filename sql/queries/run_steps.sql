-- The steps of runs on Kura's wire. Their run and its request are locked by who calls these.

-- name: of_run
-- Every step of a run, in order.
SELECT position, kind, state, request_id, job_id, retries, sent_at, answered_at
FROM run_steps WHERE run_id = $1 ORDER BY position;

-- name: insert
-- A step that waits for its turn.
INSERT INTO run_steps (account_id, run_id, position, kind, request_id, job_id) VALUES ($1, $2, $3, $4, $5, $6);

-- name: set_sent
-- The step goes out, now; $3 to $5 are its ids and the retries used up.
UPDATE run_steps
SET state = 'SENT', sent_at = clock_timestamp(), request_id = $3, job_id = $4, retries = $5
WHERE run_id = $1 AND position = $2;

-- name: set_heard
-- The device said something about the step that counts.
UPDATE run_steps SET state = $3, answered_at = clock_timestamp() WHERE run_id = $1 AND position = $2;
