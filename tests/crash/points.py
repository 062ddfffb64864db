"""
The points where a process may die with half of its work done, as one table: what passes each boundary, in which story.

`SITES` says where in the code the boundaries are; `test_points` compares it with the code, and with what the stories
crossed. Each passage is two points for each of its kinds: before it and after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TRANSACTION, STATEMENT, PUBLISH, ACKNOWLEDGE, CALL = KINDS = (
    "transaction", "statement", "publish", "acknowledge", "call",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a process dies: the N-th time that an operation comes to one side of a boundary, in a story."""

    process: str
    story: str
    operation: str
    kind: str
    moment: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.process}: {self.operation}, {self.kind}, {self.moment}, {self.number} in {self.story}"

    @property
    def named(self) -> str:
        """As tests/crash/dying.py reads it."""
        return f"{self.operation}, {self.kind}, {self.moment}, {self.number}"


@dataclass(frozen=True)
class Passage:
    """An operation in a story, with the boundaries that it crosses there."""

    process: str
    story: str
    operation: str
    kinds: tuple[str, ...]
    number: int = 1

    def points(self) -> Iterator[Point]:
        """Both sides of each."""
        for kind in self.kinds:
            for moment in ("before", "after"):
                yield Point(
                    process=self.process,
                    story=self.story,
                    operation=self.operation,
                    kind=kind,
                    moment=moment,
                    number=self.number,
                )


ANSWERED = (TRANSACTION, PUBLISH, ACKNOWLEDGE)
HEARD = (TRANSACTION, ACKNOWLEDGE)

PASSAGES = (
    # The ask, and its answer again.
    Passage("responder", "a device", "request", ANSWERED),
    Passage("responder", "a device that asks twice", "request", ANSWERED, number=2),
    Passage("responder", "a device with a wrong key first", "request", ANSWERED),
    Passage("responder", "a device that talks nonsense first", "request", ANSWERED),
    Passage("responder", "a device whose run is overdue", "request", ANSWERED),
    # Its steps.
    Passage("responder", "a device", "status", HEARD),
    Passage("responder", "a device that fails first", "status", HEARD),
    Passage("responder", "a gateway", "prov", ANSWERED),
    Passage("responder", "a stock gateway", "birth", ANSWERED),
    Passage("responder", "a gateway", "reply", (TRANSACTION,)),  # QoS 0: nothing to acknowledge
    Passage("responder", "a gateway", "notify", ANSWERED),
    Passage("responder", "a gateway", "notify", HEARD, number=2),
    # Its confirmation, and its life.
    Passage("hooks", "a device", "login", (STATEMENT,)),
    Passage("hooks", "a gateway", "login", (STATEMENT,)),
    Passage("responder", "a gateway", "life birth", HEARD),
    # What time does.
    Passage("responder", "a run that nobody confirms", "sweep.close_overdue", (TRANSACTION,)),
    Passage("responder", "an overlap that ends", "leak_watch.end_overlaps", (TRANSACTION,)),
    Passage("responder", "a credential that leaks", "leak_watch.watch", (TRANSACTION,)),
    Passage("responder", "a device", "sweep.prune", (STATEMENT,)),
    # The end of a session.
    Passage("responder", "a device that is disabled", "takeover", (STATEMENT, CALL)),
    Passage("hooks", "a device that is disabled", "redeem_takeover", (STATEMENT,)),
    # What is written behind the brokers' backs.
    Passage("hooks", "a device", "heartbeat", (STATEMENT,)),
    Passage("hooks", "a device", "count_logins", (STATEMENT,)),
    Passage("hooks", "a device", "note_seen", (STATEMENT,)),
    Passage("hooks", "a device that stays", "note_connections", (STATEMENT,)),
    Passage("hooks", "a device", "note_credential_uses", (STATEMENT,)),
    Passage("hooks", "a device with a wrong password first", "count_refusals", (STATEMENT,)),
)

POINTS = tuple(point for passage in PASSAGES for point in passage.points())

# Why a boundary is no point of its own.
READS = "nothing is written"
OPENS = "whoever opens it is in this table"
COMMAND = "an administrators' change: tests/crash/commands.py"
ALIKE = "as `request`, for trouble that no device can cause"

