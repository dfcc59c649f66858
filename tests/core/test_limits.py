"""How long each state of a run may take."""

from typing import Any

import pytest

from keyside.core.inputs import (
    Cancel,
    Close,
    Expire,
)
from keyside.core.limits import Limits, expiry
from keyside.core.run import Run, State, step
from keyside.protocol.errors import failure
from tests.core.runs import ASSIGNMENT, LATER, NOW, PLAIN, STOPPED_BY_UPSTREAM, queued, run_in, through

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
)


@pytest.mark.rule("E3", "E8", "R3", "R4")
@pytest.mark.parametrize(
    ("run", "due"),
    [
        (queued(), (NOW + 4, "no_executor")),
        (run_in(S.OFFERED), (NOW + 1, "callback_timeout")),
        (run_in(S.OFFERED, heard_at=NOW + 0.5), (NOW + 1.5, "callback_timeout")),
        (run_in(S.SUSPENDED), (NOW + 3, "executor_lost")),
        (run_in(S.INTERRUPTED), (NOW + 5, "executor_lost")),
        (run_in(S.STREAMING), (NOW + 100, "first_line_timeout")),
        (run_in(S.STREAMING, heard_at=NOW + 90), (NOW + 100, "first_line_timeout")),
        (run_in(S.STREAMING, expected=1), (NOW + 200, "executor_silent")),
        (run_in(S.STREAMING, expected=1, heard_at=NOW + 70), (NOW + 270, "executor_silent")),
        (run_in(S.STREAMING, expected=1, heard_at=NOW + 900), (NOW + 1000, "run_timeout")),
        (run_in(S.STREAMING, expected=1, mark=STOPPED_BY_UPSTREAM), (NOW + 200, "executor_silent")),
    ],
)
def test_each_state_may_take_its_own_time(run: Run, due: tuple[float, str]) -> None:
    assert expiry(run, LIMITS) == due


@pytest.mark.rule("E8")
@pytest.mark.parametrize("state", [S.DONE, S.FAILED, S.ABORTED])
def test_what_has_ended_never_expires(state: State) -> None:
    assert expiry(run_in(state), LIMITS) is None


@pytest.mark.rule("E6", "E8")
@pytest.mark.parametrize(
    ("more", "due"),
    [
        ({}, (NOW + 100, "first_line_timeout")),
        ({"expected": 1}, (NOW + 200, "executor_silent")),
        ({"expected": 1, "mark": STOPPED_BY_UPSTREAM, "heard_at": NOW + 50}, (NOW + 56, "executor_silent")),
    ],
)
def test_a_plain_executor_may_think_as_long_as_the_upstream_and_is_silent_two_seconds_after_a_finish_reason(
    more: dict[str, Any], due: tuple[float, str]
) -> None:
    assert expiry(run_in(S.STREAMING, assignment=PLAIN, **more), LIMITS) == due


@pytest.mark.rule("E8")
@pytest.mark.parametrize("code", ["first_line_timeout", "executor_silent", "run_timeout"])
def test_a_run_that_takes_too_long_fails_with_the_limit_and_its_executor_is_told(code: str) -> None:
    after, effects = step(run_in(S.STREAMING), Expire(code), LATER)
    assert (after.state, after.failure, after.closed_by) == (S.FAILED, failure(code), "server")
    assert effects == (Close(), Cancel("r", ASSIGNMENT, 1, "c1"))


@pytest.mark.rule("R3")
def test_a_run_that_nobody_came_for_fails_with_no_executor() -> None:
    after = through(queued(), Expire("no_executor"))
    assert (after.state, after.failure) == (S.FAILED, failure("no_executor"))


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
    )
