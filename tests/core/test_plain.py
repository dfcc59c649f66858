"""What a plain executor sends, made into lines."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyside.core.frames import end_mark_of
from keyside.core.plain import Joiner, lines_of_answer
from keyside.core.reading import read
from keyside.core.transcript import transcribe
from keyside.protocol.wire import MAX_FRAGMENT
from tests.core.lines import DONE, text_line


def joined(strings: list[str]) -> tuple[list[str], str]:
    """The lines, and what is still waiting for its rest."""
    joiner = Joiner()
    lines: list[str] = []
    for text in strings:
        joiner, whole = joiner.take(text)
        lines += whole
    return lines, joiner.fragment


@pytest.mark.rule("E6")
@pytest.mark.parametrize("line", [text_line("a"), DONE, ": comment", "event: x", "id: 1", "retry: 1", "", "  "])
def test_a_whole_line_comes_through_at_once(line: str) -> None:
    assert joined([line]) == ([line], "")


@pytest.mark.rule("E6")
@pytest.mark.parametrize("line", [text_line('語🙂 {"a": [1, 2]} : x'), text_line("x")[6:], DONE])
def test_a_line_that_was_cut_anywhere_is_joined(line: str) -> None:
    for cut in range(1, len(line)):
        lines, waiting = joined([line[:cut], line[cut:], DONE])
        assert lines == [line, DONE], cut
        assert waiting == ""


@pytest.mark.rule("E6")
@given(
    words=st.lists(st.text(st.sampled_from('ab :{}[]"\\,語'), max_size=8), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 300), max_size=8),
)
def test_a_stream_that_was_cut_into_any_pieces_is_joined(words: list[str], cuts: list[int]) -> None:
    lines = [*map(text_line, words), DONE]
    assert joined([piece for line in lines for piece in pieces(line, cuts)]) == (lines, "")


def pieces(line: str, cuts: list[int]) -> list[str]:
    """The line in pieces, none of which is empty. The first holds `data:`, as a fetch's chunk would."""
    inner = sorted({cut for cut in cuts if len("data:") <= cut < len(line)})
    return [line[a:b] for a, b in zip([0, *inner], [*inner, len(line)], strict=True)]


TEXT = 'data: {"choices": [{"delta": {"content": "'


@pytest.mark.rule("E6")
@pytest.mark.parametrize(
    "cut",
    [
        (TEXT + "a", " ", 'b"}}]}'),
        (TEXT, "[DONE]", '"}}]}'),
        (TEXT, ": like a comment", '"}}]}'),
        (TEXT, "id: 1", '"}}]}'),
        ('data: {"choices"', ': [{"delta"', ': {"content": "x"}}]}'),
        ('data: {"choices": [', '{"delta": {"content": "x"}}', "]}"),
        ("data:", " ", "[DONE]"),
    ],
)
def test_a_piece_from_the_middle_that_looks_whole_does_not_lose_the_line(cut: tuple[str, str, str]) -> None:
    assert joined([*cut, text_line("next")]) == (["".join(cut), text_line("next")], "")


@pytest.mark.rule("E6")
def test_a_fragment_whose_rest_never_comes_is_recorded_as_noise() -> None:
    lost = text_line("lost")[:20]
    assert joined([lost, text_line("kept"), DONE]) == ([lost, text_line("kept"), DONE], "")
    assert transcribe(joined([lost, text_line("kept")])[0]).content == "kept"


@pytest.mark.rule("E6")
def test_without_data_the_next_object_that_is_whole_shows_that_a_fragment_is_lost() -> None:
    lost, kept = text_line("lost")[6:20], text_line("kept")[6:]
    assert joined([lost, kept]) == ([lost, kept], "")


@pytest.mark.rule("E6")
def test_a_fragment_grows_to_256_kib_and_no_further() -> None:
    start = 'data: {"choices": [{"delta": {"content": "'
    room = MAX_FRAGMENT - len(start)
    assert joined([start, "x" * room]) == ([], start + "x" * room)
    assert joined([start, "x" * (room + 1)]) == ([start + "x" * (room + 1)], "")
    assert joined([start, "語" * (room // 3 + 1), DONE])[0][-1] == DONE


@pytest.mark.rule("E6")
def test_a_whole_line_may_be_longer_than_a_fragment() -> None:
    line = text_line("x" * (MAX_FRAGMENT + 10))
    assert joined([line]) == ([line], "")
    assert joined([line[:1000], line[1000:]]) == ([line], "")


# --- answers that come at once ---------------------------------------------------------------------

COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "語 </think>"}, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
}


@pytest.mark.rule("E6")
def test_a_completion_object_is_the_whole_answer() -> None:
    lines = lines_of_answer(COMPLETION)
    assert lines is not None
    draft, mark = transcribe(lines), end_mark_of(map(read, lines))
    assert (draft.content, draft.finish_reason) == ("語 </think>", "length")
    assert draft.usage is not None
    assert (draft.usage.prompt_tokens, draft.usage.completion_tokens) == (3, 4)
    assert mark is not None
    assert mark.complete


@pytest.mark.rule("E6")
def test_a_result_is_the_content() -> None:
    lines = lines_of_answer({"result": "text"})
    assert lines is not None
    assert transcribe(lines).content == "text"
    assert lines_of_answer({"result": ""}) is not None


@pytest.mark.rule("E6")
def test_a_completion_without_a_finish_reason_is_a_stop() -> None:
    lines = lines_of_answer({"choices": [{"message": {"content": "x"}}]})
    assert lines is not None
    assert transcribe(lines).finish_reason == "stop"


@pytest.mark.rule("E6")
@pytest.mark.parametrize(
    "answer",
    [
        None,
        5,
        "text",
        [],
        {},
        {"error": "no"},
        {"result": 5},
        {"choices": []},
        {"choices": {}},
        {"choices": ["x"]},
        {"choices": [{}]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"delta": {"content": "x"}}]},
    ],
)
def test_anything_else_is_no_completion(answer: Any) -> None:
    assert lines_of_answer(answer) is None
