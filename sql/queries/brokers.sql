-- Brokers and the accounts they serve.

-- name: insert
-- A new broker with its secret's hash.
INSERT INTO brokers (name, role, secret_sha256, endpoints, ca) VALUES ($1, $2, $3, $4, $5) RETURNING id;

-- name: find
-- A broker by name.
SELECT id, name, role, endpoints, previous_secret_sha256 IS NOT NULL AS rotating
FROM brokers WHERE lower(name COLLATE "C") = lower($1 COLLATE "C");

-- name: list
-- Every broker with the accounts it serves.
SELECT b.id, b.name, b.role, b.endpoints, b.previous_secret_sha256 IS NOT NULL AS rotating, b.ca, b.version, b.created_at,
    (
        SELECT coalesce(array_agg(a.name ORDER BY a.name), '{}') FROM broker_accounts s JOIN accounts a ON a.id = s.account_id
        WHERE s.broker_id = b.id
    ) AS accounts
FROM brokers b ORDER BY b.role DESC, b.name;

-- name: serve
-- An account broker serves one more account; nothing where it does already.
INSERT INTO broker_accounts (broker_id, account_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true;

-- name: begin_rotation
-- A new secret; the old one stays good until the rotation is finished.
UPDATE brokers SET previous_secret_sha256 = secret_sha256, secret_sha256 = $2
WHERE id = $1 AND previous_secret_sha256 IS NULL RETURNING id;

-- name: finish_rotation
-- The old secret is good no more.
UPDATE brokers SET previous_secret_sha256 = NULL WHERE id = $1 AND previous_secret_sha256 IS NOT NULL RETURNING id;

-- name: endpoints_of_account
-- Every URL under which a broker that serves the account is reached, with the CA to trust there.
SELECT e.url, b.id AS broker_id, b.ca
FROM broker_accounts s JOIN brokers b ON b.id = s.broker_id, unnest(b.endpoints) AS e (url)
WHERE s.account_id = $1 AND b.role = 'account';

-- name: lock
-- Two changes of one broker take turns.
SELECT id FROM brokers WHERE id = $1 FOR UPDATE;

-- name: endpoints
-- As they are, after the lock.
SELECT endpoints FROM brokers WHERE id = $1;

-- name: set_endpoints
-- The URLs under which devices reach it.
UPDATE brokers SET endpoints = $2 WHERE id = $1;

-- name: requests_using
-- Who is still to be sent to one of these endpoints of the broker.
SELECT provision_endpoint, array_agg(client_id ORDER BY client_id) AS client_ids
FROM provision_requests
WHERE broker_id = $1 AND provision_endpoint = ANY ($2::text[]) AND state IN ('OPEN', 'RUNNING')
GROUP BY provision_endpoint ORDER BY provision_endpoint;

-- name: requests_of_account
-- The client ids of an account's requests, in any state, that point to the broker; NULL where there is none.
SELECT array_agg(client_id ORDER BY client_id) FROM provision_requests WHERE broker_id = $1 AND account_id = $2;

-- name: unserve
-- The broker serves the account no more; no row: it did not.
DELETE FROM broker_accounts WHERE broker_id = $1 AND account_id = $2 RETURNING account_id;

-- name: set_ca
-- From now on new runs answer this CA; NULL: none.
UPDATE brokers SET ca = $2 WHERE id = $1;
