-- Accounts.

-- name: insert
-- A new account.
INSERT INTO accounts (name, device_connection_coupling) VALUES ($1, $2) RETURNING id;

-- name: find
-- An account by name, whatever its case.
SELECT id, name, kind, enabled, device_connection_coupling, mandatory_provisioning
FROM accounts WHERE lower(name COLLATE "C") = lower($1 COLLATE "C");

-- name: id_of
-- The id under which an account's transactions run; also what a role that sees one account at a time may ask.
SELECT account_id_of($1);

-- name: list
-- Every account, with the brokers that serve it.
SELECT a.id, a.name, a.kind, a.enabled, a.device_connection_coupling, a.mandatory_provisioning, a.version, a.created_at,
    (
        SELECT coalesce(array_agg(b.name ORDER BY b.name), '{}') FROM broker_accounts s JOIN brokers b ON b.id = s.broker_id
        WHERE s.account_id = a.id
    ) AS brokers
FROM accounts a ORDER BY a.kind DESC, a.name;

-- name: set_enabled
-- Let its users in, or keep them out.
UPDATE accounts SET enabled = $2 WHERE id = $1;

-- name: change
-- What INHERITED means, and whether provisioning is mandatory; NULL leaves one as it is.
UPDATE accounts
SET device_connection_coupling = coalesce($2, device_connection_coupling),
    mandatory_provisioning = coalesce($3, mandatory_provisioning)
WHERE id = $1;

-- name: unprovisioned_devices
-- Devices that mandatory provisioning keeps out: no request was completed for them.
SELECT count(*) FROM devices d
WHERE d.account_id = $1 AND NOT EXISTS (
    SELECT FROM provision_requests q WHERE q.account_id = d.account_id AND q.client_id = d.client_id AND q.state = 'PROVISIONED'
);

-- name: counts
-- What an account has.
SELECT
    (SELECT count(*) FROM users u WHERE u.account_id = $1) AS users,
    (SELECT count(*) FROM devices d WHERE d.account_id = $1) AS devices,
    (SELECT count(*) FROM provision_requests q WHERE q.account_id = $1) AS provision_requests;

-- name: put_provision_account
-- The one row that provision users are shown under; its name is a setting.
INSERT INTO accounts (name, kind) VALUES ($1, 'provision') ON CONFLICT DO NOTHING;

-- name: provision_account
-- The name that row has.
SELECT name FROM accounts WHERE kind = 'provision';
