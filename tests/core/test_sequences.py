"""Whatever happens to a run, in whatever order: what holds after each input."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from keyside.core.deadline import deadline_of
from keyside.core.frames import FrameLines
from keyside.core.inputs import (
    Abandon,
    Answered,
    Cancel,
    Close,
    CloseMessage,
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
    ReopenMessage,
    Resume,
    Retry,
    Start,
    Stop,
    Unfollow,
)
from keyside.core.run import AT_HOME, BOUND, ENDED, Run, State
from keyside.core.step import TRANSITIONS, Refused, step
from keyside.protocol.errors import failure
from tests.core.lines import DONE, text_line
from tests.core.runs import ASSIGNMENT, BUSY, CALL, CHAT, KEYED_CALL, LIMITS, NEVER, OTHER, PLAIN, queued, run_in

S = State
NOT_OF_THE_ROW = {"version", "expected", "heard_at", "end_mark", "deadline"}
"""What changes with lines and heartbeats, and what follows from the rest."""


@dataclass(frozen=True)
class Happening:
    """Something that happens, `after` seconds; who says so may mean another attempt, and other lines."""

    kind: str
    after: float = 1
    attempt: int = 0
    index: int = 0
    lines: tuple[str, ...] = ()
    who: int = 0


MEANINGS: dict[str, Callable[[int, FrameLines, int], Input]] = {
    "offer": lambda _a, _f, n: Offer((ASSIGNMENT, OTHER, PLAIN)[n], f"c{n}"),
    "start": lambda a, _f, _n: Start(a),
    "answered": lambda a, _f, _n: Answered(a),
    "decline": lambda a, _f, n: Decline(a, (BUSY, BUSY, NEVER)[n]),
    "lines": lambda _a, f, _n: f,
    "finish": lambda _a, f, n: Finish("stop", (f, f, None)[n]),
    "fail": lambda a, f, n: (Fail(BUSY, f), Fail(NEVER, attempt=a), Fail(failure("no_executor")))[n],
    "stop": lambda _a, f, n: (Stop(), Stop(failure("deleted")), Stop(frame=f))[n],
    "close": lambda _a, _f, _n: Close(),
    "disconnect": lambda a, _f, _n: Disconnect(a),
    "resume": lambda a, _f, _n: Resume(a),
    "abandon": lambda a, _f, _n: Abandon(a),
    "expire": lambda _a, _f, _n: Expire(),
    "due": lambda _a, _f, _n: Expire(),
    "retry": lambda _a, _f, _n: Retry(),
    "recover": lambda _a, _f, _n: Recover(),
    "follow": lambda _a, _f, n: Follow("abc"[n]),
    "unfollow": lambda _a, _f, n: Unfollow(("a", "b", None)[n]),
}
LIVELY = ["offer", "start", "lines", "resume", "disconnect", "follow", "offer", "start", "lines", "resume"]
"""These come oftener, so that runs get somewhere."""

mostly_now = st.sampled_from([0, 0, 0, 0, 0, -1, 1])
happenings = st.builds(
    Happening,
    kind=st.sampled_from([*LIVELY, *LIVELY, *LIVELY, *MEANINGS]),
    after=st.sampled_from([1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 31.0, 400.0, 90_000.0]),
    attempt=mostly_now,
    index=st.sampled_from([0, 0, 0, -2, -1, 1]),
    lines=st.lists(
        st.sampled_from([text_line("x"), text_line("x"), text_line("", finish_reason="stop"), ": x", DONE]), max_size=3
    ).map(tuple),
    who=st.integers(0, 2),
)
requests = st.sampled_from([CHAT, KEYED_CALL, CALL])
starts = st.builds(lambda request: queued(request=request), requests) | st.builds(
    lambda state, request, assignment: run_in(state, request=request, assignment=assignment),
    st.sampled_from([S.QUEUED, S.OFFERED, S.STREAMING, S.STREAMING, S.SUSPENDED, S.INTERRUPTED, S.DONE]),
    requests,
    st.sampled_from([ASSIGNMENT, ASSIGNMENT, PLAIN]),
)


def meant(run: Run, what: Happening) -> Input:
    """The input, as it is for this run."""
    attempt = run.attempt + what.attempt
    return MEANINGS[what.kind](attempt, FrameLines(attempt, max(0, run.expected + what.index), what.lines), what.who)


def row(run: Run) -> dict[str, Any]:
    return {field.name: getattr(run, field.name) for field in fields(run) if field.name not in NOT_OF_THE_ROW}


def moment(run: Run, what: Happening, now: float) -> float:
    """When it happens: `due` is the moment in which the run's deadline is over."""
    if what.kind == "due" and run.deadline is not None:
        return max(now + 0.5, run.deadline.at)
    return now + what.after


