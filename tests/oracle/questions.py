"""Questions to ask about a generated world: random ones that make sense, and hostile ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.oracle.world import ACCOUNTS, CLIENT_IDS, OLD, OTHER, PROVISION, SERVED, UNKNOWN, Unit, World

HOSTILE = 0.3
# So many questions about topics on each CONNECT.
TOPICS = 4
KINDS = {PROVISION: "provision", SERVED: "account", OTHER: "account", UNKNOWN: "account"}
LONGEST = 65_535
_TOPICS = json.loads(Path(__file__).with_name("topics.json").read_text())
NAMES, FILTERS, STRANGE, OF_RESPONDER = (_TOPICS[kind] for kind in ("names", "filters", "strange", "of_responder"))
RESPONDER = "~responder"


@dataclass(frozen=True, kw_only=True)
class Question:
    """
    One tuple. `says`: what the password is to the oracle: current, previous, wrong, none.

    `clean` is None where the plugin does not tell.
    """

    broker: str
    username: str
    password: str
    says: str
    client_id: str
    clean: bool | None
    topic: str
    acc: int

    @property
    def login(self) -> tuple[str, str, str, str, bool | None]:
        """The CONNECT that it is about."""
        return self.broker, self.username, self.password, self.client_id, self.clean

    def brief(self) -> dict[str, Any]:
        """For people: long texts shortened."""
        return {name: value[:80] if isinstance(value, str) else value for name, value in vars(self).items()}


class Asker:
    """
    Makes questions by a seed.

    `broken`: with texts among them that no UTF-8 holds, which only bytes can bring. `one_time`: with good one-time
    passwords, where they are not used up.
    """

    def __init__(self, world: World, chance: random.Random, *, broken: bool = True, one_time: bool = True) -> None:
        self._one_time = one_time
        self._world = world
        self._random = chance
        self._broken = broken
        self._by_account: dict[str, list[Unit]] = {}
        for unit in world.units:
            self._by_account.setdefault(unit.account, []).append(unit)

    def questions(self, number: int) -> Iterator[Question]:
        """So many, some on each CONNECT; 3 of 10 are hostile."""
        for _ in range(0, number, TOPICS):
            question = self._service() if self._often(0.03) else self._plausible()
            hostile = self._often(HOSTILE)
            first = self._hostile(question) if hostile else question
            yield self._whole(first)
            for _ in range(TOPICS - 1):
                other = self._strange_access(first) if self._often(0.1) else first
                topic = self._strange_topic(other) if hostile else self._other_topic(other)
                yield self._whole(topic)

    def _whole(self, question: Question) -> Question:
        if self._broken:
            return question
        texts: dict[str, Any] = {
            name: value.replace("\ud800", "\ufffd") for name, value in vars(question).items() if isinstance(value, str)
        }
        return replace(question, **texts)

    def _other_topic(self, question: Question) -> Question:
        topic, acc = self._topic(question.broker, self._account_of(question), question.client_id)
        return replace(question, topic=topic, acc=acc)

    def _topic(self, broker: str, account: str, client_id: str) -> tuple[str, int]:
        """Mostly one of this kind of broker."""
        templates, acc = self._random.choice([(NAMES, 1), (NAMES, 2), (FILTERS, 4)])
        if self._often(0.8):
            templates = [one for one in templates if ("{a}" in one) is (broker != PROVISION)]
        return self._fill(self._random.choice(templates), account, client_id), acc

    def _account_of(self, question: Question) -> str:
        """Of the user, where it is somebody's."""
        return self._world.account_of.get(question.username) or self._random.choice(ACCOUNTS)

    def _often(self, chance: float) -> bool:
        return self._random.random() < chance

    def _plausible(self) -> Question:
        unit = self._random.choice(self._world.units)
        account = self._world.accounts[unit.account]
        username = self._random.choice(unit.usernames if unit.usernames and self._often(0.85) else account.persons)
        other = self._random.choice(self._by_account[unit.account])
        client_id = unit.client_id if self._often(0.85) else self._random.choice([other.client_id, "free"])
        factory = self._world.passwords[username].previous != ""
        broker = PROVISION if factory else self._random.choice([SERVED, SERVED, SERVED, SERVED, OTHER])
        password, says = self._password(username)
        topic, acc = self._topic(broker, unit.account, client_id)
        return Question(
            broker=broker,
            username=username,
            password=password,
            says=says,
            client_id=client_id,
            clean=self._random.choice([None, None, None, True, True, True, True, True, True, False]),
            topic=topic,
            acc=acc,
        )

    def _fill(self, template: str, account: str, client_id: str) -> str:
        other = self._random.choice(self._world.units)
        words = {"{a}": account, "{c}": client_id, "{x}": self._random.choice(ACCOUNTS), "{y}": other.client_id}
        for word, value in words.items():
            template = template.replace(word, value)
        return template

    def _password(self, username: str) -> tuple[str, str]:
        passwords = self._world.passwords[username]
        if self._often(0.85):
            return passwords.current, "current"
        return self._random.choice(
            [
                (passwords.previous or "wrong", "previous" if passwords.previous else "wrong"),
                ("Wrong-Password-1", "wrong"),
            ]
        )

    def _service(self) -> Question:
        """Our own users, and who would like to be one."""
        unit = self._random.choice(self._world.units)
        client_id, password, good = self._random.choice(self._world.one_time_passwords)
        takeover = self._often(0.4) and (self._one_time or not good)
        if takeover and self._often(0.3):
            client_id, good = unit.client_id, good and client_id == unit.client_id
        known = self._world.passwords[RESPONDER].current
        right = self._often(0.8)
        return Question(
            broker=self._random.choice([PROVISION, SERVED, OTHER]),
            username="~takeover" if takeover else RESPONDER,
            password=password if takeover else known if right else "wrong",
            says="current" if (good if takeover else right) else "wrong",
            client_id=client_id if takeover else RESPONDER if self._often(0.8) else unit.client_id,
            clean=self._random.choice([None, True, False]),
            topic=self._fill(self._random.choice(OF_RESPONDER), unit.account, unit.client_id),
            acc=self._random.choice([1, 2, 4]),
        )

    def _hostile(self, question: Question) -> Question:
        kinds: list[Callable[[Question], Question]] = [
            self._other_broker,
            self._other_username,
            self._other_password,
            self._other_client_id,
            self._strange_topic,
            self._strange_topic,
            self._strange_access,
            self._long_topic if self._often(0.05) else self._strange_topic,
        ]
        for change in self._random.sample(kinds, self._random.choice([1, 1, 2])):
            question = change(question)
        return question

    def _other_broker(self, question: Question) -> Question:
        return replace(question, broker=self._random.choice([PROVISION, SERVED, OTHER, UNKNOWN]))

    def _other_username(self, question: Question) -> Question:
        if question.username == "~takeover":
            question = replace(question, client_id="free")
        name = question.username
        somebody = self._random.choice(list(self._world.passwords))
        changed = self._random.choice(
            [
                name.swapcase(),
                name.upper(),
                name + " ",
                " " + name,
                name + "\0",
                name + "\n",
                name[:-1],
                name + "x",
                "~" + name,
                name.replace("-", "_"),
                name.replace("a", "а"),
                name + "/",
                "+",
                "#",
                "$SYS",
                "~",
                "~takeover",
                RESPONDER,
                "",
                "~RESPONDER",
                "~responder ",
                name * 40,
                "ab",
                "' OR 1=1 --",
                "\ud800",
                somebody,
                somebody,
                somebody,
            ]
        )
        if changed in self._world.passwords and self._often(0.8):
            password, says = self._password(changed)
            return replace(question, username=changed, password=password, says=says)
        return replace(question, username=changed, says="wrong" if changed != name else question.says)

    def _other_password(self, question: Question) -> Question:
        right = question.password
        changed = self._random.choice(
            [
                "",
                right + "\0",
                right + "\0junk",
                right + " ",
                right.swapcase(),
                right[:-1],
                right + "x",
                "x" * 73,
                "pässword-A1",
                right[:1] + "\0" + right[1:],
                "\ud800",
                "x" * 10_000,
                "\0",
                right + "\n",
                OLD,
            ]
        )
        says = "none" if changed == "" else self.says(question.username, changed)
        return replace(question, password=changed, says=says)

    def says(self, username: str, password: str) -> str:
        """What a password is, of a user."""
        known = self._world.passwords.get(username)
        if known is None or password == "":
            return "wrong"
        return "current" if password == known.current else "previous" if password == known.previous else "wrong"

    def _other_client_id(self, question: Question) -> Question:
        name = question.client_id
        changed = self._random.choice(
            [
                name.swapcase(),
                name + "/",
                name + "#",
                name + "+",
                "+",
                "#",
                "$SYS",
                "~" + name,
                RESPONDER,
                "~takeover",
                "",
                name + "::",
                name + "::x",
                name + " ",
                name + "\0",
                name + "\n",
                name[:-1],
                name + "1",
                name.replace("-", "."),
                "é",
                "\ud800",
                name * 30,
                "a/b",
                "../" + name,
                "free",
                *CLIENT_IDS[:6],
                self._random.choice(self._world.units).client_id,
            ]
        )
        says = "wrong" if question.username == "~takeover" and changed != name else question.says
        topic = question.topic.replace(name, changed) if self._often(0.7) and len(changed) < 300 else question.topic
        return replace(question, client_id=changed, topic=topic, says=says)

    def _strange_topic(self, question: Question) -> Question:
        account = self._account_of(question) if self._often(0.9) else self._random.choice(ACCOUNTS)
        changed = self._fill(self._random.choice(STRANGE), account, question.client_id)
        acc = self._random.choice([question.acc, 1, 2, 4])
        return replace(question, topic=changed, acc=acc)

    def _long_topic(self, question: Question) -> Question:
        start = question.topic.rstrip("#+") or "a"
        fill = self._random.choice(["/", "x", "a/", "é", "<", "\U0001f600", '"', "\x7f"])
        length = self._random.choice([LONGEST, LONGEST, LONGEST - 200, LONGEST + 1, 40_000, 11_000])
        room = length - len(start.encode("utf-8", "surrogatepass"))
        body = fill * (room // len(fill.encode()))
        return replace(question, topic=start + body + "x" * (room - len(body.encode())))

    def _strange_access(self, question: Question) -> Question:
        acc = self._random.choice([*range(-1, 256), 3, 3, 5, 6, 7, 0, 8, 2**31, -(2**31), 2**63 - 1])
        return replace(question, acc=acc)
