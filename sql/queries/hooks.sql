-- The hooks' functions (migration 0007): all that the role provisioning_hooks may call.

-- name: brokers
-- Every broker with the hashes of its secrets.
SELECT name, role, secret_sha256, previous_secret_sha256 FROM hook_brokers();

-- name: facts
-- What a decision about a client is made from, and from when it is (the same snapshot).
SELECT hook_facts($1, $2, $3);

-- name: facts_of
-- The same of many clients, by username ($2) and client id ($3).
SELECT l.client_id, l.username, hook_facts($1, l.username, l.client_id)
FROM unnest($2::text[], $3::text[]) AS l (username, client_id);

-- name: login
-- An allowed login that changes rows: 'moved', or 'changed' where what was decided on no longer stands.
SELECT hook_login($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: redeem_takeover
-- Whose session a takeover's password ends, and whether somebody else came since; NULL: it is not good. It never is again.
SELECT hook_redeem_takeover($1, $2, $3);

-- name: prove_key
-- Whether the activation key is the client's; its client id is kept for whoever has it, for a while.
SELECT hook_prove_key($1, $2, $3);

-- name: count_guesses
-- Guesses at passwords in the last moments; what all hooks processes counted.
SELECT hook_count_guesses($1::jsonb, $2, $3, $4);

-- name: changes
-- What changed since, and where to go on.
SELECT hook_changes($1);

-- name: feed
-- What became visible since a position, each change once.
SELECT hook_feed($1);

-- name: heartbeat
-- A sign of life.
SELECT hook_heartbeat();

-- name: count_refusals
-- Refusals of the last moments.
SELECT count_refusals($1::jsonb);

-- name: count_logins
-- Allowed CONNECTs of the last moments.
SELECT count_logins($1::jsonb);

-- name: note_credential_uses
-- Uses of factory credentials in the last moments.
SELECT note_credential_uses($1::jsonb);

-- name: note_seen
-- Clients that were seen.
SELECT hook_note_seen($1::jsonb);

-- name: note_broker_began
-- Some of those who were connected at a broker before it began are not; how many.
SELECT hook_note_broker_began($1, $2);

-- name: note_connections
-- Connections as their broker tells of them.
SELECT hook_note_connections($1, $2, $3::jsonb);
