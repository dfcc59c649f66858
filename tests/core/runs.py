"""Runs to test with: one in each state, and the frames and inputs that suit it."""

from dataclasses import replace
from typing import Any

import pytest

from keyside.core.assignment import Assignment
from keyside.core.deadline import deadline_of
from keyside.core.frames import EndMark, FrameLines
from keyside.core.inputs import (
    Abandon,
    Answered,
    Close,
    Decline,
    Disconnect,
    Effect,
    Expire,
    Fail,
    Finish,
    Follow,
    Input,
    Offer,
    Recover,
    Resume,
    Retry,
    Start,
    Stop,
    Unfollow,
)
from keyside.core.limits import Deadline, Limits
from keyside.core.run import ENDED, Run, RunRequest, State
from keyside.core.step import Refused, step
from keyside.protocol.errors import ERRORS, failure

NOW = 1000.0
LATER = NOW + 5
LIMITS = Limits()
ASSIGNMENT = Assignment(
    key="1/desk",
    executor_id="desk",
    name="Desk",
    kind="browser",
    session_id="s1",
    model="m",
    provider="test",
    announcement="1/desk@s1#1",
)
OTHER = replace(ASSIGNMENT, key="1/phone", executor_id="phone", session_id="s2", announcement="1/phone@s2#1")
PLAIN = replace(ASSIGNMENT, key="s9", executor_id="s9", kind="plain", session_id="s9")

CHAT = RunRequest(model="test/m")
KEYED_CALL = replace(CHAT, caller_grace=30)
CALL = replace(CHAT, caller_grace=0)

STOPPED_BY_UPSTREAM = EndMark(reason="stop")
BUSY = failure("shutting_down")
"""Why an executor may decline: another one can be asked."""
NEVER = failure("executor_refused")
"""Why an executor may decline, and nobody else is asked."""


def made(run: Run, limits: Limits = LIMITS) -> Run:
    """The run with the deadline of its state, as `step` leaves it."""
    return replace(run, deadline=deadline_of(run, limits))


def queued(**more: Any) -> Run:
    """A run that nobody was asked for yet."""
    fields = {"request": CHAT, "created_at": NOW, "since": NOW, "waits_until": NOW + LIMITS.queue, **more}
    return made(Run(id="r", user_id=1, chat_id=1, message_id="a", **fields))


def run_in(state: State, *, assignment: Assignment = ASSIGNMENT, limits: Limits = LIMITS, **more: Any) -> Run:
    """A run as it is in that state after its first attempt, with no line stored."""
    ended: dict[str, Any] = {}
    if state in ENDED:
        ended = {"ended_at": NOW, "closed_by": None if state is State.INTERRUPTED else "server"}
    fields = {
        "state": state,
        "version": 3,
        "attempt": 1,
        "assignment": assignment,
        "channel": "c1",
        "tried": frozenset({assignment.announcement}),
        "since": NOW,
        "heard_at": NOW,
        "started_at": None if state in {State.QUEUED, State.OFFERED} else NOW,
        **ended,
        **more,
    }
    return made(replace(queued(), **fields), limits)


def overdue(run: Run, code: str) -> Run:
    """The run, whose present state must have changed by now because of this limit."""
    return replace(run, deadline=Deadline(LATER, code))


def frame(index: int, *lines: str, attempt: int = 1) -> FrameLines:
    return FrameLines(attempt, index, lines)


def suitable(kind: type[Any], run: Run) -> Input:
    """An input of that kind which is neither stale nor leaves a gap."""
    samples: dict[type[Any], Input] = {
        Offer: Offer(ASSIGNMENT, "c2"),
        Start: Start(run.attempt),
        Answered: Answered(run.attempt),
        Decline: Decline(run.attempt, BUSY),
        FrameLines: frame(run.expected, "data: x", attempt=run.attempt),
        Finish: Finish("stop", frame(run.expected, attempt=run.attempt)),
        Fail: Fail(failure("upstream_error"), attempt=run.attempt),
        Stop: Stop(),
        Close: Close(),
        Disconnect: Disconnect(run.attempt),
        Resume: Resume(run.attempt),
        Abandon: Abandon(run.attempt),
        Expire: Expire(),
        Retry: Retry(),
        Recover: Recover(),
        Follow: Follow("caller"),
        Unfollow: Unfollow(None),
    }
    return samples[kind]


def apply(run: Run, input: Input, at: float = LATER) -> tuple[Run, tuple[Effect, ...]]:
    """`step` with the limits of these tests."""
    return step(run, input, at, LIMITS)


def refusal(run: Run, input: Input) -> Refused:
    """How `step` refuses the input."""
    with pytest.raises(Refused) as caught:
        apply(run, input)
    assert caught.value.code in ERRORS
    return caught.value


def passes(run: Run, input: Input, at: float = LATER) -> bool:
    """Whether the input changes nothing: the very same run, and nothing to do."""
    after, effects = apply(run, input, at)
    return after is run and effects == ()


def stored(effects: tuple[Effect, ...]) -> list[tuple[int, tuple[str, ...]]]:
    """The lines that are to be stored."""
    return [(effect.index, effect.lines) for effect in effects if isinstance(effect, FrameLines)]


def through(run: Run, *inputs: Input, at: float = LATER) -> Run:
    """The run after all of the inputs."""
    for input in inputs:
        run, _ = apply(run, input, at)
    return run


def when_due(run: Run) -> tuple[Run, tuple[Effect, ...]]:
    """What becomes of the run when its present limit is over."""
    assert run.deadline is not None
    return apply(run, Expire(), run.deadline.at)
