"""
Rows that the database must refuse: for each rule, by its name in the catalog, statements that break it and no other.

They stand on `ground()`: accounts acme and globex, each with a broker, requests and a person.
"""

from __future__ import annotations

from service.operations import accounts, users
from tests.support.scene import Scene

ACME = "(SELECT id FROM accounts WHERE name = 'acme')"
GLOBEX = "(SELECT id FROM accounts WHERE name = 'globex')"
PROVISION_ACCOUNT = "(SELECT id FROM accounts WHERE kind = 'provision')"
BROKER = "(SELECT id FROM brokers WHERE name = 'account-broker')"
GLOBEX_BROKER = "(SELECT id FROM brokers WHERE name = 'globex-broker')"
PROVISION_BROKER = "(SELECT id FROM brokers WHERE name = 'provision-broker')"
FACTORY = "(SELECT user_id FROM provision_requests WHERE client_id = 'gw-1')"
GLOBEX_FACTORY = "(SELECT user_id FROM provision_requests WHERE client_id = 'gx-1')"
RUN = "(SELECT r.id FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id WHERE q.client_id = 'gw-1')"
GENERATED = f"(SELECT user_id FROM provision_runs WHERE id = {RUN})"
ANN = "(SELECT id FROM users WHERE name = 'ann')"
ZOE = "(SELECT id FROM users WHERE name = 'zoe')"
RUNNING = "(SELECT id FROM provision_requests WHERE client_id = 'gw-1')"
OPEN = "(SELECT id FROM provision_requests WHERE client_id = 'gw-2')"
GLOBEX_REQUEST = "(SELECT id FROM provision_requests WHERE client_id = 'gx-1')"
DEVICE = "(SELECT id FROM devices WHERE client_id = 'gw-1')"
GLOBEX_DEVICE = "(SELECT id FROM devices WHERE client_id = 'gx-2')"
HASH = "sha256('x')"
SHORT = "'\\x00'::bytea"
BCRYPT = "'$2b$10$' || repeat('a', 53)"
NOBODY = "0"

DEFAULTS: dict[str, dict[str, str]] = {
    "accounts": {"name": "'fresh'"},
    "brokers": {"name": "'fresh'", "role": "'account'", "secret_sha256": HASH},
    "broker_accounts": {"broker_id": BROKER, "account_id": GLOBEX},
    "users": {"account_id": ACME, "name": "'fresh'", "kind": "'person'", "secret_sha256": HASH},
    "user_permissions": {"account_id": ACME, "user_id": ANN, "permission": "'data:view'"},
    "devices": {"account_id": ACME, "client_id": "'fresh'"},
    "device_connections": {"account_id": ACME, "client_id": "'fresh'"},
    "releases": {
        "client_id": "'gw-1'", "account_id": ACME, "to_account_id": GLOBEX, "expires_on": "'infinity'",
        "created_by": "'tester'",
    },
    "provision_requests": {
        "account_id": ACME, "client_id": "'fresh'", "user_id": FACTORY, "provision_endpoint": "'mqtt://x:1'",
        "broker_id": BROKER, "created_by": "'tester'", "modified_by": "'tester'",
    },
    "provision_applications": {
        "account_id": ACME, "request_id": OPEN, "position": "1", "name": "'app'", "application_version": "'1'",
        "url": "'https://x/y'", "sha256": "repeat('a', 64)", "size": "1",
    },
    "provision_runs": {
        "account_id": ACME, "request_id": OPEN, "number": "1", "wire": "'json'", "token_sha256": HASH, "salt": HASH,
        "user_id": ANN, "username": "'ann'", "made_device": "false", "answer": "'{}'", "confirm_by": "'infinity'",
    },
    "run_steps": {
        "account_id": ACME, "run_id": RUN, "position": "2", "kind": "'application'", "request_id": "'r'",
    },
    "events": {"at": "now()", "kind": "'fresh_event'", "actor": "'tester'", "source": "'cli'"},
    "event_heads": {"account_id": "0", "request_id": "1000", "count": "1", "head": HASH},
    "event_checkpoints": {
        "account_id": "0", "request_id": "0", "kind": "'cut'", "count": "1", "head": HASH, "at": "'epoch'",
        "seal": HASH,
    },
    "refusals": {
        "broker": "'b'", "username": "'u'", "client_id": "'c'", "reason": "'r'", "minute": "'epoch'", "count": "1",
        "last_at": "'epoch'",
    },
    "logins": {
        "broker": "'b'", "username": "'u'", "client_id": "'c'", "hour": "'epoch'", "count": "1", "first_at": "'epoch'",
        "last_at": "'epoch'",
    },
    "credentials": {"account_id": ACME, "user_id": FACTORY},
    "credential_uses": {
        "account_id": ACME, "user_id": FACTORY, "kind": "'address'", "what": "'x'", "hour": "'epoch'", "count": "1",
        "last_at": "'epoch'",
    },
    "password_guesses": {"username": "'fleet'", "full_at": "'epoch'"},
    "key_proofs": {"account_id": ACME, "request_id": OPEN, "proved_at": "'epoch'"},
    "api_tokens": {
        "account_id": ACME, "name": "'tok'", "role": "'auditor'", "token_sha256": HASH, "expires_on": "'infinity'",
        "created_by": "'tester'",
    },
    "idempotency_keys": {
        "token_id": "(SELECT min(id) FROM api_tokens)", "account_id": ACME, "key_sha256": HASH, "request_sha256": HASH,
    },
    "changes": {"kind": "'user'", "key": "'x'"},
    "changes_pruned": {},
    "issuing": {},
    "access_journal": {"kind": "'user'", "name": "'fresh'", "state": "'enabled'"},
    "heartbeats": {"process": "'hooks'", "at": "now()"},
    "one_time_passwords": {"secret_sha256": HASH, "client_id": "'c'"},
}  # fmt: skip


