-- Accounts.

-- name: insert
-- A new account.
INSERT INTO accounts (name, device_connection_coupling) VALUES ($1, $2) RETURNING id;

-- name: find
-- An account by name, whatever its case.
SELECT id, name, kind, enabled, device_connection_coupling FROM accounts WHERE lower(name COLLATE "C") = lower($1 COLLATE "C");

-- name: id_of
-- The id under which an account's transactions run; also what a role that sees one account at a time may ask.
SELECT account_id_of($1);

-- name: list
-- Every account, with the brokers that serve it.
SELECT a.id, a.name, a.kind, a.enabled, a.device_connection_coupling, a.created_at,
    (
        SELECT coalesce(array_agg(b.name ORDER BY b.name), '{}') FROM broker_accounts s JOIN brokers b ON b.id = s.broker_id
        WHERE s.account_id = a.id
    ) AS brokers
FROM accounts a ORDER BY a.kind DESC, a.name;

-- name: set_enabled
-- Let its users in, or keep them out.
UPDATE accounts SET enabled = $2 WHERE id = $1;

-- name: put_provision_account
-- The one row that provision users are shown under; its name is a setting.
INSERT INTO accounts (name, kind) VALUES ($1, 'provision') ON CONFLICT DO NOTHING;

-- name: provision_account
-- The name that row has.
SELECT name FROM accounts WHERE kind = 'provision';
