"""Everything that clients send has bounds: every number, every text and every list (C4)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from keyside.core.reading import Delta, read
from keyside.core.transcript import MOST_PARTS, Transcript, merge, transcribe
from keyside.protocol import commands, wire
from keyside.protocol.base import MOST
from keyside.protocol.entities import Failure, Model
from keyside.protocol.events import EVENTS

rule = pytest.mark.rule

SENT = [
    *(event.payload for event in EVENTS.values() if event.direction == "client"),
    wire.ConnectAuth,
    wire.Answer,
    commands.NewChat,
    commands.ChatPatch,
    commands.NewMessage,
    commands.MessagePatch,
    commands.NewRun,
    commands.NewToken,
    commands.LinkCode,
]
BOUNDED_OTHERWISE = {
    "$/lines[]": "E10 counts their bytes",
    "Failure/code": "it is cut",
    "Failure/message": "it is cut",
    "$/params": "E2 counts the bytes of the whole request",
}


def unbounded(schema: dict[str, Any], at: str) -> Iterator[str]:
    """The places in a schema where any number, text or list is taken, however large it is."""
    match schema.get("type"):
        case "integer" | "number":
            if not ({"minimum", "exclusiveMinimum"} & set(schema) and "maximum" in schema):
                yield at
        case "string":
            if not {"maxLength", "pattern", "enum", "const"} & set(schema):
                yield at
        case "array":
            if "maxItems" not in schema:
                yield at
            yield from unbounded(schema["items"], f"{at}[]")
        case "object" if schema.get("additionalProperties"):
            yield at
    for name, field in schema.get("properties", {}).items():
        yield from unbounded(field, f"{at}/{name}")
    for part in schema.get("anyOf", []):
        yield from unbounded(part, at)
    for name, definition in schema.get("$defs", {}).items():
        yield from unbounded(definition, name)


@rule("C4")
@pytest.mark.parametrize("sent", SENT, ids=lambda sent: sent.__name__)
def test_what_clients_send_has_bounds_everywhere(sent: type[BaseModel]) -> None:
    assert set(unbounded(TypeAdapter(sent).json_schema(), "$")) <= set(BOUNDED_OTHERWISE)


@rule("C4")
def test_the_search_for_what_has_no_bounds_finds_it() -> None:
    class Inner(BaseModel):
        text: str

    class Open(BaseModel):
        number: int | None
        price: float
        list: list[Inner]
        map: dict[str, int]

    assert set(unbounded(Open.model_json_schema(), "$")) == {"$/number", "$/price", "$/list", "$/map", "Inner/text"}


@pytest.mark.parametrize("value", [MOST + 1, 2**64, 10**33, -1, float("inf"), float("nan"), 1e300, "9" * 5000])
def test_a_number_out_of_bounds_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        wire.ChatOpen(chat_id=value)
    with pytest.raises(ValidationError):
        Model(id="m", context_length=value)
    with pytest.raises(ValidationError):
        wire.Answer(status=True, run_id="r", attempt=value)


@rule("E7")
def test_a_failure_is_cut_and_never_refused_for_its_length() -> None:
    cut = Failure(code="c" * 500, message="🙂" * 5_000_000)
    assert (cut.code, cut.message) == ("c" * 100, "🙂" * 2000)
    assert Failure(code="c", message="m" * 2000).message == "m" * 2000


# --- what is read out of lines ---------------------------------------------------------------------


def chunk(**delta: Any) -> str:
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]})


def said(**delta: Any) -> Delta:
    reading = read(chunk(**delta))
    assert isinstance(reading, Delta)
    return reading


@rule("D2")
def test_names_and_addresses_in_a_line_are_bounded_and_the_text_is_not() -> None:
    long = "x" * 100_000
    call = {"index": 0, "id": long, "function": {"name": long, "arguments": long}}
    note = {"url_citation": {"url": "https://a.example", "title": long}}
    found = said(
        content=long,
        reasoning_content=long,
        tool_calls=[call],
        images=[{"image_url": {"url": long}}, {"image_url": {"url": "/uploads/1"}}],
        annotations=[note, {"url_citation": {"url": long}}],
    )
    assert (found.content, found.reasoning, found.tool_calls[0].arguments) == (long, long, long)
    assert (len(found.tool_calls[0].id), len(found.tool_calls[0].name)) == (16_384, 16_384)
    assert found.images == ("/uploads/1",)
    assert [(one.url, len(one.title)) for one in found.citations] == [("https://a.example", 16_384)]


@rule("D2")
def test_a_message_has_so_many_parts_and_not_more_in_whatever_portions_they_come() -> None:
    lines = [
        chunk(
            tool_calls=[{"index": 7 * at % 1501, "id": f"t{at}", "function": {"name": "f", "arguments": "{}"}}],
            images=[{"image_url": {"url": f"/uploads/{at}"}}],
            annotations=[{"url_citation": {"url": f"https://{at % 1200}.example", "title": str(at)}}],
        )
        for at in range(1501)
    ]
    whole = transcribe(lines)
    assert [len(part) for part in (whole.tool_calls, whole.images, whole.citations)] == [MOST_PARTS] * 3
    assert whole.images[-1] == f"/uploads/{MOST_PARTS - 1}"
    assert [call.index for call in whole.tool_calls] == list(range(MOST_PARTS))
    assert whole.citations[0].title == "1200"
    deltas = [said_by for line in lines if isinstance(said_by := read(line), Delta)]
    grown = Transcript(deltas)
    assert grown.draft == whole
    halves = merge([merge(deltas[:700]), merge([*deltas[700:]])])
    assert halves == whole