def insert(table: str, **columns: str) -> str:
    """A row that is right but for these columns (SQL expressions)."""
    values = {**DEFAULTS[table], **columns}
    if not values:
        return f"INSERT INTO {table} DEFAULT VALUES"
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())})"


def each(table: str, column: str, *expressions: str, **others: str) -> list[str]:
    """One faulty row for each expression."""
    return [insert(table, **{**others, column: expression}) for expression in expressions]


BAD_NAMES = ("''", "'ab'", "'a b'", "'a.b'", "'ümlaut'", "'~abc'", "repeat('a', 256)", "E'abc\\n'", "'abc '", "'a+b'")
BAD_CLIENT_IDS = ("''", "'a b'", "'a::b'", "'a/b'", "'a+'", "'#'", "'~a'", "'é'", "repeat('a', 256)", "E'abc\\n'")
BAD_COUPLINGS = ("'strict'", "''", "'NONE'")
# What bcrypt does not have: another letter or length, and costs below 4 or above 31, which no hash has.
BAD_HASHES = tuple(
    f"'{head}' || repeat('a', {length})"
    for head, length in (
        ("$2x$10$", 53), ("$2b$10$", 52), ("$2b$10$", 54), ("$2b$1$", 53), ("$3b$10$", 53), ("$2b$40$", 53),
        ("$2b$10$+", 52), ("$2b$03$", 53), ("$2b$32$", 53), ("$2b$39$", 53), ("x$2b$10$", 53),
    )
)  # fmt: skip
PEM = "E'-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n'"
PROVISION_USER = {"kind": "'provision'", "secret_sha256": "NULL", "password_bcrypt": BCRYPT}
UPPER_CASE_NAME = "(SELECT upper(name) FROM users WHERE kind = 'device' LIMIT 1)"
SERVICE_USER = {"kind": "'service'", "account_id": "NULL"}

