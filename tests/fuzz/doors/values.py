"""Strategies for values that nearly fit a JSON Schema, and their encoding as JSON text.

What a value cannot hold, because hypothesis could not carry it or Python could not encode it, is a mark: a text that
`encoded` replaces. So a large value is a short text until it is sent, and an id is drawn before it exists.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

Schema = Mapping[str, Any]
Strategy = st.SearchStrategy[Any]
Ids = Mapping[str, object]
"""The ids that marks stand for: `own:chat` is one of the attacker's, `other:chat` one of the other user's."""

_MARK = "\ue000"
_MARKED = re.compile(r'"\\ue000([a-z]+):(\w+)"')
KINDS = ("chat", "message", "run", "executor", "session", "channel", "secret", "token", "sign_in")
_FIELDS = {
    "chat_id": "chat",
    "executor_id": "executor",
    "head_id": "message",
    "id": "message",
    "message_id": "message",
    "parent_id": "message",
    "prefer_executor_id": "executor",
    "run_id": "run",
    "secret": "secret",
    "session_id": "session",
}
"""Fields that hold an id of some kind."""
_NASTY = ("", "\0", "\ud800", "a\udfff\ud800b", "\u202e", "\r\n", "../..", "%0a", "__proto__", "data: [DONE]", "𝕊" * 64)
_NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**33)
_FLOATS = (0.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"))
_SIZES = {
    "text": (300, 70_000, 1_100_000),
    "deep": (200, 250, 2_000, 100_000),
    "digits": (33, 4_301),
    "many": (20_000,),
}


def drawn(strategy: Strategy, count: int, number: int) -> list[Any]:
    """Values of a strategy: at most `count` of them, always the same for one seed."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(strategy)
    def keep(value: Any) -> None:
        found.append(value)

    keep()
    return found


def mark(kind: str, name: object) -> str:
    """A text that `encoded` replaces."""
    return f"{_MARK}{kind}:{name}"


def id_marks(kind: str) -> list[str]:
    """Ids of this kind: of the attacker and of the other user, and of neither."""
    return [mark("own", kind), mark("own", kind), mark("other", kind), "nobody-s", "x" * 65]


@cache
def ids(kind: str) -> Strategy:
    """One of these ids."""
    return st.sampled_from(id_marks(kind))


@cache
def huge() -> Strategy:
    """Marks for what is long, deep, or of many digits."""
    return st.sampled_from([mark(kind, size) for kind, sizes in _SIZES.items() for size in sizes])


@cache
def wild() -> Strategy:
    """Anything that JSON can say."""
    leaf = st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from(_NUMBERS),
        st.sampled_from(_FLOATS),
        st.sampled_from(_NASTY),
        st.text(max_size=20),
        st.sampled_from(KINDS).flatmap(ids),
        huge(),
    )
    names = st.one_of(st.sampled_from([*_FIELDS, *_NASTY]), st.text(max_size=8))
    return st.recursive(leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4))


def nearly(schema: Schema, definitions: Schema, field: str = "") -> Strategy:
    """Values that fit the schema, but for a part of them that may be anything."""
    return _seldom(wild(), _like(schema, definitions, field))


def _seldom(rare: Strategy, usual: Strategy) -> Strategy:
    return st.integers(0, 24).flatmap(lambda dice: rare if dice == 0 else usual)


def _like(schema: Schema, definitions: Schema, field: str) -> Strategy:
    if "$ref" in schema:
        return st.deferred(lambda: _like(definitions[schema["$ref"].rpartition("/")[2]], definitions, field))
    if "anyOf" in schema:
        return st.one_of([nearly(one, definitions, field) for one in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    make = _BY_TYPE.get(schema.get("type", ""))
    made = wild() if make is None else make(schema, definitions)
    return ids(_FIELDS[field]) | made if field in _FIELDS else made


def _text(schema: Schema, _definitions: Schema) -> Strategy:
    most = schema.get("maxLength", 1000)
    edges = st.sampled_from([mark("text", most), mark("text", most + 1), *_NASTY])
    return _seldom(
        edges | huge(), st.text("ab-1é", min_size=schema.get("minLength", 1), max_size=max(most, 1) % 40 + 16)
    )


def _number(schema: Schema, _definitions: Schema) -> Strategy:
    least, most = schema.get("minimum", 0), schema.get("maximum", 100)
    usual = st.integers(int(least), max(int(least), int(most)))
    numbers = usual | st.sampled_from([*_NUMBERS, mark("own", "attempt")])
    return numbers if schema["type"] == "integer" else numbers | st.sampled_from(_FLOATS)


def _list(schema: Schema, definitions: Schema) -> Strategy:
    items = nearly(schema.get("items", {}), definitions)
    return st.lists(items, min_size=min(schema.get("minItems", 0), 3), max_size=3)


def _object(schema: Schema, definitions: Schema) -> Strategy:
    fields = {name: nearly(one, definitions, name) for name, one in schema.get("properties", {}).items()}
    if not fields:
        return st.dictionaries(st.text(max_size=8), wild(), max_size=4)
    needed = {name: one for name, one in fields.items() if name in schema.get("required", ())}
    complete = st.fixed_dictionaries(needed, optional={n: one for n, one in fields.items() if n not in needed})
    return _seldom(st.fixed_dictionaries({}, optional=fields), complete)


_BY_TYPE: dict[str, Callable[[Schema, Schema], Strategy]] = {
    "array": _list,
    "boolean": lambda *_: st.booleans(),
    "integer": _number,
    "null": lambda *_: st.none(),
    "number": _number,
    "object": _object,
    "string": _text,
}


def encoded(value: Any, known: Ids) -> str:
    """The value as JSON, in ASCII, with all its marks replaced. It may be more than JSON should say, such as NaN."""
    return _MARKED.sub(lambda found: _meaning(found[1], found[2], known), json.dumps(value))


def _meaning(kind: str, name: str, known: Ids) -> str:
    if kind == "text":
        return f'"{"x" * int(name)}"'
    if kind == "deep":
        return "[" * int(name) + "]" * int(name)
    if kind == "digits":
        return "7" * int(name)
    if kind == "many":
        return f"[{','.join(['{}'] * int(name))}]"
    return json.dumps(known.get(f"{kind}:{name}"))
