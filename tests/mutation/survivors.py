"""
`python -m tests.mutation.survivors [PATTERN]`, after `mutmut run`: the mutants of service/core that no test killed,
against explained/<module>.toml. Whoever survives without an explanation is printed as an entry to fill in, and so is
an explanation that nobody needs any longer; with either the command fails. A pattern (`service.core.steps.*`) looks at
some.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

from tests.support.figures import record

EXPLAINED = Path(__file__).with_name("explained")
# A mutant that never ends is seen by every run of the tests.
CAUGHT = frozenset({"killed", "timeout", "caught by type check"})


@dataclass(frozen=True)
class Mutant:
    """One change of one function: its lines as in a diff, each without its indentation."""

    function: str
    change: str


def changed_lines(diff: str) -> str:
    """The lines of a diff that go and come, without headers, context and indentation."""
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in lines)


def read_explained(folder: Path) -> dict[Mutant, str]:
    """The explanations in a folder's files. Raises ValueError: one is empty, given twice, or in another's file."""
    found: dict[Mutant, str] = {}
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
            mutant, why = Mutant(entry["function"], entry["change"].strip()), entry["why"].strip()
            if not why or mutant in found or not mutant.function.startswith(f"service.core.{path.stem}."):
                raise ValueError(f"{path.name}: {mutant.function}: no reason, given twice, or of another module")
            found[mutant] = why
    return found


def mutants(pattern: str) -> Iterator[tuple[str, str, Path]]:
    """Name, status and file of each mutant that mutmut made."""
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            if fnmatch(name, pattern):
                yield name, status_by_exit_code[code], Path(path)


def described(name: str, path: Path) -> Mutant:
    """What a mutant changes."""
    function, of = orig_function_and_class_names_from_key(name)
    module = name.rpartition(".")[0]
    where = ".".join(part for part in (module, of, function.rpartition(".")[2]) if part)
    return Mutant(where, changed_lines(get_diff_for_mutant(name, path=path)))


def entry(mutant: Mutant, why: str = "") -> str:
    """As it stands in a file of explanations."""
    return f"[[mutant]]\nfunction = \"{mutant.function}\"\nchange = '''\n{mutant.change}'''\nwhy = \"{why}\"\n"


def report(total: int, caught: int, alive: Iterable[Mutant], explained: dict[Mutant, str]) -> bool:
    """What was found, for people and for docs/reliability.md; whether nobody is left unexplained."""
    alive = list(alive)
    unexplained = [mutant for mutant in alive if mutant not in explained]
    stale = [mutant for mutant in explained if mutant not in alive]
    for title, some in ("survived, unexplained", unexplained), ("explained, and killed or gone", stale):
        print(f"# {title}: {len(some)}")
        print("\n".join(entry(mutant, explained.get(mutant, "")) for mutant in some))
    reached = f"{total} mutants: {caught} killed, {len(alive) - len(unexplained)} explained, {len(unexplained)} left"
    asked = "every mutant killed or explained"
    record("G29", "mutants of the decisions (service/core)", asked, reached, "make mutants", not unexplained)
    return not unexplained and not stale


def main(pattern: str = "*") -> int:
    """As described above; the status to exit with."""
    found = list(mutants(pattern))
    if not found:
        print("no mutants here: `mutmut run` first, in this folder", file=sys.stderr)
        return 1
    alive = [described(name, path) for name, status, path in found if status not in CAUGHT]
    module = pattern.partition(".x")[0]
    explained = {m: why for m, why in read_explained(EXPLAINED).items() if fnmatch(m.function, module)}
    return 0 if report(len(found), len(found) - len(alive), alive, explained) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
