"""How long each state of a run may take, and what happens when the time is over."""

from dataclasses import replace
from typing import Any

import pytest

from keyside.core.deadline import deadline_of, shifted, waits_until
from keyside.core.frames import EndMark
from keyside.core.inputs import Cancel, CloseMessage, Decline, Disconnect, Expire, Offer, Resume, Retry
from keyside.core.limits import RETRY, Deadline, Limits
from keyside.core.run import ENDED, Run, State
from keyside.core.step import step
from keyside.protocol.errors import failure
from tests.core.lines import DONE
from tests.core.runs import (
    ASSIGNMENT,
    BUSY,
    CHAT,
    KEYED_CALL,
    NOW,
    OTHER,
    PLAIN,
    STOPPED_BY_UPSTREAM,
    apply,
    frame,
    made,
    overdue,
    passes,
    queued,
    run_in,
    through,
    when_due,
)

S = State


LIMITS = Limits(
    callback=1,
    first_line=100,
    idle=200,
    run=1000,
    resume_grace=3,
    queue=4,
    late_resume=5,
    silence_after_finish=6,
    retry=7,
)


@pytest.mark.rule("E3", "E8", "R3", "R4")
@pytest.mark.parametrize(
    ("run", "due"),
    [
        (queued(waits_until=NOW + 4), (NOW + 4, "no_executor")),
        (run_in(S.QUEUED, waits_until=NOW + 4), (NOW + 4, "no_executor")),
        (run_in(S.QUEUED), (NOW + 7, RETRY)),
        (run_in(S.QUEUED, attempt=3, rounds=2), (NOW + 21, RETRY)),
        (run_in(S.OFFERED), (NOW + 1, "callback_timeout")),
        (run_in(S.OFFERED, heard_at=NOW + 0.5), (NOW + 1.5, "callback_timeout")),
        (run_in(S.SUSPENDED), (NOW + 3, "executor_lost")),
        (run_in(S.INTERRUPTED), (NOW + 5, "executor_lost")),
        (run_in(S.STREAMING), (NOW + 200, "executor_silent")),
        (run_in(S.STREAMING, heard_at=NOW + 90), (NOW + 290, "executor_silent")),
        (run_in(S.STREAMING, heard_at=NOW + 150), (NOW + 300, "first_line_timeout")),
        (run_in(S.STREAMING, expected=1), (NOW + 200, "executor_silent")),
        (run_in(S.STREAMING, expected=1, heard_at=NOW + 150), (NOW + 350, "executor_silent")),
        (run_in(S.STREAMING, expected=1, heard_at=NOW + 900), (NOW + 1000, "run_timeout")),
        (run_in(S.STREAMING, expected=1, end_mark=STOPPED_BY_UPSTREAM), (NOW + 200, "executor_silent")),
    ],
)
def test_each_state_may_take_its_own_time(run: Run, due: tuple[float, str]) -> None:
    assert deadline_of(run, LIMITS) == Deadline(*due)


@pytest.mark.rule("E8", "R4")
@pytest.mark.parametrize("state", sorted(ENDED))
def test_what_has_ended_for_good_never_expires(state: State) -> None:
    assert deadline_of(run_in(state, closed_by="server"), LIMITS) is None


@pytest.mark.rule("E6", "E8")
@pytest.mark.parametrize(
    ("more", "due"),
    [
        ({}, (NOW + 100, "first_line_timeout")),
        ({"expected": 1}, (NOW + 200, "executor_silent")),
        ({"expected": 1, "end_mark": STOPPED_BY_UPSTREAM, "heard_at": NOW + 50}, (NOW + 56, "executor_silent")),
    ],
)
def test_a_plain_executor_may_think_as_long_as_the_upstream_and_is_silent_two_seconds_after_a_finish_reason(
    more: dict[str, Any], due: tuple[float, str]
) -> None:
    assert deadline_of(run_in(S.STREAMING, assignment=PLAIN, **more), LIMITS) == Deadline(*due)