CASES: dict[str, list[str]] = {
    "accounts_name_rule": each("accounts", "name", *BAD_NAMES),
    "accounts_kind_known": each("accounts", "kind", "'tenant'", "''"),
    "accounts_coupling_known": each("accounts", "device_connection_coupling", "'INHERITED'", *BAD_COUPLINGS),
    "accounts_name_unique": each("accounts", "name", "'acme'", "'ACME'", "'Provision'"),
    "accounts_one_provision_account": [insert("accounts", kind="'provision'")],
    "brokers_name_rule": each("brokers", "name", *BAD_NAMES),
    "brokers_role_known": each("brokers", "role", "'both'", "'ACCOUNT'"),
    "brokers_secret_is_sha256": [insert("brokers", secret_sha256=SHORT)],
    "brokers_previous_secret_is_sha256": [insert("brokers", previous_secret_sha256=SHORT)],
    "brokers_ca_is_certificates": each(
        "brokers",
        "ca",
        "''",
        "'x'",
        f"'x' || {PEM}",
        f"{PEM} || 'x'",
        f"{PEM} || E'\\n'",
        f"rtrim({PEM}, E'\\n')",
        f"replace({PEM}, 'CERTIFICATE', 'PRIVATE KEY')",
        f"{PEM} || replace({PEM}, 'CERTIFICATE', 'EC PRIVATE KEY')",
    ),
    "brokers_ca_length": each("brokers", "ca", f"repeat({PEM}, 16384 / length({PEM}) + 1)"),
    "brokers_name_unique": each("brokers", "name", "'account-broker'", "'Account-Broker'"),
    "broker_accounts_pkey": [insert("broker_accounts", account_id=ACME)],
    "broker_accounts_broker": [
        insert("broker_accounts", broker_id=expression) for expression in (NOBODY, PROVISION_BROKER)
    ],
    "broker_accounts_account_brokers_only": [
        insert("broker_accounts", broker_id=PROVISION_BROKER, broker_role="'provision'")
    ],
    "broker_accounts_account_id_fkey": [insert("broker_accounts", account_id=NOBODY)],
    "users_name_rule": [
        *each("users", "name", *BAD_NAMES),
        *each(
            "users",
            "name",
            "'responder'",
            "'~RESPONDER'",
            "'~'",
            "'~ab'",
            "'~a b c'",
            kind="'service'",
            account_id="NULL",
        ),
    ],
    "users_name_unique": [
        *each("users", "name", "'ann'", "'ANN'", "'zoe'", UPPER_CASE_NAME),
        insert("users", name="'Factory-GW-1'", **PROVISION_USER),
    ],
    "users_kind_known": each("users", "kind", "'robot'"),
    "users_service_has_no_account": [
        insert("users", kind="'service'", name="'~other'"),
        insert("users", account_id="NULL"),
    ],
    "users_secret_of_kind": [
        insert("users", kind="'provision'"),
        insert("users", password_bcrypt=BCRYPT),
        insert("users", password_bcrypt=BCRYPT, kind="'provision'"),
        insert("users", secret_sha256="NULL"),
        insert("users", kind="'device'", secret_sha256="NULL", password_bcrypt=BCRYPT),
    ],
    "users_bcrypt_is_well_formed": each(
        "users", "password_bcrypt", *BAD_HASHES, kind="'provision'", secret_sha256="NULL"
    ),
    "users_secret_is_sha256": [insert("users", secret_sha256=SHORT)],
    "users_only_devices_are_confirmed": [
        insert("users", confirmed_at="now()"),
        insert("users", confirmed_at="now()", **PROVISION_USER),
    ],
    "users_account_id_fkey": [insert("users", account_id=NOBODY)],
    "user_permissions_pkey": [insert("user_permissions", permission="'broker:connect'")],
    "user_permissions_known": each("user_permissions", "permission", "'root'", "'broker:CONNECT'", "''"),
    "user_permissions_user": [insert("user_permissions", user_id=ZOE), insert("user_permissions", account_id=GLOBEX)],
    "devices_client_id_rule": each("devices", "client_id", *BAD_CLIENT_IDS),
    "devices_client_id_unique": [insert("devices", client_id="'gw-1'")],
    "devices_account_id_fkey": [insert("devices", account_id=NOBODY)],
    "device_connections_client_id_rule": each("device_connections", "client_id", *BAD_CLIENT_IDS),
    "device_connections_coupling_known": each("device_connections", "coupling", *BAD_COUPLINGS),
    "devices_birth_bounded": each("devices", "birth", "'[]'", "jsonb_build_object('x', repeat('a', 131072))"),
    "device_connections_ends_owed_rule": each("device_connections", "ends_owed", "2", "-2"),
    "device_connections_status_known": each("device_connections", "status", "'GONE'"),
    "device_connections_client_id_unique": [insert("device_connections", client_id="'gw-1'")],
    "device_connections_reserved_user_unique": [insert("device_connections", reserved_user_id=GENERATED)],
    "device_connections_device": [insert("device_connections", device_id=GLOBEX_DEVICE)],
    "device_connections_user": [insert("device_connections", user_id=ZOE)],
    "device_connections_reserved_user": [insert("device_connections", reserved_user_id=ZOE)],
    "device_connections_account_id_fkey": [insert("device_connections", account_id=NOBODY)],
    "device_connections_broker_id_fkey": [insert("device_connections", broker_id=NOBODY)],
    "releases_to_another_account": [insert("releases", to_account_id=ACME)],
    "releases_one_open_per_client_id": [
        insert("releases") + "; " + insert("releases", to_account_id=PROVISION_ACCOUNT)
    ],
    "releases_ends_once": [insert("releases", used_at="now()", cancelled_at="now()")],
    "releases_until_after_created": [
        *each("releases", "expires_on", "'2030-01-01Z'", "'2029-12-31Z'", created_at="'2030-01-01Z'"),
        insert("releases", expires_on="'epoch'"),
    ],
    "releases_by_holder": [
        *each("releases", "client_id", "'gx-1'", "'gx-2'", "'unknown'"),
        insert("releases", account_id=GLOBEX, to_account_id=ACME),
    ],
    "releases_account_id_fkey": [insert("releases", account_id=NOBODY)],
    "releases_to_account_id_fkey": [insert("releases", to_account_id=NOBODY)],
    "provision_requests_client_id_rule": each("provision_requests", "client_id", *BAD_CLIENT_IDS),
    "provision_requests_client_id_unique": [insert("provision_requests", client_id="'gw-1'")],
    "provision_requests_key_is_sha256": [insert("provision_requests", activation_key_sha256=SHORT)],
    "provision_requests_endpoint_rule": each(
        "provision_requests", "provision_endpoint", "'http://x'", "'mqtt://'", "''"
    ),
    "provision_requests_expires_after_activates": [
        insert("provision_requests", activates_on="'2030-01-01Z'", expires_on=f"'{expires}'")
        for expires in ("2030-01-01Z", "2029-12-31Z")
    ],
    "provision_requests_coupling_known": each("provision_requests", "device_connection_coupling", *BAD_COUPLINGS),
    "provision_requests_configuration_is_object": each(
        "provision_requests", "additional_device_configuration", "'[]'", "'1'", "'null'"
    ),
    "provision_requests_maximum_attempts_rule": each("provision_requests", "maximum_attempts", "0", "1001"),
    "provision_requests_attempts_rule": each("provision_requests", "attempts", "6", "-1"),
    "provision_requests_state_known": each("provision_requests", "state", "'EXPIRED'", "'open'"),
    "provision_requests_user": [
        insert("provision_requests", user_id=GLOBEX_FACTORY),
        f"DELETE FROM users WHERE id = {FACTORY}",
    ],
    "provision_requests_broker_serves_account": [
        insert("provision_requests", broker_id=GLOBEX_BROKER),
        f"DELETE FROM broker_accounts WHERE broker_id = {BROKER}",
    ],
    "provision_requests_account_id_fkey": [
        insert("provision_requests", account_id=NOBODY),
    ],
    "provision_requests_user_is_provision": [
        *each("provision_requests", "user_id", ANN, GENERATED, NOBODY),
        f"UPDATE provision_requests SET user_id = {ANN} WHERE client_id = 'gw-2'",
    ],
    "provision_requests_move_known": ["UPDATE provision_requests SET state = 'PROVISIONED' WHERE client_id = 'gw-2'"],
    "client_id_belongs_to_one_account": [
        insert("provision_requests", client_id="'gx-1'"),
        insert("provision_requests", client_id="'gx-2'"),
        insert("devices", client_id="'gx-1'"),
        insert("devices", client_id="'gx-2'"),
        "UPDATE devices SET client_id = 'gx-1' WHERE client_id = 'gw-1'",
        "UPDATE provision_requests SET client_id = 'gx-1' WHERE client_id = 'gw-2'",
    ],
    "owned_by_an_account": [
        insert(table, account_id=PROVISION_ACCOUNT)
        for table in ("users", "devices", "device_connections", "provision_requests")
    ]
    + [
        f"UPDATE {table} SET account_id = {PROVISION_ACCOUNT} WHERE {where}"
        for table, where in (("users", "name = 'ann'"), ("devices", "client_id = 'gw-1'"))
    ],
    "provision_applications_pkey": [insert("provision_applications") + "; " + insert("provision_applications")],
    "provision_applications_url_rule": each("provision_applications", "url", "'http://x'", "'https://'", "'ftp://x'"),
    "provision_applications_sha256_rule": each(
        "provision_applications", "sha256", "repeat('A', 64)", "repeat('a', 63)", "repeat('a', 65)"
    ),
    "provision_applications_size_rule": each("provision_applications", "size", "0", "-1"),
    "provision_applications_request": [insert("provision_applications", request_id=GLOBEX_REQUEST)],
    "provision_requests_birth_has_no_key": [
        insert("provision_requests", start_on_birth="true", activation_key_sha256=HASH),
    ],
    "provision_runs_number_unique": [
        insert("provision_runs", request_id=RUNNING, state="'FAILED'", ended_at="now()", salt="NULL")
    ],
    "provision_runs_user_unique": [insert("provision_runs", user_id=GENERATED)],
    "provision_runs_one_live_per_request": [insert("provision_runs", request_id=RUNNING, number="9")],
    "provision_runs_wire_known": each("provision_runs", "wire", "'xml'"),
    "provision_runs_state_known": each("provision_runs", "state", "'OPEN'", "'running'"),
    "provision_runs_ended_has_time": [
        insert("provision_runs", state="'FAILED'"),
        insert("provision_runs", ended_at="now()", salt="NULL"),
    ],
    "provision_runs_salt_only_while_live": [
        insert("provision_runs", salt="NULL"),
        insert("provision_runs", state="'FAILED'", ended_at="now()"),
    ],
    "provision_runs_live_has_user": [
        insert("provision_runs", user_id="NULL"),
        f"DELETE FROM users WHERE id = {GENERATED}",
    ],
    "provision_runs_key_only_while_live": [
        insert("provision_runs", state="'FAILED'", ended_at="now()", salt="NULL", sealed_key="'k1.x'"),
    ],
    "provision_runs_salt_length": [insert("provision_runs", salt=SHORT)],
    "provision_runs_token_is_sha256": [insert("provision_runs", token_sha256=SHORT)],
    "provision_runs_request": [insert("provision_runs", request_id=GLOBEX_REQUEST)],
    "provision_runs_user": [insert("provision_runs", user_id=ZOE)],
    "provision_runs_device": [insert("provision_runs", device_id=GLOBEX_DEVICE)],
    "provision_runs_move_known": ["UPDATE provision_runs SET state = 'CREATED'"],
    "run_steps_pkey": [insert("run_steps") + "; " + insert("run_steps")],
    "run_steps_kind_known": each("run_steps", "kind", "'reboot'"),
    "run_steps_state_known": each("run_steps", "state", "'sent'", "'FAILED'"),
    "run_steps_job_rule": [
        *each("run_steps", "job_id", "0", "-1"),
        insert("run_steps", kind="'configuration'", job_id="1"),
    ],
    "run_steps_run": [insert("run_steps", account_id=GLOBEX)],
    "events_kind_rule": each("events", "kind", "'ab'", "'Kind'", "'a-b-c'"),
    "events_source_known": each("events", "source", "'shell'"),
    "events_chained": [
        insert("events", request_id="1"),
        insert("events", number="1"),
        insert("events", chain=HASH),
        insert("events", request_id="1", number="1"),
        insert("events", request_id="1", number="1", chain=SHORT),
    ],
    "events_number_unique": [insert("events", request_id=RUNNING, number="1", chain=HASH)],
    "events_account_id_fkey": [insert("events", account_id=NOBODY)],
    "events_account_number_unique": [insert("events", number="1", chain=HASH)],
    "event_heads_pkey": [insert("event_heads") + "; " + insert("event_heads")],
    "event_heads_chained": [
        *each("event_heads", "count", "-1", "0"),
        *each("event_heads", "head", "NULL", SHORT),
    ],
    "event_checkpoints_pkey": [insert("event_checkpoints") + "; " + insert("event_checkpoints")],
    "event_checkpoints_kind_known": each("event_checkpoints", "kind", "'start'"),
    "event_checkpoints_sealed": [
        *each("event_checkpoints", "count", "0", "-1"),
        *each("event_checkpoints", "head", SHORT),
        *each("event_checkpoints", "seal", SHORT),
    ],
    "refusals_pkey": [insert("refusals") + "; " + insert("refusals")],
    "refusals_bounded": [
        *each("refusals", "username", "repeat('a', 257)"),
        *each("refusals", "client_id", "repeat('a', 257)"),
        *each("refusals", "reason", "repeat('a', 65)"),
        *each("refusals", "last_topic", "repeat('a', 1025)"),
        *each("refusals", "last_access", "repeat('9', 1025)"),
    ],
    "refusals_share_bounded": [*each("refusals", "share", "repeat('a', 301)")],
    "logins_pkey": [insert("logins") + "; " + insert("logins")],
    "logins_bounded": [
        *each("logins", "username", "repeat('a', 257)"),
        *each("logins", "client_id", "repeat('a', 257)"),
    ],
    "logins_account_id_fkey": [insert("logins", account_id=NOBODY)],
    "refusals_account_id_fkey": [insert("refusals", account_id=NOBODY)],
    "credentials_pkey": [insert("credentials") + "; " + insert("credentials")],
    "credentials_user": [insert("credentials", account_id=GLOBEX)],
    "credentials_user_is_provision": each("credentials", "user_id", ANN, GENERATED),
    "credentials_overlap_is_whole": [
        insert("credentials", previous_password_bcrypt=BCRYPT),
        insert("credentials", rotated_at="now()", overlap_until="'infinity'"),
    ],
    "credentials_overlap_was_rotated": [
        insert("credentials", previous_password_bcrypt=BCRYPT, overlap_until="'infinity'"),
        insert("credentials", previous_password_bcrypt=BCRYPT, overlap_until="now()", rotated_at="now()"),
    ],
    "credentials_bcrypt_is_well_formed": each(
        "credentials", "previous_password_bcrypt", *BAD_HASHES, overlap_until="'infinity'", rotated_at="now()"
    ),
    "credentials_held_by_somebody": [
        insert("credentials", held_at="now()"),
        insert("credentials", held_by="'tester'"),
    ],
    "credentials_watch_in_range": [
        *each("credentials", "most_unknown_client_ids", "-1", "1001"),
        *each("credentials", "most_wrong_keys", "-1", "1001"),
        *each("credentials", "most_addresses", "-1", "1001"),
    ],
    "credential_uses_pkey": [insert("credential_uses") + "; " + insert("credential_uses")],
    "credential_uses_user": [insert("credential_uses", account_id=GLOBEX), insert("credential_uses", user_id=NOBODY)],
    "credential_uses_kind_known": each("credential_uses", "kind", "'new_password'", "''"),
    "credential_uses_bounded": each("credential_uses", "what", "repeat('a', 257)"),
    "password_guesses_pkey": [insert("password_guesses") + "; " + insert("password_guesses")],
    "password_guesses_username_rule": each(
        "password_guesses", "username", "'ab'", "'Fleet'", "'a b c'", "repeat('a', 256)"
    ),
    "key_proofs_pkey": [insert("key_proofs") + "; " + insert("key_proofs")],
    "key_proofs_request": [insert("key_proofs", account_id=GLOBEX), insert("key_proofs", request_id=NOBODY)],
    "api_tokens_name_rule": each("api_tokens", "name", *BAD_NAMES),
    "api_tokens_name_unique": [
        insert("api_tokens") + "; " + insert("api_tokens", token_sha256="sha256('y')"),
        insert("api_tokens", account_id="NULL", role="'platform_administrator'")
        + "; "
        + insert("api_tokens", account_id="NULL", role="'platform_administrator'", token_sha256="sha256('y')"),
    ],
    "idempotency_keys_pkey": [
        insert("api_tokens") + "; " + insert("idempotency_keys") + "; " + insert("idempotency_keys")
    ],
    "idempotency_keys_are_sha256": [
        insert("api_tokens") + "; " + insert("idempotency_keys", **{column: SHORT})
        for column in ("key_sha256", "request_sha256")
    ],
    "idempotency_keys_token_id_fkey": [insert("idempotency_keys", token_id=NOBODY)],
    "idempotency_keys_account_id_fkey": [insert("api_tokens") + "; " + insert("idempotency_keys", account_id=NOBODY)],
    "api_tokens_role_known": each("api_tokens", "role", "'root'"),
    "api_tokens_token_is_sha256": [insert("api_tokens", token_sha256=SHORT)],
    "api_tokens_platform_has_no_account": [
        insert("api_tokens", account_id="NULL"),
        insert("api_tokens", role="'platform_administrator'"),
    ],
    "api_tokens_token_unique": [insert("api_tokens") + "; " + insert("api_tokens", name="'other'")],
    "api_tokens_account_id_fkey": [insert("api_tokens", account_id=NOBODY)],
    "changes_kind_known": each("changes", "kind", "'device'"),
    "changes_pruned_pkey": [insert("changes_pruned")],
    "changes_pruned_only_row_check": [insert("changes_pruned", only_row="false")],
    "issuing_pkey": [insert("issuing")],
    "issuing_only_row_check": [insert("issuing", only_row="false")],
    "issuing_stopped_by_somebody": [
        "UPDATE issuing SET stopped_at = clock_timestamp()",
        "UPDATE issuing SET stopped_by = 'tester'",
    ],
    "provision_runs_begin_while_issuing": [
        "UPDATE issuing SET stopped_at = clock_timestamp(), stopped_by = 'tester'; " + insert("provision_runs")
    ],
    "access_journal_kind_known": each("access_journal", "kind", "'client'"),
    "access_journal_state_known": each("access_journal", "state", "'gone'"),
    "heartbeats_pkey": [insert("heartbeats")],
    "heartbeats_process_known": each("heartbeats", "process", "'responder'"),
    "one_time_passwords_pkey": [insert("one_time_passwords") + "; " + insert("one_time_passwords", client_id="'d'")],
    "one_time_passwords_is_sha256": [insert("one_time_passwords", secret_sha256=SHORT)],
}


async def ground(scene: Scene) -> None:
    """What the statements stand on."""
    await accounts.create_broker(scene.admin, "globex-broker", role="account", urls=["mqtt://globex.example:1883"])
    await accounts.create_account(scene.admin, "globex", brokers=["globex-broker"])
    await scene.run("gw-1")
    await scene.request("gw-2")
    await scene.request("gx-1", "globex")
    await scene.run("gx-2", "globex")
    await users.create_person(scene.admin, "acme", "ann", ["broker:connect"])
    await users.create_person(scene.admin, "globex", "zoe", [])
