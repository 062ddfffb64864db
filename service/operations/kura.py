"""
Kura's wire, as operations: an ask begins or continues a run, replies and notices move it (design 4.2, D7).

Each is one transaction that locks the request. The caller publishes what is returned after the commit, and acknowledges
last: whatever dies in between, the step is there, with its ids, to be sent again.
"""

from __future__ import annotations

import dataclasses
import datetime
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service import keys
from service.core import asks, certificates, kura_messages, kura_xml, names
from service.core.answers import ANSWER_LIMIT_BYTES, Answer
from service.core.asks import Begin, Refused, Repeat, decide_ask
from service.core.kura_configuration import merge_for_kura
from service.core.kura_messages import Kind, Prov, Request, Topic
from service.core.messages import Malformed
from service.core.states import RunState
from service.core.steps import (
    Advance,
    Alive,
    Effect,
    Fail,
    Hear,
    Message,
    Notice,
    Reply,
    Retry,
    Rules,
    Send,
    Step,
    StepKind,
    StepState,
    decide_step,
)
from service.core.verdicts import Denied
from service.db.pool import Pool
from service.db.records import ProvisionRequest, Run, run_name
from service.mqtt import kura_payload
from service.mqtt.kura_payload import Payload, Unreadable
from service.operations import runs
from service.operations.asks import (
    AnswerTooLarge,
    close_past_deadline,
    good_ask,
    note_refusal,
    note_unreadable,
    repeat,
)
from service.operations.cases import Case, Rate, open_case
from service.operations.events import Author
from service.operations.runs import RunKeys

Outgoing = tuple[str, bytes]