@pytest.mark.rule("E8")
@pytest.mark.parametrize(
    ("assignment", "more", "due"),
    [
        (PLAIN, {}, (NOW + 50, "first_line_timeout")),
        (PLAIN, {"expected": 1}, (NOW + 400, "executor_silent")),
        (PLAIN, {"expected": 1, "end_mark": STOPPED_BY_UPSTREAM}, (NOW + 6, "executor_silent")),
        (ASSIGNMENT, {"heard_at": NOW + 100}, (NOW + 250, "first_line_timeout")),
        (ASSIGNMENT, {"expected": 1}, (NOW + 200, "executor_silent")),
    ],
)
def test_the_times_of_a_connection_count_for_its_upstream(
    assignment: Any, more: dict[str, Any], due: tuple[float, str]
) -> None:
    """A framed executor sends heartbeats while it waits, so its own silence has the server's limit."""
    own = replace(assignment, first_line_timeout=50, idle_timeout=400)
    assert deadline_of(run_in(S.STREAMING, assignment=own, **more), LIMITS) == Deadline(*due)


@pytest.mark.rule("E8")
@pytest.mark.parametrize("code", ["first_line_timeout", "executor_silent", "run_timeout"])
def test_a_run_that_takes_too_long_fails_with_the_limit_and_its_executor_is_told(code: str) -> None:
    after, effects = apply(overdue(run_in(S.STREAMING), code), Expire())
    assert (after.state, after.failure, after.closed_by) == (S.FAILED, failure(code), "server")
    assert effects == (CloseMessage(), Cancel("r", ASSIGNMENT, 1, "c1.1"))


@pytest.mark.rule("R3")
def test_a_run_that_nobody_came_for_fails_with_no_executor() -> None:
    after, effects = when_due(queued())
    assert (after.state, after.failure, after.closed_by) == (S.FAILED, failure("no_executor"), "server")
    assert effects == (CloseMessage(),)


@pytest.mark.rule("R1", "E8")
@pytest.mark.parametrize("state", sorted(set(S) - {S.DONE, S.FAILED, S.ABORTED}))
def test_a_look_at_the_clock_does_nothing_before_the_time_is_over(state: State) -> None:
    run = run_in(state)
    assert run.deadline is not None
    assert passes(run, Expire(), run.deadline.at - 0.001)
    assert apply(run, Expire(), run.deadline.at)[0] is not run


@pytest.mark.rule("E7", "E8")
def test_an_end_that_was_stored_in_time_counts_more_than_the_limit() -> None:
    run = overdue(run_in(S.STREAMING, expected=1, end_mark=EndMark(reason="length")), "executor_silent")
    assert through(run, Expire()).finish_reason == "length"


# --- waiting ---------------------------------------------------------------------------------------


@pytest.mark.rule("R3")
@pytest.mark.parametrize(("seconds", "until"), [(None, NOW + 4), (2, NOW + 2), (400, NOW + 4)])
def test_a_run_waits_as_long_as_its_caller_says_and_the_server_allows(seconds: float | None, until: float) -> None:
    assert waits_until(replace(CHAT, wait_seconds=seconds), NOW, LIMITS) == until


@pytest.mark.rule("R3")
def test_a_run_that_was_not_taken_is_offered_again_after_ten_seconds_then_each_time_ten_later() -> None:
    run, now, waited = queued(), NOW, []
    for _ in range(4):
        run = through(run, Offer(ASSIGNMENT, "c1"), at=now)
        run = through(run, Decline(run.attempt, BUSY), at=now)
        assert run.deadline is not None
        assert run.deadline.code == RETRY
        waited.append(run.deadline.at - now)
        now = run.deadline.at
        run, effects = when_due(run)
        assert (run.state, run.tried, effects) == (S.QUEUED, frozenset(), ())
    assert waited == [10, 20, 30, 40]


