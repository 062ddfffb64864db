"""
Whether the time of a refusal at the hooks tells why it is one: a thousand of each kind, interleaved, over HTTP; for
each pair of kinds the area under the curve (0.5: no guess is better than a coin). Every answer must be the same.
Questions with an activation key take one look-up more, whatever is stored: they are compared among themselves.

    python -m bench.timing [--samples 1000] [--cost 10]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import bisect
import itertools
import random
import time
from collections.abc import Sequence

import aiohttp

from bench.worlds import bench_database
from service.operations import moves, users
from tests.support.database import PASSWORD, make_request
from tests.support.figures import record
from tests.support.world import World

LOWEST, HIGHEST = 0.45, 0.55
WRONG = "Not-The-Password"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--cost", type=int, default=10)
    return parser.parse_args(arguments)


Question = dict[str, str]


async def prepare(world: World) -> dict[str, Question]:
    """What each kind of refusal is asked with; all of them depend on what is stored."""
    admin = world.admin
    for number, name in enumerate(("known", "off-request", "off-user", "other"), start=1):
        await make_request(admin, f"gw-{number}", provision_username=name, generate_activation_key=True)
    await moves.set_enabled(admin, "acme", "gw-2", enabled=False)
    await users.set_user_enabled(admin, "acme", "off-user", enabled=False)

    def question(username: str, client_id: str, password: str = PASSWORD) -> Question:
        return {"username": username, "clientid": client_id, "password": password}

    return {
        "unknown user": question("nobody", "gw-1"),
        "wrong password": question("known", "gw-1", WRONG),
        "wrong client id": question("known", "gw-4"),
        "unknown client id": question("known", "gw-9"),
        "disabled user": question("off-user", "gw-3"),
        "disabled request": question("off-request", "gw-2"),
        "key, unknown user": question("nobody", "gw-1", f"{PASSWORD}\t{'a' * 32}"),
        "key, wrong password": question("known", "gw-1", f"{WRONG}\t{'a' * 32}"),
        "key, right password": question("known", "gw-1", f"{PASSWORD}\t{'a' * 32}"),
    }


def area(one: Sequence[float], other: Sequence[float]) -> float:
    """The probability that a sample of `one` is below a sample of `other`."""
    ordered = sorted(other)
    return sum(len(ordered) - bisect.bisect_right(ordered, value) for value in one) / (len(one) * len(ordered))


async def sample(world: World, questions: dict[str, Question], samples: int) -> dict[str, list[float]]:
    """Milliseconds to the answer, by kind; each round asks every kind once, in an order of its own."""
    secret = (world.folder / "provision.secret").read_text().strip()
    headers = {"Authorization": "Basic " + base64.b64encode(f"provision-broker:{secret}".encode()).decode()}
    url = f"http://127.0.0.1:{world.hooks_port}/hooks/user"
    taken: dict[str, list[float]] = {kind: [] for kind in questions}
    answers = set()
    async with aiohttp.ClientSession(headers=headers) as session:
        for number in range(-5, samples):  # the first rounds warm it up
            for kind in random.sample(list(questions), len(questions)):
                began = time.perf_counter()
                async with session.post(url, json=questions[kind]) as response:
                    body = await response.read()
                if number >= 0:
                    taken[kind].append((time.perf_counter() - began) * 1000)
                shown = {name: value for name, value in response.headers.items() if name != "Date"}
                answers.add((response.status, body, tuple(sorted(shown.items()))))
    if len(answers) != 1:
        raise RuntimeError(f"answers differ: {answers}")
    return taken


async def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parsed = parse(arguments)
    free = {
        f"PROVISION_{name}": "1000000" for name in ("SLOW_HASH_RATE", "SLOW_HASH_BURST", "GUESS_RATE", "GUESS_BURST")
    }
    async with bench_database(bcrypt_cost=parsed.cost) as (database, admin):
        world = World(database=database, admin=admin, settings=free)
        try:
            await world.prepare()
            world.start(world.hooks)
            taken = await sample(world, await prepare(world), parsed.samples)
        finally:
            world.close()
    report(parsed, taken)


def report(arguments: argparse.Namespace, taken: dict[str, list[float]]) -> None:
    """Medians, and how well each pair can be told apart."""
    print(
        f"timing of refusals: {arguments.samples} of each kind, bcrypt cost {arguments.cost}; all answers are the same"
    )
    for kind, values in taken.items():
        print(f"  {kind:<24} median {sorted(values)[len(values) // 2]:8.2f} ms")
    areas = {
        (one, other): area(taken[one], taken[other])
        for one, other in itertools.combinations(taken, 2)
        if one.startswith("key,") == other.startswith("key,")
    }
    for (one, other), value in areas.items():
        print(f"  {one:<24} {other:<24} {value:.3f}{'' if LOWEST <= value <= HIGHEST else '  OUTSIDE'}")
    lowest, highest = min(areas.values()), max(areas.values())
    reached = lowest >= LOWEST and highest <= HIGHEST
    print(f"  area under the curve: {lowest:.3f} to {highest:.3f} (goal: {LOWEST} to {HIGHEST})")
    record(
        "G12",
        f"timing of refusals, {arguments.samples} of each of {len(taken)} kinds, bcrypt cost {arguments.cost}",
        "AUC 0.45 to 0.55",
        f"AUC {lowest:.3f} to {highest:.3f}",
        "python -m bench.timing",
        reached,
    )


if __name__ == "__main__":
    asyncio.run(main())
