"""What the upstream's lines say, and how they fold."""

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyside.core.frames import end_mark_of
from keyside.core.reading import Delta, Usage, read
from keyside.core.transcript import Transcript, fold, merge, transcribe
from keyside.protocol.entities import Citation, ToolCall
from tests.core.lines import text_line

VECTORS = Path(__file__).parent.parent / "vectors"
CASES: list[dict[str, Any]] = json.loads((VECTORS / "transcript.json").read_text("utf-8"))


def told(lines: list[str]) -> dict[str, Any]:
    """What the lines fold to, in the vectors' words."""
    draft = transcribe(lines)
    mark = end_mark_of(map(read, lines))
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
    mark = end_mark_of(map(read, [text_line("x"), *case["lines"]]))
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


@pytest.mark.rule("V3")
@given(them=st.lists(deltas, max_size=8), cuts=st.lists(st.integers(0, 8), max_size=4))
def test_however_deltas_are_put_together_the_message_is_the_same(them: list[Delta], cuts: list[int]) -> None:
    edges = sorted({0, len(them), *(cut for cut in cuts if cut < len(them))})
    groups = [merge(them[a:b]) for a, b in pairwise(edges)]
    assert merge(groups) == merge(them)


@pytest.mark.rule("V3")
@given(them=st.lists(deltas, min_size=1, max_size=8), reads=st.sets(st.integers(0, 7)), block=st.integers(1, 4))
def test_a_transcript_is_what_was_added_whenever_it_is_read(them: list[Delta], reads: set[int], block: int) -> None:
    """The size of its blocks is nobody's business: many deltas for each block as well as one."""
    transcript = Transcript()
    for n, delta in enumerate(them):
        for _ in range(300 if n == block else 1):
            transcript.add(delta)
        if n in reads:
            assert transcript.draft == transcript.draft == merge(repeated(them[: n + 1], block))
    assert transcript.draft == merge(repeated(them, block))


def repeated(them: list[Delta], which: int) -> list[Delta]:
    return [delta for n, delta in enumerate(them) for _ in range(300 if n == which else 1)]


@pytest.mark.rule("V3")
def test_a_transcript_begins_with_what_is_stored_and_passes_over_what_adds_nothing() -> None:
    assert Transcript().draft == Delta()
    lines = [": a comment", text_line("a"), "data: [DONE]", text_line("b")]
    transcript = Transcript(map(read, lines))
    transcript.add(Delta("c"))
    assert transcript.draft == Delta("abc")


@pytest.mark.rule("V3")
@given(count=st.integers(250, 530))
@settings(max_examples=20)
def test_a_long_transcript_keeps_every_word_in_order(count: int) -> None:
    words_ = [f"{n} " for n in range(count)]
    transcript = Transcript(map(Delta, words_))
    assert transcript.draft.content == "".join(words_)


@pytest.mark.rule("D2")
@given(pieces=st.lists(words, max_size=20))
def test_the_text_is_the_concatenated_text_of_the_lines(pieces: list[str]) -> None:
    assert transcribe(map(text_line, pieces)).content == "".join(pieces)
