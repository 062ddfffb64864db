-- Many requests at once: what rows are judged by, and one statement for all that a batch creates.

-- name: existing
-- The account's requests with these client ids, each as `lock_own` has it.
SELECT q.id, q.account_id, a.name AS account, a.enabled AS account_enabled, q.client_id, q.user_id,
    q.activation_key_sha256, q.provision_endpoint, q.broker_id, q.activates_on, q.expires_on, q.reserve_user,
    q.device_connection_coupling, q.additional_device_configuration, q.maximum_attempts, q.attempts, q.enabled, q.state,
    q.start_on_birth, q.key_failures, q.key_failures_since, q.version, q.created_at, q.created_by, q.modified_at, q.modified_by,
    EXISTS (SELECT FROM brokers b WHERE b.id = q.broker_id AND q.provision_endpoint = ANY (b.endpoints)) AS endpoint_served
FROM provision_requests q JOIN accounts a ON a.id = q.account_id
WHERE q.client_id = ANY ($1::text[]) AND q.account_id = $2
ORDER BY q.client_id;

-- name: lock_existing
-- Hold them until the batch is committed, always in the same order.
SELECT q.id FROM provision_requests q
WHERE q.client_id = ANY ($1::text[]) AND q.account_id = $2
ORDER BY q.client_id FOR UPDATE;

-- name: applications
-- What these requests install, in order.
SELECT request_id, name, application_version AS version, url, sha256, size
FROM provision_applications WHERE request_id = ANY ($1::bigint[]) ORDER BY request_id, position;

-- name: client_ids_taken
-- Which of the client ids are not to be had (the answer does not say who has them).
SELECT n.client_id FROM unnest($2::text[]) AS n (client_id), names_taken($1, n.client_id, '') t WHERE t.client_id_taken;

-- name: usernames_taken
-- Which of the usernames another account, or another kind of user, has.
SELECT n.name FROM unnest($2::text[]) AS n (name), names_taken($1, '', n.name) t WHERE t.username_taken;

-- name: users
-- The users of an account with these names in whatever letters, and whether requests have them.
SELECT u.id, u.name, u.kind, u.password_bcrypt, u.version,
    EXISTS (SELECT FROM provision_requests q WHERE q.account_id = u.account_id AND q.user_id = u.id) AS is_used
FROM users u WHERE lower(u.name COLLATE "C") = ANY ($1::text[]) AND u.account_id = $2;

-- name: hold_users
-- Keep factory credentials as they are until requests refer to them: those of these ids that still have their version.
SELECT u.id FROM users u JOIN unnest($1::bigint[], $2::bigint[]) AS n (id, version) ON u.id = n.id AND u.version = n.version
WHERE u.kind = 'provision' ORDER BY u.id FOR KEY SHARE OF u;

-- name: insert_users
-- New factory credentials.
INSERT INTO users (account_id, name, kind, password_bcrypt)
SELECT $1, n.name, 'provision', n.password_bcrypt FROM unnest($2::text[], $3::text[]) AS n (name, password_bcrypt)
ORDER BY n.name
RETURNING id, name;

-- name: insert_requests
-- New requests, OPEN, in the order of their client ids: two imports at once wait for one another, and for nothing else.
INSERT INTO provision_requests (
    account_id, created_by, modified_by, client_id, user_id, activation_key_sha256, provision_endpoint, broker_id,
    activates_on, expires_on, reserve_user, device_connection_coupling, additional_device_configuration, maximum_attempts,
    enabled, start_on_birth
)
SELECT $1, $2, $2, n.* FROM unnest(
    $3::text[], $4::bigint[], $5::bytea[], $6::text[], $7::bigint[], $8::timestamptz[], $9::timestamptz[], $10::boolean[],
    $11::text[], $12::jsonb[], $13::bigint[], $14::boolean[], $15::boolean[]
) AS n (
    client_id, user_id, activation_key_sha256, provision_endpoint, broker_id, activates_on, expires_on, reserve_user,
    device_connection_coupling, additional_device_configuration, maximum_attempts, enabled, start_on_birth
)
ORDER BY n.client_id
RETURNING id, client_id;

-- name: insert_applications
-- What new requests install, each at its place.
INSERT INTO provision_applications (account_id, request_id, position, name, application_version, url, sha256, size)
SELECT $1, n.* FROM unnest(
    $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[]
) AS n (request_id, position, name, application_version, url, sha256, size);

-- name: first_events
-- Each new request's first event.
SELECT append_first_events($1, $2, $3, $4, $5, $6::bigint[], $7::text[], $8::jsonb[]);
