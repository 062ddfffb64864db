"""
A picture of figures: a bar for each that has a goal, drawn so that every goal is at the same place. Pure.

Bars say the median as a part of the goal; a thin line goes from the minimum to the maximum. It reads on light and on
dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.figures import Figure, number

WIDTH, LEFT, RIGHT, TOP, STEP, BAR = 960, 430, 150, 44, 26, 14
# A bar ends here, in goals: what is far beyond is drawn no longer.
MOST = 2.0

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .small { font-size: 11px; fill: #57606a }
  .reached { fill: #2f7d4f } .missed { fill: #b3443c }
  .goal { stroke: #24292f; stroke-width: 1.5; stroke-dasharray: 3 2 }
  .spread { stroke: #24292f; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 }
    .reached { fill: #57ab7c } .missed { fill: #e5716a }
    .goal, .spread { stroke: #e6edf3 }
  }
"""


def _place(share: float) -> float:
    """Where in the picture so many goals are."""
    return LEFT + (WIDTH - LEFT - RIGHT) * min(max(share, 0.0), MOST) / MOST


def _bar(figure: Figure, y: int) -> list[str]:
    assert figure.goal is not None
    goal = figure.goal.value or 1.0
    middle, kind = y + BAR / 2, "reached" if figure.reached else "missed"
    label = f"{figure.row}  {figure.what}"
    value = f"{number(figure.median)} {figure.unit}".rstrip()
    return [
        f'<text x="{LEFT - 10}" y="{y + 12}" text-anchor="end">{escape(label)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{_place(figure.median / goal) - LEFT:.1f}" height="{BAR}"/>',
        f'<line class="spread" x1="{_place(figure.minimum / goal):.1f}" x2="{_place(figure.maximum / goal):.1f}" '
        f'y1="{middle}" y2="{middle}"/>',
        f'<text class="small" x="{WIDTH - RIGHT + 10}" y="{y + 12}">{escape(f"{value} ({figure.goal})")}</text>',
    ]


def draw(figures: Sequence[Figure], title: str) -> str:
    """The SVG text. Figures without a goal are left out."""
    shown = [figure for figure in figures if figure.goal is not None]
    height = TOP + STEP * len(shown) + 20
    goal = _place(1.0)
    body = [part for index, figure in enumerate(shown) for part in _bar(figure, TOP + STEP * index)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-label="{escape(title, {chr(34): "&quot;"})}">',
            f"<style>{STYLE}</style>",
            f'<text x="10" y="20">{escape(title)}</text>',
            f'<text class="small" x="{goal}" y="{TOP - 8}" text-anchor="middle">goal</text>',
            *body,
            f'<line class="goal" x1="{goal}" x2="{goal}" y1="{TOP - 4}" y2="{TOP + STEP * len(shown) - 4}"/>',
            "</svg>\n",
        ]
    )
