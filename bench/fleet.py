"""
Many requests, written straight into the database: open ones that devices may ask by, and those of devices that were
provisioned before, each with its user, device, connection, run and last event.
"""

from __future__ import annotations

import asyncpg

from service import keys, passwords
from tests.support.database import PASSWORD, Database

SHARED_USERNAME = "factory-shared"

_SECRET = (
    "sha256(convert_to('mosquitto-provisioning', 'UTF8') || '\\x00' || convert_to('{domain}', 'UTF8') || '\\x00'"
    " || convert_to({secret}, 'UTF8'))"
)
_HEAD = "SET session_replication_role = replica;  -- no trigger, no look at what a row refers to\n"

_FACTORY_USERS = """
INSERT INTO users (account_id, name, kind, password_bcrypt)
SELECT a.id, names.name, 'provision', '{bcrypt}' FROM accounts a, (
    SELECT '{shared}' AS name WHERE {is_shared} UNION ALL
    SELECT 'factory-' || lpad(n::text, 9, '0') FROM generate_series({first}, {last}) n WHERE NOT {is_shared}
) names WHERE a.name = 'acme' ON CONFLICT DO NOTHING;
"""

_REQUESTS = """
INSERT INTO provision_requests (
    account_id, client_id, user_id, activation_key_sha256, provision_endpoint, broker_id, events_count, events_head,
    state, created_by, modified_by
)
SELECT a.id, 'gw-' || lpad(n::text, 9, '0'), u.id, {key}, b.endpoints[1], b.id, {events}, sha256('bench'),
    '{state}', 'bench', 'bench'
FROM generate_series({first}, {last}) n
JOIN accounts a ON a.name = 'acme' JOIN brokers b ON b.name = 'account-broker'
JOIN users u ON lower(u.name COLLATE "C")
    = CASE WHEN {is_shared} THEN '{shared}' ELSE 'factory-' || lpad(n::text, 9, '0') END
WHERE {which};
"""

# In the order of the numbers, as it would have come about.
_PROVISIONED = """
CREATE TEMP TABLE old AS
SELECT n, q.id AS request_id, q.account_id, q.client_id, q.broker_id,
    nextval('users_id_seq') AS user_id, nextval('devices_id_seq') AS device_id
FROM generate_series({first}, {last}) n
JOIN provision_requests q ON q.client_id = 'gw-' || lpad(n::text, 9, '0') AND q.state = 'PROVISIONED' ORDER BY n;
INSERT INTO users (id, account_id, name, kind, secret_sha256, confirmed_at) OVERRIDING SYSTEM VALUE
SELECT user_id, account_id, 'd-' || lpad(n::text, 26, '0'), 'device', {secret}, clock_timestamp() FROM old;
INSERT INTO user_permissions (account_id, user_id, permission) SELECT account_id, user_id, 'broker:connect' FROM old;
INSERT INTO devices (id, account_id, client_id) OVERRIDING SYSTEM VALUE
SELECT device_id, account_id, client_id FROM old;
INSERT INTO device_connections (
    account_id, client_id, device_id, user_id, reserved_user_id, status, broker_id, last_login_at, last_seen_at
)
SELECT account_id, client_id, device_id, user_id, user_id, 'DISCONNECTED', broker_id, now() - interval '1 day',
    now() - interval '1 hour'
FROM old;
INSERT INTO provision_runs (
    account_id, request_id, number, wire, state, token_sha256, user_id, username, device_id, made_device, answer,
    confirm_by, ended_at
)
SELECT account_id, request_id, 1, 'json', 'COMPLETED', sha256(client_id::bytea), user_id,
    'd-' || lpad(n::text, 26, '0'), device_id, true, '{{"ca": null, "account": "acme", "endpoint": "mqtt://a:1883",
    "applications": [], "configuration": {{}}}}', now(), now()
FROM old;
INSERT INTO events (at, kind, account_id, request_id, number, client_id, actor, source, detail, chain)
SELECT now(), 'confirmed', account_id, request_id, 3, client_id, 'bench', 'hooks', '{{"run": 1}}', sha256('bench')
FROM old;
DROP TABLE old;
"""


async def fill(
    database: Database, first: int, last: int, *, shared: bool, open_every: int = 1, bcrypt_cost: int = 10
) -> None:
    """
    The requests with these numbers (the last one included). One of `open_every` is open, with its activation key; the
    others were provisioned. `shared`: by one factory credential, else by one each; the password is everybody's.
    """
    words = {
        "first": first,
        "last": last,
        "shared": SHARED_USERNAME,
        "is_shared": str(shared).lower(),
        "bcrypt": passwords.hash_password(PASSWORD, bcrypt_cost),
        "key": _SECRET.format(domain=keys.ACTIVATION_KEY, secret="'KEY-' || lpad(n::text, 28, '0')"),
        "secret": _SECRET.format(domain=keys.USER, secret="'bench-password-of-' || n"),
    }
    opened = {"which": f"n % {open_every} = 0", "state": "OPEN", "events": 1}
    ended = {"which": f"n % {open_every} <> 0", "state": "PROVISIONED", "events": 3}
    connection = await asyncpg.connect(database.url().reveal())
    try:
        await connection.execute("SET work_mem = '256MB'")
        await connection.execute(_HEAD + _FACTORY_USERS.format(**words))
        for changes in (ended, opened):
            await connection.execute(_HEAD + _REQUESTS.format(**words, **changes))
        if open_every > 1:
            await connection.execute(_HEAD + _PROVISIONED.format(**words))
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def client_id(number: int) -> str:
    """Of the device with this number."""
    return f"gw-{number:09}"


def factory_username(number: int, *, shared: bool) -> str:
    """What its maker put in."""
    return SHARED_USERNAME if shared else f"factory-{number:09}"


def activation_key(number: int) -> str:
    """Of an open request."""
    return f"KEY-{number:028}"


def username(number: int) -> str:
    """Of a device that was provisioned before."""
    return f"d-{number:026}"


def password(number: int) -> str:
    """Of a device that was provisioned before."""
    return f"bench-password-of-{number}"
