-- Factory credentials: passwords in rotation, holds, and what speaks for a leak.

-- name: uses
-- What was counted of these credentials since $2: distinct client ids without a request, wrong keys, distinct addresses.
SELECT user_id,
    count(DISTINCT what) FILTER (WHERE kind = 'unknown_client_id') AS unknown_client_ids,
    coalesce(sum(count) FILTER (WHERE kind = 'wrong_key'), 0)::bigint AS wrong_keys,
    count(DISTINCT what) FILTER (WHERE kind = 'address') AS addresses
FROM credential_uses WHERE user_id = ANY ($1::bigint[]) AND hour >= date_trunc('hour', statement_timestamp() - $2::interval / 2, 'UTC')
GROUP BY user_id;

-- name: old_password
-- Who still comes with the old password of an account's credential ($2: its name): how many clients, how many of them are yet to be provisioned
-- (with the first of them), and when one last did.
SELECT count(*) AS clients, count(*) FILTER (WHERE waiting) AS waiting, max(last_at) AS last_at,
    coalesce((array_agg(what ORDER BY what) FILTER (WHERE waiting))[1:10], '{}') AS first_waiting
FROM (
    SELECT x.what, max(x.last_at) AS last_at, EXISTS (
            SELECT FROM provision_requests q
            WHERE q.client_id = x.what AND q.user_id = x.user_id AND q.state IN ('OPEN', 'RUNNING')
        ) AS waiting
    FROM credential_uses x WHERE x.user_id = (SELECT id FROM users WHERE account_id = $1 AND name = $2) AND x.kind = 'old_password'
    GROUP BY x.what, x.user_id
) clients;

-- name: lock
-- A credential of an account by its name to the letter, held (not against requests that refer to it).
SELECT u.id, u.password_bcrypt FROM users u WHERE u.account_id = $1 AND u.name = $2 AND u.kind = 'provision'
FOR NO KEY UPDATE;

-- name: ensure
-- The row of a credential.
INSERT INTO credentials (user_id, account_id) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: held
-- The row of a credential, held until the transaction ends.
SELECT version, coalesce(overlap_until > clock_timestamp(), false) AS overlap_open, held_at, held_by, overlap_until,
    clock_timestamp() AS now
FROM credentials WHERE user_id = $1 FOR UPDATE;

-- name: set_password
-- Another password.
UPDATE users SET password_bcrypt = $2 WHERE id = $1;

-- name: rotate
-- The password before is good for so long yet (NULL: no longer at all).
UPDATE credentials
SET rotated_at = clock_timestamp(), overlap_until = clock_timestamp() + $3::interval,
    previous_password_bcrypt = CASE WHEN $3::interval IS NOT NULL THEN $2 END
WHERE user_id = $1;

-- name: finish
-- The password before is good no more.
UPDATE credentials SET previous_password_bcrypt = NULL, overlap_until = NULL WHERE user_id = $1;

-- name: forget_old_password
-- Who used it counts no more.
DELETE FROM credential_uses WHERE user_id = $1 AND kind = 'old_password';

-- name: hold
-- Its CONNECTs wait.
UPDATE credentials SET held_at = clock_timestamp(), held_by = $2 WHERE user_id = $1;

-- name: lift
-- Its CONNECTs are answered again.
UPDATE credentials SET held_at = NULL, held_by = NULL, suspected_at = NULL WHERE user_id = $1;

-- name: forget_signs
-- What spoke for a leak was looked into.
DELETE FROM credential_uses WHERE user_id = $1 AND kind <> 'old_password';

-- name: watch
-- From how many a leak is suspected, and whether that holds the credential; NULL leaves one as it is.
UPDATE credentials
SET most_unknown_client_ids = coalesce($2, most_unknown_client_ids), most_wrong_keys = coalesce($3, most_wrong_keys),
    most_addresses = coalesce($4, most_addresses), hold_on_leak = coalesce($5, hold_on_leak)
WHERE user_id = $1;

-- name: used_of_late
-- Credentials that something was counted of in the last hours, with how they are watched.
SELECT u.id, u.account_id, u.name, k.most_unknown_client_ids, k.most_wrong_keys, k.most_addresses,
    coalesce(k.hold_on_leak, false) AS hold_on_leak, k.held_at IS NOT NULL AS held, k.suspected_at, clock_timestamp() AS now,
    x.unknown_client_ids, x.wrong_keys, x.addresses
FROM (
    SELECT user_id,
        count(DISTINCT what) FILTER (WHERE kind = 'unknown_client_id') AS unknown_client_ids,
        coalesce(sum(count) FILTER (WHERE kind = 'wrong_key'), 0)::bigint AS wrong_keys,
        count(DISTINCT what) FILTER (WHERE kind = 'address') AS addresses
    FROM credential_uses WHERE hour >= date_trunc('hour', statement_timestamp() - $1::interval / 2, 'UTC') GROUP BY user_id
) x JOIN users u ON u.id = x.user_id LEFT JOIN credentials k ON k.user_id = u.id
ORDER BY u.id;

-- name: suspect
-- A leak was told of, and the credential held, if so set.
UPDATE credentials
SET suspected_at = clock_timestamp(), held_at = CASE WHEN $2 THEN clock_timestamp() ELSE held_at END,
    held_by = CASE WHEN $2 THEN 'leak watch' ELSE held_by END
WHERE user_id = $1;

-- name: overlaps_over
-- Credentials whose overlap is over, but for what is left of it in the row.
SELECT k.user_id AS id, k.account_id, u.name FROM credentials k JOIN users u ON u.id = k.user_id
WHERE k.overlap_until <= clock_timestamp() FOR UPDATE OF k SKIP LOCKED;

-- name: prune_uses
-- What nobody judges any more.
DELETE FROM credential_uses WHERE kind <> 'old_password' AND hour < statement_timestamp() - interval '1 day';

-- name: prune_guesses
-- Names that nobody guessed at of late, and of more than $1 those whose guesses are forgotten soonest.
DELETE FROM password_guesses
WHERE full_at <= clock_timestamp()
    OR username IN (SELECT username FROM password_guesses ORDER BY full_at DESC OFFSET $1::bigint);
