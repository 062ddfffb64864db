-- The switch that stops issuing, on the whole platform.

-- name: show
SELECT stopped_at, stopped_by FROM issuing;

-- name: stop
-- Nothing where it is stopped already.
UPDATE issuing SET stopped_at = clock_timestamp(), stopped_by = $1 WHERE stopped_at IS NULL RETURNING stopped_at;

-- name: start
-- Since when it was stopped; nothing where it was not.
UPDATE issuing SET stopped_at = NULL, stopped_by = NULL
FROM (SELECT stopped_at AS since FROM issuing FOR UPDATE) AS before
WHERE before.since IS NOT NULL RETURNING before.since;
