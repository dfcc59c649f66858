"""Reads one line of an upstream's stream, in the dialect of OpenAI's chunks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from keyside.protocol.base import MOST
from keyside.protocol.entities import Citation, Failure, ToolCall
from keyside.protocol.errors import failure


@dataclass(frozen=True)
class Usage:
    """Tokens, as the upstream counted them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Delta(NamedTuple):
    """What one line, or several merged, adds to a message."""

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    images: tuple[str, ...] = ()
    citations: tuple[Citation, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True)
class End:
    """`[DONE]`."""


@dataclass(frozen=True)
class UpstreamError:
    """An error object in the stream."""

    failure: Failure


@dataclass(frozen=True)
class Noise:
    """A comment, a keep-alive, a field that is not data, or something that is no JSON."""


Reading = Delta | End | UpstreamError | Noise
_END, _NOISE = End(), Noise()

_LONGEST = 16 * 1024
"""Characters that are kept of a name, an id or a title; an address that has more is left out.

There are providers whose ids of tool calls hold some kilobytes of their own state.
"""

_DEEP = 200
"""Brackets that a line may have before it is looked at whether they are nested deeper than JSON can be written."""


def read(line: str) -> Reading:
    """What one line of the upstream says. What is not understood is `Noise`."""
    data = _data_of(line)
    if data == "[DONE]":
        return _END
    chunk = _parsed(data)
    return _NOISE if chunk is None else _read_chunk(chunk)


def chunk_of(line: str) -> dict[str, Any] | None:
    """The JSON object in a line that `read` takes as a `Delta`; it can be written as JSON again.

    Numbers that JSON does not know (`NaN`, `-Infinity`) are `None`. The result is `None` where the line is no object.
    """
    chunk: dict[str, Any] | None = _parsed(_data_of(line))
    return chunk


def _data_of(line: str) -> str:
    """A line without its `data:`, which some executors leave out."""
    return line[5:].strip() if line.startswith("data:") else line.strip()


def _parsed(data: str) -> Any:
    if not data.startswith("{"):
        return None
    try:
        chunk = orjson.loads(data)
    except (ValueError, RecursionError):
        chunk = _parsed_leniently(data)
    if chunk is not None and len(data) > _DEEP and data.count("{") + data.count("[") > _DEEP:
        return _writable(chunk)
    return chunk


def _parsed_leniently(data: str) -> Any:
    """What the strict parser refuses, and upstreams send all the same: lone surrogates, NaN. `None`: no JSON at all."""
    try:
        return _well_formed(json.loads(data, parse_constant=lambda _: None, parse_int=_bounded))
    except (ValueError, RecursionError):
        return None


def _bounded(digits: str) -> int | float:
    """An integer as JSON writers take it: beyond 64 bits it becomes a float."""
    if len(digits) < 19:
        return int(digits)
    number = float(digits)
    return int(digits) if abs(number) < 2**63 else number


def _writable(chunk: Any) -> Any:
    """The chunk, or `None` where it is nested too deep to be written again."""
    try:
        orjson.dumps(chunk)
    except TypeError:
        return None
    return chunk


def _well_formed(chunk: Any) -> Any:
    """The chunk with its lone surrogates replaced: they can be neither stored nor sent (D2)."""
    text = json.dumps(chunk, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _read_chunk(chunk: Mapping[str, Any]) -> Reading:
    """What one chunk adds. It runs for every token: what is not there is not looked into."""
    broken = _error_in(chunk)
    if broken:
        return UpstreamError(broken)
    choice = _first_choice(chunk.get("choices"))
    delta = choice.get("delta") or choice.get("message") or {}
    if not isinstance(delta, dict):
        delta = {}
    content, thinking = delta.get("content"), ""
    if not isinstance(content, str):
        content, thinking = _texts(content)
    calls, images, notes = delta.get("tool_calls"), delta.get("images"), delta.get("annotations")
    urls = chunk.get("citations")
    reason = choice.get("finish_reason")
    return Delta(
        content,
        thinking or _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")),
        _calls(calls) if calls else (),
        _images(images) if images else (),
        _citations(notes, urls) if notes or urls else (),
        reason if reason and isinstance(reason, str) else None,
        _usage(chunk) if "usage" in chunk else None,
    )


def _first_choice(choices: object) -> Mapping[str, Any]:
    """Of several answers in one stream (`n`), the first is the message's."""
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and not choice.get("index"):
                return choice
    return {}


def _error_in(chunk: Mapping[str, Any]) -> Failure | None:
    error = chunk.get("error")
    if chunk.get("object") == "error":
        error = chunk
    if not error:
        return None
    message = error.get("message") if isinstance(error, dict) else error
    said = str(message)[:500] if message else None
    return failure("upstream_error", said and f"The upstream answered: {said}")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(content: object) -> tuple[str, str]:
    """Text and thinking of a delta's content; Mistral sends a list of typed parts."""
    if not isinstance(content, list):
        return _text(content), ""
    text, thinking = [], []
    for part in content:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "thinking" and isinstance(part.get("thinking"), list):
            thinking += [_text(inner.get("text")) for inner in part["thinking"] if isinstance(inner, dict)]
        else:
            text.append(_text(part.get("text")))
    return "".join(text), "".join(thinking)


def _calls(calls: object) -> tuple[ToolCall, ...]:
    if not isinstance(calls, list):
        return ()
    found = []
    for position, call in enumerate(calls):
        if not isinstance(call, dict):
            continue
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        index = _count(call.get("index"))
        found.append(
            ToolCall(
                index=position if index is None else index,
                id=_text(call.get("id"))[:_LONGEST],
                name=_text(function.get("name"))[:_LONGEST],
                arguments=_text(function.get("arguments")),
            )
        )
    return tuple(found)


def _images(images: object) -> tuple[str, ...]:
    """OpenRouter's images. Inline data never travels on the socket: only what has an address is taken."""
    if not isinstance(images, list):
        return ()
    urls = [_nested(image, "image_url", "url") for image in images]
    return tuple(url for url in urls if _is_address(url) and not url.startswith("data:"))


def _citations(annotations: object, urls: object) -> tuple[Citation, ...]:
    found = []
    for note in annotations if isinstance(annotations, list) else ():
        url = _nested(note, "url_citation", "url")
        if _is_address(url):
            found.append(Citation(url=url, title=_nested(note, "url_citation", "title")[:_LONGEST]))
    found += [Citation(url=url) for url in (urls if isinstance(urls, list) else ()) if _is_address(url)]
    return tuple(found)


def _is_address(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST


def _nested(value: object, *path: str) -> str:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return _text(value)


def _usage(chunk: Mapping[str, Any]) -> Usage | None:
    usage = chunk.get("usage")
    if not isinstance(usage, dict):
        return None
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MOST else None
