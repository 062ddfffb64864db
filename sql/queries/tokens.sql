-- Tokens of the administrators' API.

-- name: find
-- Whose token it is, while it may be used; an account's only while the account may.
SELECT t.id, t.name, t.role, a.name AS account, a.id AS account_id,
    t.last_used_at IS NULL OR t.last_used_at < clock_timestamp() - interval '1 minute' AS stale
FROM api_tokens t LEFT JOIN accounts a ON a.id = t.account_id
WHERE t.token_sha256 = $1 AND t.expires_on > clock_timestamp() AND coalesce(a.enabled, true);

-- name: set_used
-- It was used, now.
UPDATE api_tokens SET last_used_at = clock_timestamp() WHERE id = $1;

-- name: insert
-- A new one; $6 is how long it is good for.
INSERT INTO api_tokens (account_id, name, role, token_sha256, created_by, expires_on)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6::interval) RETURNING expires_on;

-- name: list
-- Those of one account, or the platform's own.
SELECT name, role, expires_on, expires_on <= clock_timestamp() AS expired, last_used_at, created_at, created_by
FROM api_tokens WHERE account_id IS NOT DISTINCT FROM $1 ORDER BY name;

-- name: revoke
-- It is good no more.
DELETE FROM api_tokens WHERE account_id IS NOT DISTINCT FROM $1 AND name = $2 RETURNING role;
