-- What must always hold (design section 6): each query returns no row. Tests run them after every step that touches
-- the database; ops may run them at any time. I10 (no readable secret at rest) and I11 (nobody is refused for ever)
-- are shown by tests of their own. $1 is the event key.

-- name: provisioned_has_one_confirmed_user
-- I1: a PROVISIONED request has exactly one live generated user, and only then a confirmed one. (An administrator may
-- have deleted the user of a request only together with the request, or by reopening it.)
SELECT q.id, q.client_id, q.state, count(u.id) AS users, count(u.confirmed_at) AS confirmed
FROM provision_requests q
LEFT JOIN provision_runs r ON r.request_id = q.id
LEFT JOIN users u ON u.id = r.user_id
GROUP BY q.id
HAVING (q.state = 'PROVISIONED' AND (count(u.id) <> 1 OR count(u.confirmed_at) <> 1))
    OR (q.state <> 'PROVISIONED' AND count(u.confirmed_at) <> 0);

-- name: generated_user_has_request
-- I2: no generated user without its request, or an administrator's deletion of that request.
SELECT u.id, u.name FROM users u
WHERE u.kind = 'device'
    AND NOT EXISTS (SELECT FROM provision_runs r WHERE r.user_id = u.id)
    AND NOT EXISTS (SELECT FROM event_heads h WHERE h.kept_users ? u.name);

-- name: provisioned_left_only_by_administrators
-- I3: a request that was confirmed and is not PROVISIONED was reopened since.
SELECT q.id, q.client_id, q.state FROM provision_requests q
WHERE q.state <> 'PROVISIONED'
    AND (SELECT max(e.number) FROM events e WHERE e.request_id = q.id AND e.kind = 'confirmed')
        > coalesce((SELECT max(e.number) FROM events e WHERE e.request_id = q.id AND e.kind = 'request_reopened'), 0);

-- name: one_live_credential_per_request
-- I4: at most one generated user that may log in.
SELECT r.request_id, count(*) FROM provision_runs r JOIN users u ON u.id = r.user_id
WHERE NOT (r.ended_at IS NULL AND past_deadline(r.confirm_by, r.outage))
GROUP BY r.request_id HAVING count(*) > 1;

-- name: runs_begin_inside_the_window
-- I5: judged by the window and the database's clock of that moment, which the run's event holds.
SELECT e.request_id, e.detail FROM events e
WHERE e.kind = 'run_started'
    AND ((e.detail ->> 'decided_at')::timestamptz < (e.detail ->> 'activates_on')::timestamptz
        OR (e.detail ->> 'decided_at')::timestamptz >= (e.detail ->> 'expires_on')::timestamptz);

-- name: runs_begin_with_the_key
-- I6: no run begins without the right key where one is set.
SELECT e.request_id, e.detail FROM events e
WHERE e.kind = 'run_started' AND (e.detail ->> 'key_required')::boolean AND NOT (e.detail ->> 'key_proved')::boolean;

-- name: provision_user_has_request
-- I7: a provision user exists only while a request refers to it.
SELECT u.id, u.name FROM users u
WHERE u.kind = 'provision' AND NOT EXISTS (SELECT FROM provision_requests q WHERE q.user_id = u.id);

-- name: rows_belong_to_their_parents_account
-- I8: composite foreign keys say so; this says it again, over what they cannot reach.
SELECT 'runs' AS what, r.id FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id WHERE q.account_id <> r.account_id
UNION ALL
SELECT 'requests', q.id FROM provision_requests q JOIN users u ON u.id = q.user_id
WHERE u.account_id IS DISTINCT FROM q.account_id OR u.kind <> 'provision'
UNION ALL
SELECT 'runs'' users', r.id FROM provision_runs r JOIN users u ON u.id = r.user_id
WHERE u.account_id IS DISTINCT FROM r.account_id OR u.kind <> 'device'
UNION ALL
SELECT 'connections', c.id FROM device_connections c JOIN users u ON u.id IN (c.user_id, c.reserved_user_id)
WHERE u.account_id IS DISTINCT FROM c.account_id
UNION ALL
SELECT 'owned by the provision account', a.id FROM accounts a
WHERE a.kind = 'provision' AND EXISTS (SELECT FROM users u WHERE u.account_id = a.id);

-- name: every_move_has_an_event
-- I9: runs, confirmations and what administrators did have events (as far as they were not dropped behind a checkpoint).
WITH whole AS (
    SELECT q.id FROM provision_requests q
    WHERE NOT EXISTS (SELECT FROM event_checkpoints c WHERE c.request_id = q.id AND c.kind = 'cut')
)
SELECT r.request_id, r.number, r.state FROM provision_runs r JOIN whole w ON w.id = r.request_id
WHERE NOT EXISTS (
    SELECT FROM events e
    WHERE e.request_id = r.request_id AND e.kind = 'run_started' AND (e.detail ->> 'run')::integer = r.number
) OR (r.ended_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM events e
    WHERE e.request_id = r.request_id AND e.kind IN ('run_ended', 'confirmed') AND (e.detail ->> 'run')::integer = r.number
))
UNION ALL
SELECT w.id, NULL, NULL FROM whole w
WHERE NOT EXISTS (SELECT FROM events e WHERE e.request_id = w.id AND e.kind = 'request_created');

-- name: chains_are_whole
-- I9: each request's events are chained, with head and count on the request.
SELECT q.id, broken_event_number($1, q.id) FROM provision_requests q WHERE broken_event_number($1, q.id) IS NOT NULL;

-- name: answers_never_change
-- I12: a run's answer, opened, is the same whenever it is given.
SELECT e.request_id, e.detail ->> 'run' AS run, count(DISTINCT e.detail ->> 'digest') FROM events e
WHERE e.kind IN ('run_started', 'ask_repeated')
GROUP BY e.request_id, e.detail ->> 'run' HAVING count(DISTINCT e.detail ->> 'digest') > 1;
