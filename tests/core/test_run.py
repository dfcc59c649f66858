"""A run's life: every transition there is, and everything that is refused or passed over."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from keyside.core.frames import FrameLines
from keyside.core.inputs import (
    Abandon,
    Answered,
    Close,
    CloseMessage,
    Decline,
    Disconnect,
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
from keyside.core.run import BOUND, ENDED, Run, State
from keyside.core.step import TRANSITIONS, Refused
from keyside.protocol.errors import failure
from tests.core.lines import DONE
from tests.core.runs import (
    ASSIGNMENT,
    BUSY,
    KEYED_CALL,
    LATER,
    NEVER,
    apply,
    frame,
    overdue,
    passes,
    refusal,
    run_in,
    suitable,
)

S = State
INPUTS: tuple[type[Any], ...] = get_args(Input)

R1: dict[State, dict[type[Any], State]] = {
    S.QUEUED: {Offer: S.OFFERED, Retry: S.QUEUED, Fail: S.FAILED, Expire: S.FAILED, Stop: S.ABORTED},
    S.OFFERED: {
        Start: S.STREAMING,
        Answered: S.OFFERED,
        Recover: S.OFFERED,
        Decline: S.QUEUED,
        Disconnect: S.QUEUED,
        Abandon: S.QUEUED,
        Expire: S.QUEUED,
        Fail: S.FAILED,
        Stop: S.ABORTED,
    },
    S.STREAMING: {
        Start: S.STREAMING,
        Answered: S.STREAMING,
        FrameLines: S.STREAMING,
        Resume: S.STREAMING,
        Finish: S.DONE,
        Fail: S.FAILED,
        Expire: S.FAILED,
        Disconnect: S.SUSPENDED,
        Abandon: S.INTERRUPTED,
        Stop: S.ABORTED,
    },
    S.SUSPENDED: {
        Resume: S.STREAMING,
        Recover: S.SUSPENDED,
        Finish: S.DONE,
        Fail: S.FAILED,
        Expire: S.INTERRUPTED,
        Abandon: S.INTERRUPTED,
        Stop: S.ABORTED,
    },
    S.INTERRUPTED: {Resume: S.STREAMING, Expire: S.INTERRUPTED, Stop: S.INTERRUPTED},
    S.DONE: {},
    S.FAILED: {},
    S.ABORTED: {},
}
"""The rule, written a second time: a change of the table is a change of the protocol."""

LEGAL = [(state, kind, target) for state, row in R1.items() for kind, target in row.items()]
HEARD = {(S.OFFERED, Answered), *((S.STREAMING, kind) for kind in (Start, Answered, FrameLines, Resume))}
"""What only says that the executor is alive, or brings lines: the run's row stays as it is."""
LIMIT_OF = {
    S.QUEUED: "no_executor",
    S.OFFERED: "callback_timeout",
    S.STREAMING: "run_timeout",
    S.SUSPENDED: "executor_lost",
    S.INTERRUPTED: "executor_lost",
}


def before_its_end(state: State) -> Run:
    """A run in that state with its limit over, so that every input of the table has something to do."""
    return overdue(run_in(state), LIMIT_OF[state])


# --- the table -------------------------------------------------------------------------------------


@pytest.mark.rule("R1")
def test_the_table_of_transitions_is_the_protocols() -> None:
    assert {state: dict(row) for state, row in TRANSITIONS.items()} == R1


@pytest.mark.rule("R1")
@pytest.mark.parametrize(("state", "kind", "target"), LEGAL)
def test_each_legal_input_leads_where_the_table_says(state: State, kind: type[Any], target: State) -> None:
    before = before_its_end(state)
    after, effects = apply(before, suitable(kind, before))
    assert after.state is target
    if target is not state:
        assert (after.since, after.heard_at) == (LATER, LATER)
    assert (CloseMessage() in effects) == (target in ENDED and state is not S.INTERRUPTED)
    assert (ReopenMessage() in effects) == (target is S.STREAMING and state is S.INTERRUPTED)
    assert (after.ended_at is not None) == (target in ENDED)


@pytest.mark.rule("R1")
@pytest.mark.parametrize(("state", "kind", "target"), LEGAL)
def test_each_change_of_state_raises_the_version_by_one(state: State, kind: type[Any], target: State) -> None:
    before = before_its_end(state)
    after, _ = apply(before, suitable(kind, before))
    assert after.version == before.version + (0 if (state, kind) in HEARD else 1)


@pytest.mark.rule("R1")
def test_what_has_started_is_never_offered_again() -> None:
    """No input leads from a bound run, or an ended one, to where runs are offered."""
    offerable = {S.QUEUED, S.OFFERED}
    assert not any(target in offerable for state in BOUND | ENDED for target in TRANSITIONS[state].values())


# --- every input in every state ----------------------------------------------------------------------

STATES: dict[str, Run] = {
    "queued": before_its_end(S.QUEUED),
    "offered": before_its_end(S.OFFERED),
    "streaming": before_its_end(S.STREAMING),
    "suspended": before_its_end(S.SUSPENDED),
    "interrupted": before_its_end(S.INTERRUPTED),
    "interrupted for good": run_in(S.INTERRUPTED, closed_by="user"),
    "done": run_in(S.DONE),
    "failed": run_in(S.FAILED),
    "aborted": run_in(S.ABORTED),
}
FOLLOWED = {
    name: replace(run, attempt=2, request=KEYED_CALL, expected=0 if run.started_at is None else 1)
    for name, run in STATES.items()
}
"""Their second attempt, so that there are one before it and one after it; what was started has a line."""

