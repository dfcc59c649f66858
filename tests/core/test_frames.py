"""The lines of one frame, and the end that they hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyside.core.frames import EndMark, FrameLines, end_mark_of
from keyside.core.reading import Delta, End, Noise, read
from keyside.protocol.errors import failure
from tests.core.lines import DONE, text_line
from tests.core.runs import frame

BROKEN = 'data: {"error": {"message": "too busy"}}'
SAID = failure("upstream_error", "The upstream answered: too busy")
BARE = failure("upstream_error")

failures = st.none() | st.sampled_from([SAID, BARE, failure("upstream_error", "The upstream answered: no")])
marks = st.builds(EndMark, st.none() | st.sampled_from(["stop", "length"]), st.booleans(), failures)
lines = st.sampled_from(
    [
        text_line("x"),
        text_line("", finish_reason="stop"),
        text_line("", finish_reason="length"),
        text_line("", finish_reason="error"),
        BROKEN,
        'data: {"error": {}, "object": "error"}',
        ": comment",
        DONE,
    ]
)


@pytest.mark.rule("E5")
def test_a_frame_without_its_known_lines_begins_behind_them() -> None:
    whole = frame(3, "a", "b", "c")
    assert whole.after(0) is whole
    assert whole.after(2) == frame(5, "c")
    assert whole.after(3) == frame(6)


def test_a_frame_knows_what_its_lines_say() -> None:
    assert frame(0, text_line("a"), ": x", DONE).readings == (Delta("a"), Noise(), End())
    assert frame(0).readings == ()
    assert frame(0).end_mark is None


def test_a_frame_is_its_lines_whether_they_were_read_or_not() -> None:
    one, other = frame(0, DONE), frame(0, DONE)
    assert one.end_mark == EndMark(complete=True)
    assert one == other
    assert hash(one) == hash(other)
    assert FrameLines(2, 0, (DONE,)) != one


@pytest.mark.rule("E7")
@pytest.mark.parametrize(
    ("said", "mark"),
    [
        ([text_line("x"), ": x"], None),
        ([DONE], EndMark(complete=True)),
        ([text_line("", finish_reason="stop")], EndMark(reason="stop")),
        ([text_line("", finish_reason="stop"), text_line("", finish_reason="length")], EndMark(reason="length")),
        ([text_line("", finish_reason="error")], EndMark(failure=BARE)),
        ([BROKEN], EndMark(failure=SAID)),
        ([BROKEN, text_line("", finish_reason="error"), DONE], EndMark(complete=True, failure=SAID)),
        ([text_line("", finish_reason="error"), BROKEN], EndMark(failure=SAID)),
    ],
)
def test_the_end_that_lines_hold(said: list[str], mark: EndMark | None) -> None:
    assert end_mark_of(map(read, said)) == mark


@pytest.mark.rule("E7")
def test_of_two_marks_the_later_one_counts_and_nothing_that_it_does_not_say_is_lost() -> None:
    stop, length, done = EndMark(reason="stop"), EndMark(reason="length"), EndMark(complete=True)
    assert stop.then(None) == stop
    assert stop.then(length) == length
    assert stop.then(done) == done.then(stop) == EndMark("stop", complete=True)
    assert done.then(EndMark(failure=SAID)) == EndMark(complete=True, failure=SAID)
    assert EndMark(failure=SAID).then(EndMark(failure=failure("upstream_error", "no"))).failure != SAID


@pytest.mark.rule("E7")
def test_a_bare_error_hides_no_words() -> None:
    assert EndMark(failure=SAID).then(EndMark(failure=BARE)).failure == SAID
    assert EndMark(failure=BARE).then(EndMark(failure=SAID)).failure == SAID
    assert EndMark().then(EndMark(failure=BARE)).failure == BARE


@settings(max_examples=200)
@given(a=marks, b=marks, c=st.none() | marks)
def test_marks_are_put_together_in_any_grouping(a: EndMark, b: EndMark, c: EndMark | None) -> None:
    assert a.then(b).then(c) == a.then(b.then(c))
    assert a.then(EndMark()) == EndMark().then(a) == a


@pytest.mark.rule("E5", "E7")
@settings(max_examples=200)
@given(said=st.lists(lines, max_size=8), cut=st.integers(0, 8))
def test_lines_hold_the_same_end_in_one_frame_as_in_two(said: list[str], cut: int) -> None:
    whole = frame(0, *said)
    head, tail = frame(0, *said[:cut]), whole.after(min(cut, len(said)))
    together = head.end_mark.then(tail.end_mark) if head.end_mark else tail.end_mark
    assert together == whole.end_mark
