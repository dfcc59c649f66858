"""How a run ends: finish, failure, marks in its lines, and a stop."""

from typing import Any

import pytest

from keyside.core.frames import EndMark, FrameLines
from keyside.core.inputs import Abandon, Cancel, CloseMessage, Decline, Expire, Fail, Finish, Input, Stop
from keyside.core.run import BOUND, ENDED, State
from keyside.protocol.errors import failure
from tests.core.lines import DONE, text_line
from tests.core.runs import (
    ASSIGNMENT,
    BUSY,
    LATER,
    STOPPED_BY_UPSTREAM,
    apply,
    frame,
    overdue,
    passes,
    queued,
    refusal,
    run_in,
    through,
)

S = State
LOST: list[Input] = [Expire(), Abandon(1)]
"""How a run learns that no more lines come."""


@pytest.mark.rule("E7")
def test_the_end_frame_brings_its_last_lines_and_ends_the_run() -> None:
    after, effects = apply(run_in(S.STREAMING, expected=1), Finish("length", frame(1, "a", DONE)))
    assert (after.state, after.finish_reason, after.expected) == (S.DONE, "length", 3)
    assert (after.closed_by, after.ended_at) == ("executor", LATER)
    assert effects == (frame(1, "a", DONE), CloseMessage())


@pytest.mark.rule("E7")
@pytest.mark.parametrize("state", sorted(BOUND))
def test_lines_with_the_end_mark_finish_the_run_without_an_end_frame(state: State) -> None:
    after, effects = apply(run_in(state), frame(0, text_line("x", finish_reason="length"), DONE))
    assert (after.state, after.finish_reason, after.closed_by) == (S.DONE, "length", "executor")
    assert CloseMessage() in effects


@pytest.mark.rule("E7")
def test_the_finish_reason_may_have_come_in_an_earlier_frame_than_the_end_mark() -> None:
    run = through(run_in(S.STREAMING), frame(0, text_line("", finish_reason="tool_calls")))
    assert (run.state, run.end_mark) == (S.STREAMING, EndMark(reason="tool_calls"))
    assert through(run, frame(1, DONE)).finish_reason == "tool_calls"


@pytest.mark.rule("E7")
def test_the_end_mark_alone_is_a_regular_stop() -> None:
    assert through(run_in(S.STREAMING), frame(0, DONE)).finish_reason == "stop"


@pytest.mark.rule("E7")
@pytest.mark.parametrize("together", [True, False])
def test_an_end_mark_after_an_upstreams_error_fails_the_run(together: bool) -> None:
    broken = 'data: {"error": {"message": "too busy"}}'
    frames = [frame(0, broken, DONE)] if together else [frame(0, broken), frame(1, DONE)]
    run = through(run_in(S.STREAMING), *frames)
    assert run.state is S.FAILED
    assert run.failure == failure("upstream_error", "The upstream answered: too busy")


@pytest.mark.rule("E7")
@pytest.mark.parametrize("together", [True, False])
def test_the_upstreams_own_words_are_kept_when_a_bare_error_follows_them(together: bool) -> None:
    lines = ('data: {"error": {"message": "too busy"}}', text_line("", finish_reason="error"), DONE)
    frames = [frame(0, *lines)] if together else [frame(n, line) for n, line in enumerate(lines)]
    run = through(run_in(S.STREAMING), *frames)
    assert run.failure == failure("upstream_error", "The upstream answered: too busy")


@pytest.mark.rule("E7")
@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("state", sorted(BOUND))
def test_a_run_whose_stored_lines_hold_its_end_is_done_when_no_more_come(state: State, lost: Input) -> None:
    run = overdue(run_in(state, expected=2, end_mark=STOPPED_BY_UPSTREAM), "executor_lost")
    after, effects = apply(run, lost)
    assert (after.state, after.finish_reason, after.failure) == (S.DONE, "stop", None)
    assert effects == (CloseMessage(),)


@pytest.mark.rule("E7")
@pytest.mark.parametrize("lost", LOST)
def test_a_run_whose_stored_lines_hold_an_error_fails_with_that_when_no_more_come(lost: Input) -> None:
    broken = failure("upstream_error", "The upstream answered: no")
    after = through(overdue(run_in(S.SUSPENDED, end_mark=EndMark(failure=broken)), "executor_lost"), lost)
    assert (after.state, after.failure) == (S.FAILED, broken)


