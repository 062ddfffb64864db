-- What a change is bound to: the version that its author saw; and creations that are done once.

-- name: request
-- A provision request's version, held.
SELECT version FROM provision_requests WHERE id = $1 FOR UPDATE;

-- name: account
-- An account's.
SELECT version FROM accounts WHERE id = $1 FOR UPDATE;

-- name: device
-- A device's.
SELECT version FROM devices WHERE id = $1 FOR UPDATE;

-- name: connection
-- A device connection's.
SELECT version FROM device_connections WHERE id = $1 FOR UPDATE;

-- name: user
-- A user's.
SELECT version FROM users WHERE id = $1 FOR UPDATE;

-- name: credential
-- A factory credential's; 0: nothing was ever done to it.
SELECT coalesce((SELECT version FROM credentials WHERE user_id = $1 FOR UPDATE), 0);

-- name: broker
-- A broker's.
SELECT version FROM brokers WHERE id = $1 FOR UPDATE;

-- name: begin_once
-- The first one with this key; nothing where there was one (a transaction under way is waited for).
INSERT INTO idempotency_keys (token_id, account_id, key_sha256, request_sha256)
VALUES ($1, NULLIF(current_setting('app.account_id', true), '')::bigint, $2, $3)
ON CONFLICT DO NOTHING RETURNING token_id;

-- name: done_before
-- What the first one with this key asked for.
SELECT request_sha256 FROM idempotency_keys WHERE token_id = $1 AND key_sha256 = $2;

-- name: prune_once
-- Keys are remembered for a day.
DELETE FROM idempotency_keys WHERE created_at < clock_timestamp() - interval '1 day';
