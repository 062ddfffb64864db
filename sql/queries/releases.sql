-- Releases: a client id on its way from one account to another.

-- name: lock
-- The account's open release with the state of the request that it led to; both are held. NULL: there is none.
SELECT lock_release($1, $2);

-- name: claim
-- What an account has to do with a client id.
SELECT client_id_claim($1, $2);

-- name: has_client_id
-- Whether an account has a device or a provision request for a client id.
SELECT EXISTS (SELECT FROM devices WHERE account_id = $1 AND client_id = $2)
    OR EXISTS (SELECT FROM provision_requests WHERE account_id = $1 AND client_id = $2);

-- name: own_request
-- The account's request, in whose chain the events of a release stand.
SELECT id FROM provision_requests WHERE account_id = $1 AND client_id = $2;

-- name: holder
-- The name of the account whose client id it is; NULL: nobody's.
SELECT name FROM accounts WHERE id = client_id_holder($1);

-- name: insert
-- A client id is let go, until a moment.
INSERT INTO releases (client_id, account_id, to_account_id, expires_on, created_by) VALUES ($1, $2, $3, $4, $5);

-- name: cancel
-- Called off, or void and made anew.
UPDATE releases SET cancelled_at = clock_timestamp() WHERE id = $1;

-- name: of_account
-- The releases that the account of this transaction has part in, oldest first.
SELECT client_id, account, to_account, created_at, expires_on, used_at, cancelled_at, created_by, request_state, expired
FROM own_releases($1);

-- name: list
-- Releases of every account, oldest first.
SELECT r.client_id, f.name AS account, t.name AS to_account, r.created_at, r.expires_on, r.used_at, r.cancelled_at, r.created_by,
    q.state AS request_state, clock_timestamp() >= r.expires_on AS expired
FROM releases r
JOIN accounts f ON f.id = r.account_id
JOIN accounts t ON t.id = r.to_account_id
LEFT JOIN provision_requests q ON q.client_id = r.client_id AND q.account_id = r.to_account_id
    AND r.used_at IS NULL AND r.cancelled_at IS NULL
WHERE $1::text IS NULL OR r.client_id = $1
ORDER BY r.client_id, r.id;
