"""Reads the upstream's lines (OpenAI chunk dialect) and folds them into a message."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from keyside.core.attempt import Mark, Piece
from keyside.protocol.entities import Citation, Failure, ToolCall
from keyside.protocol.errors import failure


@dataclass(frozen=True)
class Usage:
    """Tokens, as the upstream counted them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class Delta:
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
Draft = Delta
"""A message in the making has the same fields as what is added to it."""

_ESCAPED_SURROGATE = "\\ud"

_MOST = 2**53
"""Numbers from here on are not taken: neither JavaScript nor every store could hold them."""


def read(line: str) -> Reading:
    """One line of the upstream, with or without its `data:`. Anything that is not understood is `Noise`."""
    data = line[5:].strip() if line.startswith("data:") else line.strip()
    if data == "[DONE]":
        return End()
    if not data.startswith("{"):
        return Noise()
    try:
        chunk = orjson.loads(data)
    except (ValueError, RecursionError):
        chunk = _parsed_leniently(data)
    return Noise() if chunk is None else _read_chunk(chunk)


def _parsed_leniently(data: str) -> Any:
    """What the strict parser refuses, and upstreams send all the same: lone surrogates, NaN. `None`: no JSON at all."""
    try:
        chunk = json.loads(data)
        return _well_formed(chunk) if _ESCAPED_SURROGATE in data.lower() else chunk
    except (ValueError, RecursionError):
        return None


def _well_formed(chunk: Any) -> Any:
    """The chunk with its lone surrogates replaced: they can be escaped in JSON, but neither stored nor sent (D2)."""
    text = json.dumps(chunk, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def fold(draft: Draft, delta: Delta) -> Draft:
    """The draft with the delta added: text is appended, tool calls grow by index, lists get longer."""
    return merge((draft, delta))


def merge(deltas: Iterable[Delta]) -> Delta:
    """Several deltas as one; linear in their size."""
    content: list[str] = []
    reasoning: list[str] = []
    calls: list[ToolCall] = []
    images: list[str] = []
    citations: dict[str, Citation] = {}
    finish_reason: str | None = None
    usage: Usage | None = None
    for delta in deltas:
        content.append(delta.content)
        reasoning.append(delta.reasoning)
        if delta.tool_calls:
            calls.extend(delta.tool_calls)
        if delta.images:
            images.extend(delta.images)
        if delta.citations:
            citations.update((citation.url, citation) for citation in delta.citations)
        finish_reason = delta.finish_reason or finish_reason
        usage = delta.usage or usage
    return Delta(
        "".join(content),
        "".join(reasoning),
        _merge_calls(calls),
        tuple(images),
        tuple(citations.values()),
        finish_reason,
        usage,
    )


def transcribe(lines: Iterable[str]) -> Draft:
    """The message that the lines make."""
    return merge(reading for reading in map(read, lines) if isinstance(reading, Delta))


def survey(readings: Iterable[Reading]) -> Mark | None:
    """The end that the lines hold, if they hold one."""
    reason: str | None = None
    complete = False
    broken: Failure | None = None
    for reading in readings:
        if isinstance(reading, Delta):
            if reading.finish_reason == "error":
                broken = broken or failure("upstream_error")
            elif reading.finish_reason:
                reason = reading.finish_reason
        elif isinstance(reading, End):
            complete = True
        elif isinstance(reading, UpstreamError):
            broken = reading.failure
    return Mark(reason, complete, broken) if reason or complete or broken else None


def read_piece(attempt: int, index: int, lines: tuple[str, ...]) -> Piece:
    """The lines of a frame, with what they say."""
    readings = tuple(map(read, lines))
    return Piece(attempt, index, lines, survey(readings), readings)


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
                id=_text(call.get("id")),
                name=_text(function.get("name")),
                arguments=_text(function.get("arguments")),
            )
        )
    return tuple(found)


def _merge_calls(calls: list[ToolCall]) -> tuple[ToolCall, ...]:
    if not calls:
        return ()
    parts: dict[int, list[ToolCall]] = {}
    for call in calls:
        parts.setdefault(call.index, []).append(call)
    return tuple(
        ToolCall(
            index=index,
            id=next((call.id for call in some if call.id), ""),
            name=next((call.name for call in some if call.name), ""),
            arguments="".join(call.arguments for call in some),
        )
        for index, some in sorted(parts.items())
    )


def _images(images: object) -> tuple[str, ...]:
    """OpenRouter's images. Inline data never travels on the socket: only what has an address is taken."""
    if not isinstance(images, list):
        return ()
    urls = [_nested(image, "image_url", "url") for image in images]
    return tuple(url for url in urls if url and not url.startswith("data:"))


def _citations(annotations: object, urls: object) -> tuple[Citation, ...]:
    found = []
    for note in annotations if isinstance(annotations, list) else ():
        url = _nested(note, "url_citation", "url")
        if url:
            found.append(Citation(url=url, title=_nested(note, "url_citation", "title")))
    found += [Citation(url=url) for url in (urls if isinstance(urls, list) else ()) if isinstance(url, str)]
    return tuple(found)


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
    return value if type(value) is int and 0 <= value < _MOST else None