@pytest.mark.rule("E4", "E5", "R1", "R4", "R9")
@settings(max_examples=200)
@given(run=starts, schedule=st.lists(happenings, min_size=15, max_size=50))
@example(run=queued(request=CALL), schedule=[Happening("follow"), Happening("unfollow")])
def test_after_each_input_a_run_is_what_it_may_be(run: Run, schedule: list[Happening]) -> None:
    now = run.created_at
    messages = Counter({"CloseMessage": int(run.state in ENDED)})
    for what in schedule:
        now = moment(run, what, now)
        copy = replace(run)
        try:
            after, effects = step(run, meant(run, what), now, LIMITS)
        except Refused:
            assert run == copy
            continue
        assert run == copy
        hold(run, after, effects)
        event(f"{run.state} -> {after.state}")
        messages.update(type(effect).__name__ for effect in effects)
        assert messages["CloseMessage"] - messages["ReopenMessage"] == (after.state in ENDED)
        run = after
    ends_when_nobody_waits(run, now)


def hold(before: Run, after: Run, effects: tuple[Effect, ...]) -> None:
    """What holds between a run and what an input makes of it."""
    if before.final:
        assert after is before
    if after is before:
        assert effects == ()
    assert after.attempt in (before.attempt, before.attempt + 1)
    assert (after.attempt > before.attempt) == (before.state is State.QUEUED and after.state is State.OFFERED)
    assert after.version == before.version + (row(after) != row(before))
    assert after.state is before.state or after.state in set(TRANSITIONS[before.state].values())
    assert not (before.state in BOUND | ENDED and after.state in {State.QUEUED, State.OFFERED})
    assert (after.deadline is None) == after.final
    assert after.deadline == deadline_of(after, LIMITS)
    assert after.channel == (before.channel or after.channel)
    hold_of_effects(before, after, effects)


def hold_of_effects(before: Run, after: Run, effects: tuple[Effect, ...]) -> None:
    """What is to be done is what has happened."""
    expected = before.expected
    for effect in effects:
        if isinstance(effect, FrameLines):
            assert (effect.index, effect.attempt) == (expected, after.attempt)
            assert effect.lines
            expected += len(effect.lines)
        if isinstance(effect, Cancel):
            assert before.state in AT_HOME
            assert (effect.assignment, effect.attempt) == (before.assignment, before.attempt)
            assert effect.channel == before.channel_name
    assert after.expected == expected
    assert effects.count(CloseMessage()) == (before.state not in ENDED and after.state in ENDED)
    assert effects.count(ReopenMessage()) == (before.state in ENDED and after.state not in ENDED)
    assert sum(isinstance(effect, Cancel) for effect in effects) <= 1


def ends_when_nobody_waits(run: Run, now: float) -> None:
    """R9: without callers it is over after its grace, if the clock is looked at whenever a limit is over."""
    grace = run.request.caller_grace
    if run.state in ENDED or run.unfollowed_at is None:
        return
    assert grace is not None
    assert not run.callers
    last = max(now, run.unfollowed_at + grace)
    for _ in range(5):
        if run.deadline is not None and run.deadline.at <= last:
            run, _ = step(run, Expire(), max(now, run.deadline.at), LIMITS)
    assert run.state in ENDED


@pytest.mark.rule("R1", "R3", "R4")
@settings(max_examples=200)
@given(run=starts, schedule=st.lists(happenings, max_size=30))
def test_a_run_that_is_left_alone_comes_to_its_end_by_the_clock(run: Run, schedule: list[Happening]) -> None:
    now = run.created_at
    for what in schedule:
        now = moment(run, what, now)
        try:
            run, _ = step(run, meant(run, what), now, LIMITS)
        except Refused:
            continue
    for _ in range(6):
        if run.deadline is None:
            break
        before, now = run, max(now, run.deadline.at)
        run, _ = step(run, Expire(), now, LIMITS)
        assert run is not before, "each look at the clock brings it on"
    assert run.final
