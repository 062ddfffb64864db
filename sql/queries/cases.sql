-- Messages of devices: what each is decided from, and what it leaves behind (migration 0020).

-- name: lock
-- The request that a message concerns and its run under way, both held, with what it is decided from. (Of a stop that
-- comes while it waits the insertion of a run tells.)
SELECT c.*, (SELECT i.stopped_at IS NOT NULL FROM issuing i) AS issuing_stopped FROM lock_case($1) c;

-- name: write
-- What a message leaves behind.
SELECT write_case($1, $2, $3, $4, $5, $6, $7, $8::jsonb);

-- name: begin_run
-- A good ask's run with all that comes with it.
SELECT run_id, user_id, device_id, made
FROM begin_run($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11, $12::jsonb, $13, $14, $15::jsonb);

-- name: end_run
-- A run ends without a login.
SELECT end_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb);

-- name: record_failure
-- A message that could be read but not handled; returns the time.
SELECT clock_timestamp() FROM append_event(
    $1, 'message_failed', NULL, NULL, $2, $3, $4, p_correlation_id => $5, p_reason => 'server_error', p_detail => $6::jsonb
);
