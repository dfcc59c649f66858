"""Runs that somebody waits for: a caller that has gone ends its run, at once or after a grace (R9)."""

from dataclasses import replace
from typing import Any

import pytest

from keyside.core.inputs import (
    Cancel,
    CloseMessage,
    Decline,
    Disconnect,
    Expire,
    Follow,
    Offer,
    Recover,
    Resume,
    Start,
    Unfollow,
)
from keyside.core.limits import Deadline
from keyside.core.run import Run, State
from keyside.protocol.errors import failure
from tests.core.runs import (
    ASSIGNMENT,
    BUSY,
    CALL,
    CHAT,
    KEYED_CALL,
    LATER,
    LIMITS,
    apply,
    passes,
    queued,
    run_in,
    through,
    when_due,
)

S = State
RUNNING = [S.QUEUED, S.OFFERED, S.STREAMING, S.SUSPENDED]
TOLD = (Cancel("r", ASSIGNMENT, 1, "c1.1"),)
GONE = failure("caller_gone")


def followed(state: State, *callers: str, request: Any = KEYED_CALL) -> Run:
    """A run in that state that these wait for."""
    return through(run_in(state, request=request), *map(Follow, callers))


@pytest.mark.rule("R9")
@pytest.mark.parametrize("state", RUNNING)
def test_a_call_whose_caller_hangs_up_is_stopped_and_its_executor_is_told(state: State) -> None:
    after, effects = apply(followed(state, "a", request=CALL), Unfollow("a"))
    assert (after.state, after.failure, after.closed_by, after.callers) == (S.ABORTED, GONE, "server", frozenset())
    assert after.deadline is None
    assert effects == (CloseMessage(), *(() if state is S.QUEUED else TOLD))


@pytest.mark.rule("R6", "R9")
@pytest.mark.parametrize("state", RUNNING)
def test_a_call_with_a_key_goes_on_for_its_grace_and_then_stops(state: State) -> None:
    run = followed(state, "a")
    alone, effects = apply(run, Unfollow("a"), LATER)
    assert (alone.state, alone.unfollowed_at, alone.callers, effects) == (state, LATER, frozenset(), ())
    assert alone.version == run.version + 1
    now = LATER
    while alone.deadline is not None and now < LATER + 30:
        now = alone.deadline.at
        alone, effects = when_due(alone)
    if state is S.SUSPENDED:
        return  # its grace is as long as the minute of its executor's
    assert (alone.state, alone.failure, alone.ended_at) == (S.ABORTED, GONE, LATER + 30)
    assert CloseMessage() in effects


@pytest.mark.rule("R9")
def test_of_a_grace_and_another_limit_the_first_counts() -> None:
    alone = through(followed(S.SUSPENDED, "a"), Unfollow("a"))
    assert alone.deadline == Deadline(LATER + 30, "caller_gone")
    alone = through(followed(S.OFFERED, "a"), Unfollow("a"))
    assert alone.deadline is not None
    assert alone.deadline.code == "callback_timeout"


@pytest.mark.rule("R6", "R9")
@pytest.mark.parametrize("state", RUNNING)
def test_a_caller_that_asks_again_in_time_finds_the_run_going_on(state: State) -> None:
    alone = through(followed(state, "a"), Unfollow("a"))
    back = through(alone, Follow("b"), at=LATER + 20)
    assert (back.callers, back.unfollowed_at) == (frozenset({"b"}), None)
    assert back.version == alone.version + 1
    assert back.deadline is not None
    assert back.deadline.code != "caller_gone"
    alone = through(back, Unfollow("b"), at=LATER + 25)
    assert alone.unfollowed_at == LATER + 25


@pytest.mark.rule("R6", "R9")
@pytest.mark.parametrize("request_", [KEYED_CALL, CALL])
def test_a_run_goes_on_while_one_of_its_callers_is_there(request_: Any) -> None:
    run = followed(S.STREAMING, "a", "b", "c", request=request_)
    for gone in ("b", "a"):
        run = through(run, Unfollow(gone))
        assert (run.state, run.unfollowed_at) == (S.STREAMING, None)
    assert run.callers == {"c"}


