"""What one line of an upstream says, whatever stands in it."""

import json
import math
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyside.core.reading import Delta, End, Noise, UpstreamError, chunk_of, read
from tests.core.lines import DONE, text_line

VECTORS = Path(__file__).parent.parent / "vectors"
CLEANED: list[dict[str, str]] = json.loads((VECTORS / "well-formed.json").read_text("utf-8"))


@pytest.mark.rule("D2")
@pytest.mark.parametrize("case", [case for case in CLEANED if case["clean"].startswith("{")])
def test_lone_surrogates_are_replaced_as_the_executor_does_it(case: dict[str, str]) -> None:
    text, clean = (json.dumps({"choices": [{"delta": {"content": "?"}}]}).replace('"?"', x) for x in nested(case))
    assert read(text) == read(clean)


def nested(case: dict[str, str]) -> tuple[str, str]:
    """The string inside of each `{"a": ...}`, as JSON wrote it."""
    text, clean = case["text"][len('{"a":') : -1], case["clean"][len('{"a":') : -1]
    return text, clean


@pytest.mark.rule("C4")
@pytest.mark.parametrize(
    "line",
    [
        'data: {"a":' + "[" * 100_000,
        'data: {"choices":[' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "]}",
        "data: {" + "\x00" * 10,
        'data: {"a": "' + "\x01" + '"}',
        "data: {]",
        "data: []",
        "data: {} {}",
        'data: {"a": NaN',
    ],
)
def test_a_line_that_would_break_the_reader_is_noise(line: str) -> None:
    assert read(line) == Noise()
    assert chunk_of(line) is None


def test_a_long_upstream_error_is_cut() -> None:
    reading = read("data: " + json.dumps({"error": {"message": "x" * 5000}}))
    assert isinstance(reading, UpstreamError)
    assert len(reading.failure.message) < 600


def test_only_done_is_the_end() -> None:
    assert read(DONE) == read("data:[DONE]") == End()
    assert read("data: [done]") == read('data: "[DONE]"') == read("data: [DONE] x") == Noise()


# --- the JSON in a line --------------------------------------------------------------------------


def deep(levels: int) -> str:
    return '{"choices": [{"delta": {"content": "x"}}], "a": ' + "[" * levels + "]" * levels + "}"


@pytest.mark.parametrize("line", [text_line("语"), text_line("语")[6:], text_line("语").replace("data: ", "data:")])
def test_the_chunk_of_a_line_is_its_object(line: str) -> None:
    assert chunk_of(line) == {"choices": [{"index": 0, "delta": {"content": "语"}, "finish_reason": None}]}


@pytest.mark.parametrize("line", ["", "data:", DONE, ": {}", "event: x", "data: 5", 'data: "x"', "data: [1]"])
def test_what_is_no_object_has_no_chunk(line: str) -> None:
    assert chunk_of(line) is None


@pytest.mark.parametrize(
    ("number", "found"),
    [
        ("NaN", None),
        ("-Infinity", None),
        ("Infinity", None),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775809", -(2.0**63)),
        ("9" * 400, math.inf),
        ("9" * 10_000, math.inf),
        ("1e999", math.inf),
        ("-1e999", -math.inf),
    ],
)
@pytest.mark.parametrize("beside", ["", ', "b": NaN', ', "b": "\\ud800"'])
def test_numbers_that_json_cannot_hold_are_taken_as_near_as_it_can(number: str, found: Any, beside: str) -> None:
    line = f'data: {{"choices": [{{"delta": {{"content": "x"}}}}], "a": {number}{beside}}}'
    chunk = chunk_of(line)
    assert chunk is not None
    assert chunk["a"] == found or float(chunk["a"]) == float(found)
    assert read(line) == Delta("x")
    written = json.loads(orjson.dumps(chunk))["a"]
    assert written == (None if found in (math.inf, -math.inf) else chunk["a"])


@pytest.mark.rule("C4")
@pytest.mark.parametrize("levels", [10, 100, 190, 200, 240, 250, 260, 400, 900, 1100, 5000])
@pytest.mark.parametrize("beside", ["", ', "b": NaN', ', "b": "\\ud800"'])
def test_what_is_nested_deeper_than_json_can_be_written_is_noise(levels: int, beside: str) -> None:
    line = "data: " + deep(levels).removesuffix("}") + beside + "}"
    chunk = chunk_of(line)
    assert (chunk is None) == isinstance(read(line), Noise) == (levels > 253)
    if chunk is not None:
        assert orjson.dumps(chunk)


