-- Users of every kind and their permissions.

-- name: insert_provision
-- A factory credential.
INSERT INTO users (account_id, name, kind, password_bcrypt) VALUES ($1, $2, 'provision', $3) RETURNING id;

-- name: insert_person
-- A person's user.
INSERT INTO users (account_id, name, kind, secret_sha256) VALUES ($1, $2, 'person', $3) RETURNING id;

-- name: put_service
-- One of our own users; its password replaces the one before.
INSERT INTO users (name, kind, secret_sha256) VALUES ($1, 'service', $2)
ON CONFLICT (lower(name COLLATE "C")) DO UPDATE SET secret_sha256 = excluded.secret_sha256;

-- name: grant
-- One more permission; having it already is no change.
INSERT INTO user_permissions (account_id, user_id, permission) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: revoke_all_but
-- The user keeps these permissions only.
DELETE FROM user_permissions WHERE user_id = $1 AND permission <> ALL ($2::text[]);

-- name: find
-- A user of an account by name, with what creation and deletion need to know.
SELECT u.id, u.account_id, u.name, u.kind, u.enabled, u.password_bcrypt, u.version, u.confirmed_at, u.created_at,
    (SELECT count(*) FROM provision_requests q WHERE q.account_id = u.account_id AND q.user_id = u.id) AS requests,
    (
        SELECT count(*) FROM provision_requests q
        WHERE q.account_id = u.account_id AND q.user_id = u.id AND q.activation_key_sha256 IS NULL
    ) AS requests_without_key,
    (SELECT coalesce(array_agg(permission ORDER BY permission), '{}') FROM user_permissions p WHERE p.user_id = u.id) AS permissions
FROM users u WHERE lower(u.name COLLATE "C") = lower($1 COLLATE "C") AND u.account_id = $2;

-- name: hold
-- Keep a factory credential as it is until a request refers to it; no row: it changed or went.
SELECT id FROM users WHERE id = $1 AND version = $2 AND kind = 'provision' FOR KEY SHARE;

-- name: lock
-- Keep a user until what is done with it is committed.
SELECT id FROM users WHERE id = $1 FOR UPDATE;

-- name: set_enabled
-- Let in, or keep out.
UPDATE users SET enabled = $2 WHERE id = $1;

-- name: delete
-- The user and its permissions.
DELETE FROM users WHERE id = $1;

-- name: delete_unused_provision
-- A factory credential exists only while a request refers to it (I7).
DELETE FROM users u
WHERE u.id = $1 AND u.kind = 'provision'
    AND NOT EXISTS (SELECT FROM provision_requests q WHERE q.account_id = u.account_id AND q.user_id = u.id);

-- name: has_request
-- Whether a generated user still has the request it was generated for.
SELECT EXISTS (SELECT FROM provision_runs r WHERE r.user_id = $1);
