"""`/docs`: the interface on one page that needs neither scripts nor the internet."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#eee;padding:0 .2rem}h2{font-size:1rem;margin:1.5rem 0 0}"
    "td{padding:0 1rem 0 0;vertical-align:top}p{margin:.2rem 0}"
)


def operations_page(schema: Mapping[str, Any]) -> str:
    """Make the page of an OpenAPI description.

    Parameters
    ----------
    schema : mapping
        As `/openapi.json` gives it.
    """
    shown = "".join(
        _operation(method, path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    )
    title = escape(f"{schema['info']['title']} {schema['info']['version']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1><p>For programs: <a href=/openapi.json>"
        f"openapi.json</a>. Every refusal is <code>{{&quot;error&quot;: ...}}</code>.</p>{shown}"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = [
        (one["name"], _kind(one["schema"]), "needed" if one.get("required") else "")
        for one in operation.get("parameters", ())
    ]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        names = schema.get("properties", {})
        needed = schema.get("required", ())
        rows += [
            (name, _kind(one), "needed" if name in needed else "") for name, one in names.items()
        ]
        if not names:
            rows.append((kind, str(schema.get("$ref", "")).rpartition("/")[2], "needed"))
    table = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(kind)}<td>{note}"
        for name, kind, note in rows
    )
    return (
        f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
        f"<p>{escape(str(operation.get('description', '')))}</p><table>{table}</table>"
    )


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = [str(one.get("type")) for one in schema.get("anyOf", (schema,))]
    return str(schema.get("format", "")) or " or ".join(kind for kind in kinds if kind != "null")