@pytest.mark.rule("E7")
def test_a_failure_said_by_the_executor_keeps_the_lines_that_came_with_it() -> None:
    truncated = failure("upstream_truncated")
    after, effects = apply(run_in(S.STREAMING, expected=1), Fail(truncated, frame(1, "a")))
    assert (after.state, after.failure, after.closed_by, after.expected) == (S.FAILED, truncated, "executor", 2)
    assert effects == (frame(1, "a"), CloseMessage())


@pytest.mark.rule("E10")
@pytest.mark.parametrize("state", [S.OFFERED, S.STREAMING, S.SUSPENDED])
def test_a_failure_that_the_server_finds_in_an_attempt_ends_it_and_its_executor_is_told(state: State) -> None:
    broken = failure("line_too_long")
    after, effects = apply(run_in(state, expected=1), Fail(broken, attempt=1))
    assert (after.state, after.failure, after.closed_by, after.expected) == (S.FAILED, broken, "server", 1)
    assert effects == (CloseMessage(), Cancel("r", ASSIGNMENT, 1, "c1.1"))


@pytest.mark.rule("E4")
def test_a_failure_of_an_attempt_that_is_over_does_not_touch_the_present_one() -> None:
    for attempt in (0, 2):
        assert passes(run_in(S.STREAMING), Fail(failure("line_too_long"), attempt=attempt))


@pytest.mark.rule("E5", "E9")
@pytest.mark.parametrize(
    "ending",
    [
        lambda part: Finish("stop", part),
        lambda part: Fail(failure("upstream_truncated"), part),
        lambda part: Stop(frame=part),
        lambda part: FrameLines(part.attempt, part.index, ("a", DONE)),
    ],
)
def test_an_end_that_is_sent_again_is_acknowledged_again(ending: Any) -> None:
    input = ending(frame(1, "a", "b"))
    ended = through(run_in(S.STREAMING, expected=1), input)
    assert ended.state in ENDED
    assert passes(ended, input, LATER + 1)
    for known in (frame(0, "x", "a"), Finish("stop", frame(3)), frame(3)):
        assert passes(ended, known, LATER + 1)
    assert refusal(ended, frame(3, "new")).code == "run_ended"


@pytest.mark.rule("E9")
def test_the_last_frame_of_an_executor_that_was_told_to_stop_is_acknowledged() -> None:
    stopped = through(run_in(S.STREAMING, expected=2), Stop())
    assert passes(stopped, Stop(frame=frame(2, "late")))


# --- a stop ----------------------------------------------------------------------------------------


@pytest.mark.rule("R5")
@pytest.mark.parametrize("state", [S.OFFERED, S.STREAMING, S.SUSPENDED])
def test_a_stop_ends_the_run_at_once_and_tells_the_executor(state: State) -> None:
    after, effects = apply(run_in(state), Stop())
    assert (after.state, after.closed_by, after.ended_at) == (S.ABORTED, "user", LATER)
    assert effects == (CloseMessage(), Cancel("r", ASSIGNMENT, 1, "c1.1"))


@pytest.mark.rule("R5")
def test_a_stop_of_a_run_that_waits_tells_nobody() -> None:
    after, effects = apply(queued(), Stop())
    assert (after.state, effects) == (S.ABORTED, (CloseMessage(),))


@pytest.mark.rule("R5")
def test_a_run_that_its_last_executor_gave_back_is_stopped_without_telling_it() -> None:
    given_back = through(run_in(S.OFFERED), Decline(1, BUSY))
    assert apply(given_back, Stop())[1] == (CloseMessage(),)


@pytest.mark.rule("R9")
def test_a_stop_because_of_a_deletion_says_so() -> None:
    after = through(run_in(S.STREAMING), Stop(failure("deleted")))
    assert (after.state, after.failure) == (S.ABORTED, failure("deleted"))


@pytest.mark.rule("R9")
def test_an_interrupted_run_that_is_deleted_says_so_and_is_final() -> None:
    after = through(run_in(S.INTERRUPTED, failure=failure("executor_lost")), Stop(failure("deleted")))
    assert (after.state, after.failure, after.final) == (S.INTERRUPTED, failure("deleted"), True)


@pytest.mark.rule("E9")
def test_an_executor_that_aborts_is_not_told_what_it_said_itself() -> None:
    after, effects = apply(run_in(S.STREAMING), Stop(frame=frame(0, "a")))
    assert (after.state, after.closed_by) == (S.ABORTED, "executor")
    assert effects == (frame(0, "a"), CloseMessage())
