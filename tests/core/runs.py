"""Runs to test with: one in each state, and the frames and inputs that suit it."""

from dataclasses import replace
from typing import Any

import pytest

from keyside.core.attempt import Assignment, Mark, Piece
from keyside.core.inputs import Append, Expire, Fail, Finish, Input, Lines, Lose, Offer, Return, Start, Stop
from keyside.core.run import ENDED, Ask, Refused, Run, State, step
from keyside.core.transcript import read, survey
from keyside.protocol.errors import ERRORS, failure

NOW = 1000.0
LATER = NOW + 5
ASSIGNMENT = Assignment(
    key="1/desk",
    executor_id="desk",
    name="Desk",
    kind="browser",
    session_id="s1",
    model="m",
    provider="test",
    visit="1/desk@s1#1",
)
PLAIN = replace(ASSIGNMENT, key="s9", executor_id="s9", kind="plain", session_id="s9")


def queued(**more: Any) -> Run:
    return Run(id="r", user_id=1, chat_id=1, message_id="a", ask=Ask(model="test/m"), created_at=NOW, since=NOW, **more)


def run_in(state: State, *, assignment: Assignment = ASSIGNMENT, **more: Any) -> Run:
    """A run as it is in that state after its first attempt, with no line stored."""
    run = queued()
    if state is State.QUEUED:
        return replace(run, **more)
    started = None if state is State.OFFERED else NOW
    ended: dict[str, Any] = {}
    if state in ENDED:
        ended = {"ended_at": NOW, "closed_by": None if state is State.INTERRUPTED else "server"}
    fields = {
        "state": state,
        "version": 3,
        "attempt": 1,
        "assignment": assignment,
        "channel": "c1",
        "tried": frozenset({assignment.visit}),
        "since": NOW,
        "heard_at": NOW,
        "started_at": started,
        **ended,
        **more,
    }
    return replace(run, **fields)


def piece(index: int, *lines: str, attempt: int = 1) -> Piece:
    """A frame's lines with the end that they hold, as the orchestrator reads it."""
    return Piece(attempt, index, lines, survey(map(read, lines)))


def suitable(kind: type[Input], run: Run) -> Input:
    """An input of that kind which is neither stale nor leaves a gap."""
    samples: dict[type[Any], Input] = {
        Offer: Offer(ASSIGNMENT, "c2"),
        Start: Start(run.attempt),
        Lines: Lines(piece(run.expected, "data: x", attempt=run.attempt)),
        Finish: Finish("stop", piece(run.expected, attempt=run.attempt)),
        Fail: Fail(failure("upstream_error"), piece(run.expected, attempt=run.attempt)),
        Lose: Lose(),
        Return: Return(run.attempt),
        Expire: Expire("run_timeout"),
        Stop: Stop(),
    }
    return samples[kind]


STOPPED_BY_UPSTREAM = Mark(reason="stop")


def refusal(run: Run, input: Input) -> Refused:
    """How `step` refuses the input."""
    with pytest.raises(Refused) as caught:
        step(run, input, LATER)
    assert caught.value.code in ERRORS
    return caught.value


def stored(effects: tuple[Any, ...]) -> list[tuple[int, tuple[str, ...]]]:
    """The lines that are to be stored."""
    return [(effect.index, effect.lines) for effect in effects if isinstance(effect, Append)]


def through(run: Run, *inputs: Input) -> Run:
    """The run after all of the inputs."""
    for input in inputs:
        run, _ = step(run, input, LATER)
    return run
