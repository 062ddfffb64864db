"""The plugin's own decision and the core's are one: the vectors, and random and hostile cases, through both."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.core.grants import Access, Grant, account_grants, decide_acl, provision_grants
from service.core.topics import covers
from tests.support.world import ROOT

VECTORS = ROOT / "tests" / "vectors"
PLUGIN = ROOT / "mosquitto" / "plugin"


@pytest.fixture(scope="module")
def decider() -> Path:
    """The plugin's decision as a program, under AddressSanitizer."""
    subprocess.run(["make", "-s", "-C", str(PLUGIN), "build/tests/decide"], check=True)
    return PLUGIN / "build" / "tests" / "decide"


def decide_in_c(decider: Path, lines: list[dict[str, Any]]) -> list[str]:
    done = subprocess.run(
        [str(decider)],
        input="".join(json.dumps(line) + "\n" for line in lines).encode(),
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().splitlines()


def as_line(grants: tuple[Grant, ...], acc: int, topic: str) -> dict[str, Any]:
    return {"grants": [[grant.filter, sum(grant.accesses)] for grant in grants], "acc": acc, "topic": topic}


def decide_in_python(grants: tuple[Grant, ...], acc: int, topic: str) -> str:
    decided = decide_acl(grants, acc, topic)
    return "allowed" if decided else str(getattr(decided, "reason", None))


def test_the_vectors(decider: Path) -> None:
    vectors = json.loads((VECTORS / "grants.json").read_text(encoding="utf-8"))
    held = {
        each["name"]: tuple(Grant(name, frozenset(map(Access, accesses))) for name, accesses in each["grants"])
        for each in vectors["grants"]
    }
    questions = [each for each in vectors["questions"] if "\0" not in each["topic"] and each["topic"].isascii()]
    assert len(questions) > 50
    lines = [as_line(held[each["grants_of"]], each["acc"], each["topic"]) for each in questions]
    for each, answer in zip(questions, decide_in_c(decider, lines), strict=True):
        assert (answer == "allowed") == each["allowed"], each
    pairs = json.loads((VECTORS / "topics.json").read_text(encoding="utf-8"))["covers"]
    answers = decide_in_c(decider, [{"wide": each["wide"], "narrow": each["narrow"]} for each in pairs])
    for each, answer in zip(pairs, answers, strict=True):
        assert (answer == "covered") == each["covers"], each


LEVELS = (
    "prov", "v1", "gw-1", "gw-2", "~gw-1", "request", "reply", "status", "$EDC", "acme", "MQTT", "REPLY", "NOTIFY",
    "+", "#", "", "$share", "$SYS", "a+", "#b", "++", "é", "\U0001f600", " ", "~", "provision",
)  # fmt: skip
FILTER_LEVELS = ("a", "b", "$c", "+", "", "é")


def random_filter(dice: random.Random) -> str:
    levels = [dice.choice(FILTER_LEVELS) for _ in range(dice.randint(1, 5))]
    if dice.random() < 0.4:
        levels.append("#")
    return "/".join(levels) or "a"


def random_case(dice: random.Random) -> tuple[tuple[Grant, ...], int, str]:
    """Real grants with topics near them, or any grants with any topics."""
    acc = dice.choice((1, 2, 4, 1, 2, 4, 0, 3, 7, -1, 255))
    kind = dice.randrange(3)
    if kind == 2:
        grants = tuple(
            Grant(random_filter(dice), frozenset(dice.sample(list(Access), dice.randint(1, 3))))
            for _ in range(dice.randrange(4))
        )
        return grants, acc, random_filter(dice)
    permissions = dice.sample(["broker:connect", "device:manage", "data:manage", "data:view"], dice.randint(0, 4))
    grants = (
        provision_grants("gw-1")
        if kind
        else account_grants("acme", "gw-1", permissions, narrow_reply=dice.random() < 0.5)
    )
    if grants and dice.random() < 0.7:
        topic = dice.choice(grants).filter
        levels = [dice.choice(LEVELS) if level in "+#" or dice.random() < 0.1 else level for level in topic.split("/")]
        return grants, acc, "/".join(levels)
    return grants, acc, "/".join(dice.choice(LEVELS) for _ in range(dice.randint(1, 7)))


def compare(decider: Path, seed: int, cases: int) -> None:
    dice = random.Random(seed)
    made = [random_case(dice) for _ in range(cases)]
    answers = decide_in_c(decider, [as_line(*case) for case in made])
    for case, answer in zip(made, answers, strict=True):
        assert answer == decide_in_python(*case), case
    assert 0.02 < sum(answer == "allowed" for answer in answers) / cases < 0.9, "both outcomes come up"


def test_random_cases(decider: Path) -> None:
    compare(decider, 1, 10_000)


@pytest.mark.long
@pytest.mark.parametrize("part", range(10))
def test_a_million_random_cases(decider: Path, part: int) -> None:
    compare(decider, 100 + part, 100_000)


def test_any_filter_covers_the_same_in_both(decider: Path) -> None:
    dice = random.Random(2)
    pairs = [(random_filter(dice), random_filter(dice)) for _ in range(10_000)]
    answers = decide_in_c(decider, [{"wide": wide, "narrow": narrow} for wide, narrow in pairs])
    assert [answer == "covered" for answer in answers] == [covers(wide, narrow) for wide, narrow in pairs]