@pytest.mark.parametrize("brackets", [300, 5000])
def test_many_brackets_beside_each_other_are_no_depth(brackets: int) -> None:
    line = '{"choices": [{"delta": {"content": "' + "{[" * brackets + '"}}], "a": [' + "[]," * brackets + "[]]}"
    assert read(line) == Delta("{[" * brackets)
    assert orjson.dumps(chunk_of(line))


@pytest.mark.rule("D2")
@pytest.mark.parametrize("lone", ["\\ud800", "\\uDFFF", "\\udc00\\ud800", "\ud800"])
def test_a_lone_surrogate_escaped_or_not_is_replaced_wherever_it_stands(lone: str) -> None:
    call = f'{{"index": 0, "id": "{lone}", "function": {{"name": "{lone}", "arguments": "{lone}"}}}}'
    line = f'{{"choices": [{{"delta": {{"content": "a{lone}b", "tool_calls": [{call}]}}}}], "{lone}": "{lone}"}}'
    reading, chunk = read(line), chunk_of(line)
    assert isinstance(reading, Delta)
    assert chunk is not None
    replaced = "�" * len(json.loads(f'"{lone}"'))
    assert reading.content == f"a{replaced}b"
    assert reading.tool_calls[0].arguments == replaced
    assert chunk[replaced] == replaced
    assert json.loads(orjson.dumps(chunk)) == chunk


@pytest.mark.rule("D2")
def test_a_pair_of_surrogates_is_one_sign_and_stays() -> None:
    line = '{"choices": [{"delta": {"content": "\\ud83d\\ude42"}}], "a": "\\ud800"}'
    assert read(line) == Delta("🙂")


anything = st.text(st.characters(), max_size=6) | st.text(st.sampled_from('\ud800\udc00a"\\{[]}:,'), max_size=6)
numbers = st.integers() | st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([10**30, -(10**400), 2**63])
values = st.recursive(
    st.none() | st.booleans() | numbers | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=12,
)
calls = st.lists(st.fixed_dictionaries({}, optional={"index": numbers, "id": values, "function": values}), max_size=2)
deltas = st.fixed_dictionaries(
    {},
    optional={
        "content": values,
        "reasoning": values,
        "tool_calls": calls | values,
        "images": values,
        "annotations": values,
    },
)
choices = st.lists(st.fixed_dictionaries({"delta": deltas | values}, optional={"finish_reason": values}), max_size=2)
chunks = st.fixed_dictionaries(
    {}, optional={"choices": choices | values, "usage": values, "citations": values, "error": values, "x": values}
)


@pytest.mark.rule("C4", "D2")
@settings(max_examples=200)
@given(
    chunk=chunks | st.dictionaries(anything, values), escaped=st.booleans(), levels=st.sampled_from([0, 0, 252, 400])
)
@example(chunk={"a": "\ud800"}, escaped=False, levels=0)
@example(chunk={"a": math.nan, "\udfff": 2**64}, escaped=True, levels=253)
def test_whatever_is_taken_as_a_delta_can_be_written_again(chunk: Any, escaped: bool, levels: int) -> None:
    if levels:
        chunk = {**chunk, "deep": json.loads("[" * levels + "]" * levels)}
    line = "data: " + json.dumps(chunk, ensure_ascii=escaped)
    holds(line)


@pytest.mark.rule("C4")
@settings(max_examples=200)
@given(line=st.text(st.sampled_from('data: {}[]",:0123456789e-NaInfty\\u d8\ud800'), max_size=40))
def test_no_line_breaks_the_reader(line: str) -> None:
    holds(line)
    holds("data: {" + line + "}")


def holds(line: str) -> None:
    """What is read of the line, and its chunk, can be written as JSON and as UTF-8."""
    reading, chunk = read(line), chunk_of(line)
    assert (chunk is None) == isinstance(reading, Noise | End)
    if isinstance(reading, Delta):
        assert isinstance(orjson.loads(orjson.dumps(chunk)), dict)
        for text in (reading.content, reading.reasoning, reading.finish_reason or "", *reading.images):
            text.encode()
        for entity in (*reading.tool_calls, *reading.citations):
            assert entity.model_dump_json()
    if isinstance(reading, UpstreamError):
        assert reading.failure.model_dump_json()
