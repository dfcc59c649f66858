"""How a run ends: finish, failure, marks in its lines, and a stop."""

from dataclasses import replace
from typing import Any

import pytest

from keyside.core.attempt import Mark
from keyside.core.inputs import (
    Append,
    Cancel,
    Close,
    Expire,
    Fail,
    Finish,
    Lines,
    Lose,
    Stop,
)
from keyside.core.run import BOUND, ENDED, State, step
from keyside.protocol.errors import failure
from keyside.testing import DONE, text_line
from tests.core.runs import ASSIGNMENT, LATER, STOPPED_BY_UPSTREAM, piece, queued, refusal, run_in, through

S = State


@pytest.mark.rule("E7")
def test_the_end_frame_brings_its_last_lines_and_ends_the_run() -> None:
    after, effects = step(run_in(S.STREAMING, expected=1), Finish("length", piece(1, "a", DONE)), LATER)
    assert (after.state, after.finish_reason, after.expected) == (S.DONE, "length", 3)
    assert (after.closed_by, after.ended_at) == ("executor", LATER)
    assert effects == (Append(1, ("a", DONE)), Close())


@pytest.mark.rule("E7")
@pytest.mark.parametrize("state", sorted(BOUND))
def test_lines_with_the_end_mark_finish_the_run_without_an_end_frame(state: State) -> None:
    after, effects = step(run_in(state), Lines(piece(0, text_line("x", finish_reason="length"), DONE)), LATER)
    assert (after.state, after.finish_reason, after.closed_by) == (S.DONE, "length", "executor")
    assert Close() in effects


@pytest.mark.rule("E7")
def test_the_finish_reason_may_have_come_in_an_earlier_frame_than_the_end_mark() -> None:
    run = through(run_in(S.STREAMING), Lines(piece(0, text_line("", finish_reason="tool_calls"))))
    assert (run.state, run.mark) == (S.STREAMING, Mark(reason="tool_calls"))
    assert through(run, Lines(piece(1, DONE))).finish_reason == "tool_calls"


@pytest.mark.rule("E7")
def test_the_end_mark_alone_is_a_regular_stop() -> None:
    assert through(run_in(S.STREAMING), Lines(piece(0, DONE))).finish_reason == "stop"


@pytest.mark.rule("E7")
@pytest.mark.parametrize("together", [True, False])
def test_an_end_mark_after_an_upstreams_error_fails_the_run(together: bool) -> None:
    broken = 'data: {"error": {"message": "too busy"}}'
    frames = [piece(0, broken, DONE)] if together else [piece(0, broken), piece(1, DONE)]
    run = through(run_in(S.STREAMING), *map(Lines, frames))
    assert run.state is S.FAILED
    assert run.failure == failure("upstream_error", "The upstream answered: too busy")


@pytest.mark.rule("E7")
@pytest.mark.parametrize("state", sorted(BOUND))
def test_a_run_whose_stored_lines_hold_its_end_is_done_when_its_time_is_over(state: State) -> None:
    after, effects = step(run_in(state, expected=2, mark=STOPPED_BY_UPSTREAM), Expire("executor_lost"), LATER)
    assert (after.state, after.finish_reason, after.failure) == (S.DONE, "stop", None)
    assert Close() in effects


@pytest.mark.rule("E7")
def test_a_run_whose_stored_lines_hold_an_error_fails_with_that_when_its_time_is_over() -> None:
    broken = failure("upstream_error", "The upstream answered: no")
    after = through(run_in(S.SUSPENDED, mark=Mark(failure=broken)), Expire("executor_lost"))
    assert (after.state, after.failure) == (S.FAILED, broken)


@pytest.mark.rule("E7")
def test_a_failure_said_by_the_executor_keeps_the_lines_that_came_with_it() -> None:
    truncated = failure("upstream_truncated")
    after, effects = step(run_in(S.STREAMING, expected=1), Fail(truncated, piece(1, "a")), LATER)
    assert (after.state, after.failure, after.closed_by, after.expected) == (S.FAILED, truncated, "executor", 2)
    assert effects == (Append(1, ("a",)), Close())


@pytest.mark.rule("E5", "E9")
@pytest.mark.parametrize(
    "ending",
    [
        lambda p: Finish("stop", p),
        lambda p: Fail(failure("upstream_truncated"), p),
        lambda p: Stop(piece=p),
        lambda p: Lines(replace(p, lines=("a", DONE), mark=Mark(complete=True))),
    ],
)
def test_an_end_that_is_sent_again_is_acknowledged_again(ending: Any) -> None:
    input = ending(piece(1, "a", "b"))
    ended = through(run_in(S.STREAMING, expected=1), input)
    assert ended.state in ENDED
    assert step(ended, input, LATER + 1) == (ended, ())
    for known in (Lines(piece(0, "x", "a")), Finish("stop", piece(3)), Lines(piece(3))):
        assert step(ended, known, LATER + 1) == (ended, ())
    assert refusal(ended, Lines(piece(3, "new"))).code == "run_ended"


@pytest.mark.rule("E9")
def test_the_last_frame_of_an_executor_that_was_told_to_stop_is_acknowledged() -> None:
    stopped = through(run_in(S.STREAMING, expected=2), Stop())
    assert step(stopped, Stop(piece=piece(2, "late")), LATER) == (stopped, ())


# --- a stop ----------------------------------------------------------------------------------------


@pytest.mark.rule("R5")
@pytest.mark.parametrize("state", [S.OFFERED, S.STREAMING, S.SUSPENDED])
def test_a_stop_ends_the_run_at_once_and_tells_the_executor(state: State) -> None:
    after, effects = step(run_in(state), Stop(), LATER)
    assert (after.state, after.closed_by, after.ended_at) == (S.ABORTED, "user", LATER)
    assert effects == (Close(), Cancel("r", ASSIGNMENT, 1, "c1"))


@pytest.mark.rule("R5")
def test_a_stop_of_a_run_that_waits_tells_nobody() -> None:
    after, effects = step(queued(), Stop(), LATER)
    assert (after.state, effects) == (S.ABORTED, (Close(),))


@pytest.mark.rule("R5")
def test_a_run_that_its_last_executor_gave_back_is_stopped_without_telling_it() -> None:
    given_back = through(run_in(S.OFFERED), Lose())
    assert step(given_back, Stop(), LATER)[1] == (Close(),)


@pytest.mark.rule("R9")
def test_a_stop_because_of_a_deletion_says_so() -> None:
    after = through(run_in(S.STREAMING), Stop(failure("deleted")))
    assert (after.state, after.failure) == (S.ABORTED, failure("deleted"))


@pytest.mark.rule("E9")
def test_an_executor_that_aborts_is_not_told_what_it_said_itself() -> None:
    after, effects = step(run_in(S.STREAMING), Stop(piece=piece(0, "a")), LATER)
    assert (after.state, after.closed_by) == (S.ABORTED, "executor")
    assert effects == (Append(0, ("a",)), Close())
