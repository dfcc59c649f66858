"""Shows the OpenAPI document as one page without scripts, because the security policy forbids those of a CDN."""

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, RedirectResponse

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
code,pre{font-family:ui-monospace,monospace;font-size:.875em}
article{border-top:1px solid #8884;padding:.5rem 0 1rem}h3{margin:.75rem 0 .25rem}
table{border-collapse:collapse;width:100%}th,td{text-align:start;vertical-align:top;padding:.2rem .75rem .2rem 0}
th{font-weight:600}td:first-child{white-space:nowrap}
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
Schema = dict[str, Any]


def serve_docs(app: FastAPI) -> None:
    """Adds `/docs`, redirects `/redoc` to it, and corrects what FastAPI documents about validation errors.

    The application must be created with `docs_url=None, redoc_url=None`.
    """
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()), headers={"content-security-policy": POLICY})

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> RedirectResponse:
        return RedirectResponse("/docs")


def _openapi(app: FastAPI) -> Schema:
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for _, _, operation in _operations(made):
            # An invalid request is answered with the error `bad_request`, not with 422.
            operation["responses"].pop("422", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            made.get("components", {}).get("schemas", {}).pop(unused, None)
        app.openapi_schema = made
    return app.openapi_schema


def _operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in document.get("paths", {}).items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def page(document: Schema) -> str:
    """The document as HTML: every operation with its fields, answers and errors."""
    info = document["info"]
    calls = "".join(_call(*operation, document) for operation in _operations(document))
    title = escape(f"{info['title']} {info['version']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{title}</h1><p>{escape(info.get('description', ''))}</p>"
        '<p>The same for programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{calls}</html>"
    )


def _call(path: str, method: str, operation: Schema, document: Schema) -> str:
    parameters = [
        _field_row(one["name"], one.get("schema", {}), one.get("required", False), one["in"])
        for one in operation.get("parameters", [])
    ]
    body = _json_schema(operation.get("requestBody", {}), document)
    answers = "".join(_answer_row(status, one) for status, one in operation["responses"].items())
    return (
        f"<article><h3><code>{escape(method)} {escape(path)}</code></h3>"
        f"<p>{_text(operation.get('description') or '')}</p>"
        f"{_table(parameters + _fields(body, 'body'))}"
        f"<table><tr><th>answer</th><th></th></tr>{answers}</table></article>"
    )


def _json_schema(content: Schema, document: Schema) -> Schema:
    schema: Schema = content.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Schema = document.get("components", {}).get("schemas", {}).get(name, schema)
    return found


def _fields(schema: Schema, place: str) -> list[str]:
    required = schema.get("required", [])
    return [_field_row(name, field, name in required, place) for name, field in schema.get("properties", {}).items()]


def _field_row(name: str, schema: Schema, required: bool, place: str) -> str:
    need = "required" if required else "optional"
    told = _text(schema.get("description", ""))
    return (
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_type(schema))}</td>"
        f"<td>{escape(place)}, {need}</td><td>{told}</td></tr>"
    )


def _type(schema: Schema) -> str:
    if "anyOf" in schema:
        return " | ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(f'"{value}"' for value in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _answer_row(status: str, response: Schema) -> str:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    shape = f" <code>{escape(_type(schema))}</code>" if schema else ""
    return f"<tr><td>{escape(status)}{shape}</td><td>{_text(response['description'])}</td></tr>"


def _table(rows: list[str]) -> str:
    head = "<tr><th>field</th><th>type</th><th>where</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>" if rows else ""


def _text(markdown: str) -> str:
    """HTML of a text in which only `code` spans are marked up."""
    parts = escape(markdown).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