@dataclass(frozen=True, kw_only=True)
class KuraDesk:
    """What answering needs. `clock` is monotonic and serves rates only; windows and deadlines are the database's."""

    pool: Pool
    run_keys: RunKeys
    event_key: bytes
    provision_account: str = names.PROVISION_ACCOUNT
    rules: Rules = field(default_factory=Rules)
    answer_limit: int = ANSWER_LIMIT_BYTES
    keystore: str = kura_messages.KEYSTORE
    # Events of one client beyond this are counted instead.
    _share: Rate = field(default_factory=lambda: Rate(10 / 60, 100))

    async def handle(self, topic: Topic, data: bytes, clock: float) -> list[Outgoing]:
        """One message of a device; returns what is published after the commit. Refused: nothing is (D10)."""
        author = Author(actor="device", source="mqtt", event_key=self.event_key)
        message = _read(topic, data)
        try:
            async with open_case(self.pool, author, self._share, topic.client_id, clock) as case:
                if isinstance(message, Malformed):
                    note_unreadable(case, message, data)
                    return []
                if isinstance(message, Prov):
                    return await self._ask(case, message, on_birth=topic.kind is Kind.BIRTH)
                return await self._step(case, message)
        except AnswerTooLarge:
            async with open_case(self.pool, author, self._share, topic.client_id, clock) as case:
                case.note("ask_refused", "answer_too_large", code="server_error")
            return []

    async def _ask(self, case: Case, ask: Prov, *, on_birth: bool) -> list[Outgoing]:
        request, run = case.request, case.run
        if on_birth and (request is None or not request.start_on_birth):
            # In a run a birth is a sign of life, but none where a key must be proved: it cannot carry one, and who
            # merely took the client id over would be sent the credentials.
            if request is None or run is None or run.wire != "kura" or request.activation_key_sha256 is not None:
                case.count("birth_starts_nothing")
                return []
            return await self._step(case, Alive())
        decision = self._decide(case, ask)
        if isinstance(decision, Refused):
            note_refusal(case, decision)
            return []
        assert request is not None
        key = ask.activation_key if request.activation_key_sha256 is not None else None
        if isinstance(decision, Begin):
            return await self._begin(case, request, ask, key, after_deadline=decision.after_deadline)
        return await self._repeat(case, request, key)

    def _decide(self, case: Case, ask: Prov) -> Begin | Repeat | Refused:
        request, given = case.request, ask.activation_key
        stored = request.activation_key_sha256 if request else None
        matches = keys.matches(stored, keys.ACTIVATION_KEY, given or "") and given is not None
        decision = decide_ask(
            case.facts(), wire="kura", key_given=given is not None, key_matches=matches, wants_seal=False
        )
        if isinstance(decision, Refused) or ask.username in (None, case.loaded.provision_username):
            return decision
        return Refused(code="refused", reason="wrong_provision_username")

    async def _begin(
        self, case: Case, request: ProvisionRequest, ask: Prov, key: str | None, *, after_deadline: bool
    ) -> list[Outgoing]:
        if after_deadline:
            assert case.run is not None
            await close_past_deadline(case.connection, request, case.run, self.event_key)
        good = good_ask(case, wire="kura", activation_key=key, device=_device(ask))
        sealed_key = None
        if key is not None:
            context = _key_context(request, run_name(request.id, good.number))
            sealed_key = self.run_keys.sealing_keys.seal(context, key)
        case.run, _, steps = await runs.begin(
            case.connection, self.run_keys, request, good, sealed_key=sealed_key, steps=_plan
        )
        case.loaded = dataclasses.replace(case.loaded, steps=steps)
        return await self._step(case, Alive())

    async def _repeat(self, case: Case, request: ProvisionRequest, key: str | None) -> list[Outgoing]:
        repeat(case, self.run_keys, request, key)
        return await self._step(case, Alive())

    async def _step(self, case: Case, message: Message) -> list[Outgoing]:
        run = case.run
        if case.request is None or run is None or run.wire != "kura":
            case.note("reply_ignored", "reply_of_another_run")
            return []
        decision = decide_step(
            run.state, case.loaded.steps, message, now=case.now, past_deadline=run.past_deadline, rules=self.rules
        )
        if isinstance(decision, Denied):
            if not isinstance(message, Alive):  # late, replayed, of another run: noted, without effect
                case.note("reply_ignored", decision.reason)
            return []
        if isinstance(message, Reply) and message.code == 200:
            case.extend(run, asks.CONFIRM_WITHIN_AFTER_STATUS)
        return await self._act(case, case.request, run, decision, message)

    async def _act(
        self, case: Case, request: ProvisionRequest, run: Run, decision: Effect, message: Message
    ) -> list[Outgoing]:
        step = decision.step
        if isinstance(decision, Hear):
            case.writes.heard(step, decision.state)
            return []
        if isinstance(decision, Send):
            return self._send(case, request, run, decision)
        if isinstance(decision, Advance):
            case.writes.heard(step, StepState.DONE)
            if decision.left_out:
                case.tell("step_left_out", run=run.number, **_name(run, step), **_error(message))
            case.move(run, decision.moves, **_name(run, step))
            return self._send(case, request, run, decision.then) if decision.then is not None else []
        said = {**_name(run, step), **_error(message)}
        if isinstance(decision, Retry):
            case.tell("step_failed", run=run.number, retries=step.retries + 1, **said)
            return self._send(case, request, run, Send(step=_new_ids(step)))
        assert isinstance(decision, Fail)
        await runs.end(
            case.connection,
            request,
            run,
            state=RunState.FAILED,
            author=case.author,
            reason="step_failed",
            attempt=True,
            detail=said,
        )
        return []

    def _send(self, case: Case, request: ProvisionRequest, run: Run, send: Send) -> list[Outgoing]:
        step = send.step
        case.move(run, send.moves, **_name(run, step))
        case.writes.sent(step)
        case.tell("step_sent", run=run.number, again=step.sent_at is not None, **_name(run, step))
        outgoing = self._request(request, run, step)
        payload = kura_payload.encode(outgoing.metrics, outgoing.body, timestamp=_milliseconds(case.now))
        if len(payload) > self.answer_limit:
            raise AnswerTooLarge
        return [(outgoing.topic, payload)]

    def _request(self, request: ProvisionRequest, run: Run, step: Step) -> Request:
        client_id = request.client_id
        if step.kind is StepKind.APPLICATION:
            application = run.answer["applications"][step.position - 1]
            return kura_messages.download_request(self.provision_account, client_id, step, application)
        if step.kind is StepKind.CA:
            ca = _cas(run.answer)[step.position - 1 - len(run.answer["applications"])]
            return kura_messages.ca_request(self.provision_account, client_id, step, ca, self.keystore)
        # The CA has gone ahead: a configuration has no place for it.
        connection = {name: value for name, value in self._answer(request, run).connection.items() if name != "ca"}
        configuration = merge_for_kura(
            runs.open_configuration(self.run_keys.sealing_keys, request, run.answer), **connection
        )
        xml = kura_xml.render(configuration)
        return kura_messages.configuration_request(self.provision_account, client_id, step, xml)

    def _answer(self, request: ProvisionRequest, run: Run) -> Answer:
        """By the key that the run began with: it is not asked again when the configuration's turn comes."""
        key = None
        if run.sealed_key is not None:
            key = self.run_keys.sealing_keys.open(_key_context(request, run.name), run.sealed_key)
        return runs.answer_of(self.run_keys, request, run, activation_key=key)


