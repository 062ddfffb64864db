"""The API's description as a page for people: made of the OpenAPI document, with nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h2 { border-top: 1px solid #bbb; padding-top: 1rem; } code, pre { font-size: .9em; }
pre { overflow: auto; background: #f4f4f4; padding: .75rem; } .method { font-weight: 700; }
summary { cursor: pointer; } td, th { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top; }
"""


def render(document: Mapping[str, Any]) -> str:
    """HTML without scripts."""
    info = document["info"]
    return "".join(
        (
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>",
            f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>",
            "<p>Every call has <code>Authorization: Bearer pt_...</code>. Machines read ",
            "<a href=openapi.json>openapi.json</a>.</p>",
            *_operations(document),
            "<h2>Documents</h2>",
            *_schemas(document["components"]["schemas"]),
        )
    )


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        yield f"<h2><code>{escape(path)}</code></h2>"
        for method, operation in methods.items():
            yield f"<h3 id={escape(operation['operationId'])}><span class=method>{method.upper()}</span> "
            yield f"{escape(operation['summary'])}</h3>"
            yield from _parameters(operation)
            body = operation.get("requestBody")
            if body is not None:
                name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                yield f"<p>Body: <a href='#{escape(name)}'>{escape(name)}</a></p>"
            yield f"<p>Answers: {', '.join(operation['responses'])}</p>"


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    rows = [each for each in operation["parameters"] if each["in"] != "path"]
    if rows:
        yield "<table><tr><th>parameter<th>in<th>type"
        for each in rows:
            yield f"<tr><td><code>{escape(each['name'])}</code><td>{each['in']}"
            yield f"<td><code>{escape(json.dumps(each['schema']))}</code>"
        yield "</table>"


def _schemas(schemas: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in schemas.items():
        yield f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>"
        yield f"<pre>{escape(json.dumps(schema, indent=2))}</pre></details>"
