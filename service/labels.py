"""
Sheets of labels: client id, account and activation key, readable and as a QR code; HTML for printing, or SVG.

The code holds {"account", "client_id", "activation_key"} as JSON: what a tool that sets a device up needs to know.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape

import segno

from service.import_results import Label

FORMATS = (".html", ".svg")
COLUMNS = 3
# A label in millimetres, three beside one another on A4.
WIDTH, HEIGHT, CODE = 62, 36, 24

_HTML = f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Activation keys</title>
<style>
@page {{ size: A4; margin: 10mm }}
body {{ margin: 0; font: 8pt sans-serif; display: grid; grid-template-columns: repeat({COLUMNS}, {WIDTH}mm) }}
div {{ width: {WIDTH}mm; height: {HEIGHT}mm; overflow: hidden; break-inside: avoid; display: flex; gap: 2mm;
  align-items: center; outline: 0.1mm dashed #bbb }}
svg {{ flex: none; width: {CODE}mm; height: {CODE}mm; margin-left: 2mm }}
p {{ margin: 0; overflow-wrap: anywhere }}
code {{ font: 7pt monospace }}
</style>
<body>
"""


def pieces(labels: Sequence[Label], ending: str) -> Iterator[str]:
    """The document, a label at a time; `ending` is one of FORMATS."""
    return _html(labels) if ending == ".html" else _svg(labels)


def content(label: Label) -> str:
    """What a label's code says."""
    document = {"account": label.account, "client_id": label.client_id, "activation_key": label.activation_key}
    return json.dumps(document, separators=(",", ":"))


def grouped(activation_key: str) -> str:
    """In fours, as people read it."""
    return " ".join(activation_key[place : place + 4] for place in range(0, len(activation_key), 4))


def _code(label: Label) -> tuple[str, int]:
    """An SVG element without size, and how many modules wide it is."""
    code = segno.make_qr(content(label), error="m")
    out = io.BytesIO()
    code.save(out, kind="svg", xmldecl=False, svgns=False, nl=False, omitsize=True, border=4)
    return out.getvalue().decode(), int(code.symbol_size(border=4)[0])


def _html(labels: Iterable[Label]) -> Iterator[str]:
    yield _HTML
    for label in labels:
        yield (
            f"<div>{_code(label)[0]}<p><b>{escape(label.client_id)}</b><br>{escape(label.account)}<br>"
            f"<code>{escape(grouped(label.activation_key))}</code></p></div>\n"
        )
    yield "</body>\n</html>\n"


def _svg(labels: Sequence[Label]) -> Iterator[str]:
    width, height = WIDTH * COLUMNS, HEIGHT * -(-len(labels) // COLUMNS)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}mm" height="{height}mm" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif">\n'
    )
    for number, label in enumerate(labels):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        code, modules = _code(label)
        yield (
            f'<g transform="translate({x} {y})"><g transform="translate(2 {(HEIGHT - CODE) / 2}) '
            f'scale({CODE / modules:.5f})">{code}</g>{"".join(_texts(label))}</g>\n'
        )
    yield "</svg>\n"


def _texts(label: Label) -> Iterator[str]:
    """Lines beside the code: names as long as they are squeezed into the label."""
    key = grouped(label.activation_key)
    lines = [(label.client_id, "bold"), (label.account, "normal"), (key[:19], "normal"), (key[20:], "normal")]
    room = WIDTH - CODE - 6
    for number, (text, weight) in enumerate(lines):
        squeezed = f' textLength="{room}" lengthAdjust="spacingAndGlyphs"' if len(text) > 19 else ""
        yield (
            f'<text x="{CODE + 4}" y="{11 + number * 5}" font-size="2.8" font-weight="{weight}"{squeezed}>'
            f"{escape(text)}</text>"
        )