@pytest.mark.rule("R3")
def test_a_run_that_nobody_was_asked_for_since_is_not_offered_again_by_the_clock() -> None:
    waiting = through(run_in(S.QUEUED), Retry())
    assert waiting.deadline == Deadline(waiting.waits_until, "no_executor")


@pytest.mark.rule("R3")
def test_trying_again_does_not_make_a_run_wait_longer() -> None:
    run = made(replace(run_in(S.QUEUED), waits_until=NOW + 25))
    for _ in range(2):
        run, _ = when_due(run)
        if run.state is S.QUEUED:
            run = through(run, Offer(OTHER, "c1"), at=NOW + 11)
            run = through(run, Decline(run.attempt, BUSY), at=NOW + 12)
    assert (run.state, run.failure, run.ended_at) == (S.FAILED, failure("no_executor"), NOW + 25)


# --- away and back ---------------------------------------------------------------------------------


@pytest.mark.rule("D2", "R4")
@pytest.mark.parametrize("away", [S.SUSPENDED, S.INTERRUPTED])
@pytest.mark.parametrize("assignment", [ASSIGNMENT, PLAIN])
@pytest.mark.parametrize("expected", [0, 2])
def test_an_executor_that_comes_back_late_has_time_to_send_what_it_holds(
    away: State, assignment: Any, expected: int
) -> None:
    """Neither the wait for a first line nor that for the whole answer is over the moment it is here."""
    late = NOW + 20_000
    back, _ = step(run_in(away, assignment=assignment, expected=expected), Resume(1), late, LIMITS)
    assert back.deadline is not None
    assert back.deadline.at >= late + LIMITS.idle
    done, _ = step(back, frame(expected, "data: x", DONE), late + 1, LIMITS)
    assert done.state is S.DONE


@pytest.mark.rule("E8", "R4")
def test_an_executor_that_comes_and_goes_does_not_get_an_hour_each_time() -> None:
    now = NOW
    run = run_in(S.STREAMING, expected=1, limits=LIMITS)
    while now < NOW + 5000:
        now += 2
        run, _ = step(run, Disconnect(1), now, LIMITS)
        run, _ = step(run, Resume(1), now, LIMITS)
        assert run.deadline is not None
        assert run.deadline.at <= max(NOW + LIMITS.run, now + LIMITS.idle)
    assert run.deadline is not None
    assert step(run, frame(1, "x"), run.deadline.at - 1, LIMITS)[0].deadline == run.deadline
    assert step(run, Expire(), run.deadline.at, LIMITS)[0].failure == failure("run_timeout")


@pytest.mark.rule("E8")
def test_a_run_that_nothing_interrupts_has_no_more_than_its_time_however_short_that_is() -> None:
    short = replace(LIMITS, run=20, first_line=10, idle=200)
    run = run_in(S.STREAMING, expected=1)
    assert deadline_of(run, short) == Deadline(NOW + 20, "run_timeout")


@pytest.mark.rule("D4", "R4")
@pytest.mark.parametrize("state", sorted(S))
def test_the_time_in_which_the_store_was_away_counts_nowhere(state: State) -> None:
    run = made(replace(run_in(state), unfollowed_at=NOW + 1, request=replace(KEYED_CALL, caller_grace=99)))
    late = shifted(run, 50)
    assert late == made(late)
    assert (late.deadline and late.deadline.at - 50) == (run.deadline and run.deadline.at)
    assert (late.version, late.state, late.ended_at, late.created_at) == (
        run.version,
        run.state,
        run.ended_at,
        run.created_at,
    )


@pytest.mark.rule("D4")
def test_nothing_is_shifted_that_is_not_set() -> None:
    late = shifted(queued(), 50)
    assert (late.started_at, late.unfollowed_at) == (None, None)
    assert late.waits_until == queued().waits_until + 50


def test_the_limits_are_those_of_the_protocol() -> None:
    assert Limits() == Limits(
        callback=10,
        first_line=180,
        idle=120,
        run=3600,
        resume_grace=60,
        queue=86400,
        late_resume=86400,
        silence_after_finish=2,
        retry=10,
    )
