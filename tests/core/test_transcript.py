"""What the upstream's lines say, and how they fold."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyside.core.transcript import (
    Delta,
    End,
    Noise,
    Usage,
    fold,
    merge,
    read,
    survey,
    transcribe,
)
from keyside.protocol.entities import Citation, ToolCall
from keyside.testing import DONE, text_line

VECTORS = Path(__file__).parent.parent / "vectors"
CASES: list[dict[str, Any]] = json.loads((VECTORS / "transcript.json").read_text("utf-8"))
CLEANED: list[dict[str, str]] = json.loads((VECTORS / "well-formed.json").read_text("utf-8"))


def told(lines: list[str]) -> dict[str, Any]:
    """What the lines fold to, in the vectors' words."""
    draft = transcribe(lines)
    mark = survey(map(read, lines))
    error = mark.failure if mark else None
    return {
        "content": draft.content,
        "reasoning": draft.reasoning,
        "tool_calls": [call.model_dump() for call in draft.tool_calls],
        "images": list(draft.images),
        "citations": [citation.model_dump() for citation in draft.citations],
        "finish_reason": draft.finish_reason,
        "usage": asdict(draft.usage) if draft.usage else None,
        "done": mark is not None and mark.complete,
        "error": {"code": error.code, "message": error.message} if error else None,
    }


@pytest.mark.rule("D2", "E7")
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_lines_fold_to_what_the_upstream_said(case: dict[str, Any]) -> None:
    assert told(case["lines"]) == case["expect"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_end_that_lines_hold_is_found_whatever_comes_before_it(case: dict[str, Any]) -> None:
    mark = survey(map(read, [text_line("x"), *case["lines"]]))
    expect = case["expect"]
    broken = expect["error"] is not None
    reason = None if expect["finish_reason"] == "error" else expect["finish_reason"]
    if not (broken or expect["done"] or reason):
        assert mark is None
    else:
        assert mark is not None
        assert (mark.failure is not None, mark.complete, mark.reason) == (broken, expect["done"], reason)


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)


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
        'data: {"n": ' + "9" * 10_000 + "}",
        "data: {" + "\x00" * 10,
    ],
)
def test_a_line_that_would_break_the_reader_is_noise(line: str) -> None:
    assert read(line) == Noise()


def test_a_long_upstream_error_is_cut() -> None:
    mark = survey([read("data: " + json.dumps({"error": {"message": "x" * 5000}}))])
    assert mark is not None
    assert mark.failure is not None
    assert len(mark.failure.message) < 600


def test_only_done_is_the_end() -> None:
    assert read(DONE) == read("data:[DONE]") == End()
    assert read("data: [done]") == read('data: "[DONE]"') == read("data: [DONE] x") == Noise()


# --- folding ---------------------------------------------------------------------------------------

words = st.text(max_size=5)
calls = st.builds(ToolCall, index=st.integers(0, 3), id=words, name=words, arguments=words)
citations = st.builds(Citation, url=st.sampled_from(["u1", "u2", "u3"]), title=words)
counts = st.none() | st.integers(0, 99)
deltas = st.builds(
    Delta,
    content=words,
    reasoning=words,
    tool_calls=st.lists(calls, max_size=3).map(tuple),
    images=st.lists(words, max_size=2).map(tuple),
    citations=st.lists(citations, max_size=3).map(tuple),
    finish_reason=st.none() | st.sampled_from(["stop", "length"]),
    usage=st.none() | st.builds(Usage, counts, counts),
)


@pytest.mark.rule("V3")
@given(before=deltas, first=st.lists(deltas, max_size=5), second=st.lists(deltas, max_size=5))
def test_folding_what_was_merged_is_folding_one_by_one(before: Delta, first: list[Delta], second: list[Delta]) -> None:
    one_by_one = before
    for delta in [*first, *second]:
        one_by_one = fold(one_by_one, delta)
    merged = fold(fold(before, merge(first)), merge(second))
    # Before anything was folded, parts of one tool call may still lie apart.
    assert merge([merged]) == merge([one_by_one]) == merge([before, *first, *second])


@given(draft=deltas)
def test_nothing_adds_nothing(draft: Delta) -> None:
    whole = merge([draft])
    assert fold(whole, Delta()) == fold(Delta(), whole) == whole


@pytest.mark.rule("D2")
@given(pieces=st.lists(words, max_size=20))
def test_the_text_is_the_concatenated_text_of_the_lines(pieces: list[str]) -> None:
    assert transcribe(map(text_line, pieces)).content == "".join(pieces)