CHANGES, HEARS, PASSES, REFUSES = "c", "h", ".", "x"
WHAT_BECOMES_OF_IT = {
    # in the order of STATES: q o s s i i d f a
    "offer": "c x x x x x x x x",
    "start": "x c . . x x x x x",
    "answered": ". h h . . . . . .",
    "decline": ". c . . . . . . .",
    "decline for good": ". c . . . . . . .",
    "lines": "x x h x x x x x x",
    "lines to the end": "x x c c x x x x x",
    "heartbeat": "x x h x x x x x x",
    "finish, said by the executor": "x x c c x x x x x",
    "finish": "x x c c x . . . .",
    "fail, said by the executor": "x c c c x x x x x",
    "fail": "c c c c x . . . .",
    "fail, for an attempt": "c c c c . . . . .",
    "stop, said by the executor": "x c c c x x x x .",
    "stop": "c c c c c . . . .",
    "close": ". . . . c . . . .",
    "disconnect": ". c c . . . . . .",
    "resume": "x x h c c x x x x",
    "abandon": ". c c c . . . . .",
    "expire": "c c c c c . . . .",
    "retry": "c . . . . . . . .",
    "recover": ". c c c . . . . .",
    "follow": "c c c c . . . . .",
    "unfollow": "c c c c . . . . .",
}
ANSWERED_WITH_A_REFUSAL = {"start", "lines", "lines to the end", "heartbeat", "resume"}


def inputs(attempt: int) -> dict[str, Input]:
    """One input of each sort, for this attempt if it names one."""
    return {
        "offer": Offer(ASSIGNMENT, "c2"),
        "start": Start(attempt),
        "answered": Answered(attempt),
        "decline": Decline(attempt, BUSY),
        "decline for good": Decline(attempt, NEVER),
        "lines": frame(1, "data: x", attempt=attempt),
        "lines to the end": frame(1, "data: x", DONE, attempt=attempt),
        "heartbeat": frame(1, attempt=attempt),
        "finish, said by the executor": Finish("stop", frame(1, "data: x", attempt=attempt)),
        "finish": Finish("stop"),
        "fail, said by the executor": Fail(failure("upstream_error"), frame(0, attempt=attempt)),
        "fail": Fail(failure("no_executor")),
        "fail, for an attempt": Fail(failure("line_too_long"), attempt=attempt),
        "stop, said by the executor": Stop(frame=frame(0, attempt=attempt)),
        "stop": Stop(),
        "close": Close(),
        "disconnect": Disconnect(attempt),
        "resume": Resume(attempt),
        "abandon": Abandon(attempt),
        "expire": Expire(),
        "retry": Retry(),
        "recover": Recover(),
        "follow": Follow("caller"),
        "unfollow": Unfollow(None),
    }


def becomes(run: Run, input: Input) -> str:
    """Which of the four things the input does."""
    copy = replace(run)
    try:
        after, effects = apply(run, input)
    except Refused:
        return REFUSES
    finally:
        assert run == copy
    if after is run:
        assert effects == ()
        return PASSES
    return CHANGES if after.version == run.version + 1 else HEARS


def test_the_table_of_what_becomes_of_inputs_has_each_type_of_them() -> None:
    assert {type(input) for input in inputs(1).values()} == set(INPUTS)
    assert inputs(1).keys() == WHAT_BECOMES_OF_IT.keys()


@pytest.mark.rule("R1")
@pytest.mark.parametrize("sort", WHAT_BECOMES_OF_IT)
def test_each_input_changes_each_state_or_is_passed_over_or_refused(sort: str) -> None:
    found = {name: becomes(run, inputs(2)[sort]) for name, run in FOLLOWED.items()}
    assert found == dict(zip(STATES, WHAT_BECOMES_OF_IT[sort].split(), strict=True))


@pytest.mark.rule("E4")
@pytest.mark.parametrize("attempt", [1, 3])
@pytest.mark.parametrize("sort", WHAT_BECOMES_OF_IT)
def test_an_input_for_another_attempt_changes_nothing_in_any_state(sort: str, attempt: int) -> None:
    """Whoever waits for an answer is told so; to what the server says itself nobody listens."""
    input = inputs(attempt)[sort]
    if input == inputs(2)[sort]:
        return  # it names no attempt
    waits = sort in ANSWERED_WITH_A_REFUSAL or "said by the executor" in sort
    for run in FOLLOWED.values():
        if waits:
            assert refusal(run, input).code == "stale_attempt"
        else:
            assert passes(run, input)


@pytest.mark.rule("R1")
@pytest.mark.parametrize("index", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("name", STATES)
def test_no_frame_whatever_its_index_breaks_a_run(name: str, index: int) -> None:
    run = replace(FOLLOWED[name], expected=2)
    for lines in ((), ("a",), ("a", "b", "c"), (DONE,), ("a", DONE)):
        part = frame(index, *lines, attempt=2)
        for input in (part, Finish("stop", part), Fail(BUSY, part), Stop(frame=part)):
            assert becomes(run, input) in {CHANGES, HEARS, PASSES, REFUSES}


@pytest.mark.rule("R1", "E4")
@pytest.mark.parametrize("name", STATES)
def test_a_refusal_says_that_the_run_has_ended_exactly_if_it_has(name: str) -> None:
    run = FOLLOWED[name]
    for sort in ("start", "lines", "finish, said by the executor", "fail, said by the executor", "resume"):
        if becomes(run, inputs(2)[sort]) == REFUSES:
            refused = refusal(run, inputs(2)[sort])
            assert (refused.code == "run_ended") == (run.state in ENDED), sort
            assert refused.expected == run.expected