_ASKS = ("request", "status", "prov", "birth", "reply", "notify")
# (place in the code, kind): the operations that pass it, or why it is no point.
SITES: dict[tuple[str, str], tuple[str, ...] | str] = {
    # The responder's messages.
    ("operations/cases.py:open_case", TRANSACTION): _ASKS,
    ("operations/asks.py:Desk.ask", TRANSACTION): ("request",),
    ("operations/asks.py:Desk._refuse_unreadable", TRANSACTION): ("request",),
    ("operations/asks.py:Desk._refuse_too_large", TRANSACTION): ALIKE,
    ("operations/asks.py:Desk.record_failure", STATEMENT): ALIKE,
    ("operations/asks.py:Desk.status", TRANSACTION): ("status",),
    ("operations/kura.py:KuraDesk.handle", TRANSACTION): ("prov", "birth", "reply", "notify"),
    ("operations/lifecycle.py:LifecycleDesk.handle", TRANSACTION): ("life birth",),
    ("mqtt/listener.py:Listener._handle", PUBLISH): ("request", "prov", "birth", "notify"),
    # What it does beside.
    ("operations/sweep.py:close_overdue", STATEMENT): READS,
    ("operations/sweep.py:close_overdue", TRANSACTION): ("sweep.close_overdue",),
    ("operations/sweep.py:prune", STATEMENT): ("sweep.prune",),
    ("operations/leak_watch.py:end_overlaps", TRANSACTION): ("leak_watch.end_overlaps",),
    ("operations/leak_watch.py:watch", STATEMENT): READS,
    ("operations/leak_watch.py:_tell", TRANSACTION): ("leak_watch.watch",),
    ("mqtt/takeover.py:Takeovers._end_refused", STATEMENT): READS,
    ("mqtt/takeover.py:Takeovers._take_over", STATEMENT): ("takeover",),
    ("mqtt/takeover.py:Takeovers._take_over", CALL): ("takeover",),
    # The hooks: each function is a transaction of its own.
    ("db/hooks.py:HookStore._call", STATEMENT): OPENS,
    ("db/hooks.py:HookStore._take", STATEMENT): OPENS,
    ("db/hooks.py:HookStore.brokers", STATEMENT): READS,
    ("db/hooks.py:HookStore.facts", STATEMENT): READS,
    ("db/hooks.py:HookStore.feed", STATEMENT): READS,
    ("db/hooks.py:HookStore.login", STATEMENT): ("login",),
    ("db/hooks.py:HookStore.redeem_takeover", STATEMENT): ("redeem_takeover",),
    ("db/hooks.py:HookStore.note_connections", STATEMENT): ("note_connections",),
    ("db/hooks.py:HookStore.note_broker_began", STATEMENT): "told again until it has arrived, as note_connections is",
    ("db/hooks.py:HookStore.heartbeat", STATEMENT): ("heartbeat",),
    ("db/hooks.py:HookStore.count_logins", STATEMENT): ("count_logins",),
    ("db/hooks.py:HookStore.count_refusals", STATEMENT): ("count_refusals",),
    ("db/hooks.py:HookStore.note_credential_uses", STATEMENT): ("note_credential_uses",),
    ("db/hooks.py:HookStore.note_seen", STATEMENT): ("note_seen",),
    ("db/hooks.py:HookStore.prove_key", STATEMENT): "a proof that a crash lost is given again with the next CONNECT",
    ("db/hooks.py:HookStore.count_guesses", STATEMENT): "tries of half a second: a crash forgives no more than these",
    # What opens them.
    ("db/pool.py:transaction", STATEMENT): OPENS,
    ("db/pool.py:check_schema", STATEMENT): READS,
    ("operations/administration.py:Administration.account_transaction", TRANSACTION): OPENS,
    ("operations/administration.py:Administration.platform_transaction", TRANSACTION): OPENS,
    ("operations/administration.py:Administration.account", TRANSACTION): READS,
    # The administrators' API.
    ("web/admin_process.py:AdminProcess._look", STATEMENT): READS,
    ("web/admin_process.py:_prune", TRANSACTION): "one statement, done again an hour later",
    ("operations/tokens.py:recognise", TRANSACTION): "when a token was used last: no more than that is lost",
    ("operations/imports.py:_try_to_write", TRANSACTION): "tests/integration/test_import_interrupted.py",
    **{
        (f"operations/{place}", TRANSACTION): COMMAND
        for place in (
            "accounts.py:begin_rotation", "accounts.py:change_account", "accounts.py:create_account",
            "accounts.py:create_broker", "accounts.py:finish_rotation", "accounts.py:serve_account",
            "accounts.py:set_account_enabled", "broker_ca.py:change", "brokers.py:change_endpoints",
            "brokers.py:unserve_account", "connections.py:change_connection", "connections.py:delete_connection",
            "connections.py:delete_device", "credentials.py:_locked", "devices.py:set_device_enabled",
            "event_log.py:checkpoint_chains", "event_log.py:drop", "issuing.py:start", "issuing.py:stop",
            "moves.py:delete_request",
            "moves.py:reopen_request", "moves.py:set_enabled", "moves.py:stop_request", "recovery.py:accept",
            "releases.py:cancel_release", "releases.py:release_device", "requests.py:_create",
            "requests.py:change_request", "tokens.py:create_token", "tokens.py:revoke_token", "users.py:create_person",
            "users.py:delete_user", "users.py:put_responder_password", "users.py:set_permissions",
            "users.py:set_user_enabled",
        )
    },
    **{
        (f"operations/{place}", TRANSACTION): READS
        for place in (
            "accounts.py:list_accounts", "accounts.py:list_brokers", "accounts.py:show_account",
            "connections.py:find_account_of_client", "connections.py:show_connection", "credentials.py:list_page",
            "credentials.py:show_credential", "devices.py:list_devices", "devices.py:show_device",
            "event_log.py:checkpoint_page", "event_log.py:fit_lines", "explain.py:_in_transaction",
            "imports.py:check_rows", "issuing.py:show", "lists.py:fetch_page", "preview.py:preview_request",
            "recovery.py:show",
            "releases.py:find_holder", "releases.py:list_releases", "requests.py:_find_user",
            "requests.py:list_requests", "runs_list.py:list_runs", "tokens.py:list_tokens",
        )
    },
    ("operations/event_log.py:verify", STATEMENT): READS,
    ("operations/recovery.py:report", TRANSACTION): READS,
    ("operations/recovery.py:_plan", TRANSACTION): READS,
    ("operations/recovery.py:_revoke_user", TRANSACTION): "one of many; given again, the rest is done",
}  # fmt: skip
