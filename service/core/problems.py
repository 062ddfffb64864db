"""Bad input, said in a way its author can act on: which field, which rule. All problems are reported at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """
    One broken rule.

    `field` is the field's name in SQL, Python and JSON; `rule` a short stable word; `text` a sentence for people.
    """

    field: str
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


# Of one bad input so many are told: whoever has mended them is told the next.
MOST_PROBLEMS = 100
# In characters: a bad name may be as long as the input that it stands in, and stand in many problems.
LONGEST_SHOWN = 64


def shown(name: str, longest: int = LONGEST_SHOWN) -> str:
    """A name from bad input, cut and fit to be sent: of lone surrogates there are the escapes."""
    cut = name if len(name) <= longest else name[:longest] + "…"
    return cut.encode(errors="backslashreplace").decode()


class InvalidInput(Exception):
    """Input was refused and nothing was changed. `problems` holds every broken rule."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


class NotFound(InvalidInput):
    """No such thing, or one of another account: both read the same."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__([Problem(field=field, rule="not_found", text=text)])


class NotPossible(InvalidInput):
    """The thing is there, but its state does not allow what was asked."""

    def __init__(self, field: str, rule: str, text: str) -> None:
        super().__init__([Problem(field=field, rule=rule, text=text)])


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise `InvalidInput` if there is any problem."""
    found = tuple(problems)
    if found:
        raise InvalidInput(found)