@pytest.mark.rule("R9")
def test_a_caller_that_is_known_and_one_that_is_not_change_nothing() -> None:
    run = followed(S.STREAMING, "a")
    assert passes(run, Follow("a"))
    assert passes(run, Unfollow("nobody"))
    alone = through(run, Unfollow("a"))
    assert passes(alone, Unfollow("a"), LATER + 1)
    assert passes(alone, Unfollow(None), LATER + 1)


@pytest.mark.rule("R9")
@pytest.mark.parametrize("state", sorted(S))
def test_a_run_of_a_chat_needs_nobody(state: State) -> None:
    run = run_in(state, request=CHAT)
    for input in (Follow("a"), Unfollow("a"), Unfollow(None)):
        assert passes(run, input)


@pytest.mark.rule("R9")
@pytest.mark.parametrize("state", [S.DONE, S.FAILED, S.ABORTED, S.INTERRUPTED])
def test_whoever_has_the_end_of_a_run_may_come_and_go(state: State) -> None:
    for request in (KEYED_CALL, CALL):
        run = run_in(state, request=request, callers=frozenset({"a"}))
        for input in (Follow("b"), Unfollow("a"), Unfollow(None)):
            assert passes(run, input)


@pytest.mark.rule("R8", "R9")
@pytest.mark.parametrize("state", [S.OFFERED, S.STREAMING, S.SUSPENDED])
def test_with_its_process_a_call_loses_its_callers_and_its_executor_is_told(state: State) -> None:
    run = followed(state, "a", "b", request=CALL)
    after, effects = apply(through(run, Recover()), Unfollow(None))
    assert (after.state, after.failure) == (S.ABORTED, GONE)
    assert effects == (CloseMessage(), *TOLD)


@pytest.mark.rule("R8", "R9")
def test_a_call_with_a_key_may_be_asked_for_again_after_a_restart() -> None:
    run = through(followed(S.STREAMING, "a", "b"), Recover(), Unfollow(None))
    assert (run.state, run.callers, run.unfollowed_at) == (S.SUSPENDED, frozenset(), LATER)
    assert run.deadline == Deadline(LATER + 30, "caller_gone")
    again = through(run, Follow("c"), Resume(1))
    assert (again.state, again.callers, again.unfollowed_at) == (S.STREAMING, frozenset({"c"}), None)


@pytest.mark.rule("R9")
def test_a_run_keeps_its_callers_whatever_its_executors_do() -> None:
    run = through(queued(request=KEYED_CALL), Follow("a"), Offer(ASSIGNMENT, "c1"), Decline(1, BUSY))
    run = through(run, Offer(ASSIGNMENT, "c1"), Start(2), Disconnect(2), Resume(2))
    assert (run.state, run.callers) == (S.STREAMING, frozenset({"a"}))


@pytest.mark.rule("R9")
def test_the_grace_of_a_lonely_run_is_not_begun_anew_by_what_happens_to_it() -> None:
    alone = through(followed(S.STREAMING, "a"), Unfollow("a"))
    alone = through(alone, Disconnect(1), at=LATER + 10)
    alone = through(alone, Resume(1), at=LATER + 20)
    assert alone.deadline == Deadline(LATER + 30, "caller_gone")
    assert apply(alone, Expire(), LATER + 30)[0].failure == GONE


@pytest.mark.rule("R4", "R9")
def test_a_lonely_run_that_comes_back_from_an_interruption_is_stopped() -> None:
    limits = replace(LIMITS, resume_grace=5)
    assert limits.resume_grace < 30
    interrupted = run_in(S.INTERRUPTED, request=KEYED_CALL, unfollowed_at=LATER)
    assert interrupted.deadline is not None
    assert interrupted.deadline.code == "executor_lost"
    back = through(interrupted, Resume(1), at=LATER + 100)
    after, effects = apply(back, Expire(), LATER + 100)
    assert (after.state, after.failure) == (S.ABORTED, GONE)
    assert effects == (CloseMessage(), *TOLD)