def _read(topic: Topic, data: bytes) -> Prov | Reply | Notice | Malformed:
    """A BIRTH asks with nothing: its metrics are of no use before the device is at home."""
    try:
        payload: Payload = kura_payload.decode(data)
    except Unreadable as error:
        return Malformed(error.reason)
    if topic.kind is Kind.REPLY:
        return kura_messages.parse_reply(topic.resource, payload.metrics)
    if topic.kind is Kind.NOTIFY:
        return kura_messages.parse_notify(topic.resource, payload.metrics)
    return Prov() if topic.kind is Kind.BIRTH else kura_messages.parse_prov(payload.metrics)


def _device(ask: Prov) -> dict[str, str]:
    version = ask.certificate_version
    return {} if version is None else {"provisioningCertificateVersion": version}


def _key_context(request: ProvisionRequest, run: str) -> str:
    """Where a sealed key belongs: elsewhere it does not open."""
    return f"activation key\0{request.account_id}\0{request.client_id}\0{run}"


def _plan(answer: Mapping[str, Any]) -> list[Step]:
    """Each application, each certificate of the CA, then the configuration."""
    kinds = [StepKind.APPLICATION] * len(answer["applications"]) + [StepKind.CA] * len(_cas(answer))
    kinds.append(StepKind.CONFIGURATION)
    return [
        _new_ids(Step(position=position, kind=kind, state=StepState.WAITING, request_id=""))
        for position, kind in enumerate(kinds, 1)
    ]


def _cas(answer: Mapping[str, Any]) -> list[str]:
    """The certificates to trust at the account broker, each of which is an entry of its own."""
    return certificates.split(answer.get("ca") or "")


def _new_ids(step: Step) -> Step:
    """The step's next try: 128 random bits, and 63 for a job, which Kura reads as a long above 0."""
    return Step(
        position=step.position,
        kind=step.kind,
        state=step.state,
        request_id=secrets.token_hex(16),
        job_id=secrets.randbelow(2**63 - 1) + 1 if step.kind is StepKind.APPLICATION else None,
        retries=step.retries + 1 if step.request_id else 0,
        sent_at=step.sent_at,
    )


def _name(run: Run, step: Step) -> dict[str, str]:
    """What people call a step."""
    if step.kind is not StepKind.APPLICATION:
        return {"step": step.kind.value}
    application = run.answer["applications"][step.position - 1]
    return {"step": f"{application['name']} {application['version']}"}


def _error(message: Message) -> dict[str, str]:
    """What the device said of its error."""
    text = {} if isinstance(message, Alive) or message.text is None else {"detail": message.text}
    if isinstance(message, Reply):
        return {"response_code": str(message.code), **text}
    return {f"{message.resource}_status": message.status, **text} if isinstance(message, Notice) else text


def _milliseconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp() * 1000)
