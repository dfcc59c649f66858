"""A run's life: the table of its states and inputs, and `step`, the one function that changes a run."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from keyside.core.deadline import deadline_of
from keyside.core.frames import EndMark, FrameLines
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
from keyside.core.limits import RETRY, Limits
from keyside.core.run import AT_HOME, BOUND, ENDED, Run, State
from keyside.protocol.errors import failure

TRANSITIONS: Mapping[State, Mapping[type[Input], State]] = MappingProxyType(
    {
        State.QUEUED: {
            Offer: State.OFFERED,
            Retry: State.QUEUED,
            Fail: State.FAILED,
            Expire: State.FAILED,
            Stop: State.ABORTED,
        },
        State.OFFERED: {
            Start: State.STREAMING,
            Answered: State.OFFERED,
            Recover: State.OFFERED,
            Decline: State.QUEUED,
            Disconnect: State.QUEUED,
            Abandon: State.QUEUED,
            Expire: State.QUEUED,
            Fail: State.FAILED,
            Stop: State.ABORTED,
        },
        State.STREAMING: {
            Start: State.STREAMING,
            Answered: State.STREAMING,
            FrameLines: State.STREAMING,
            Resume: State.STREAMING,
            Finish: State.DONE,
            Fail: State.FAILED,
            Expire: State.FAILED,
            Disconnect: State.SUSPENDED,
            Abandon: State.INTERRUPTED,
            Stop: State.ABORTED,
        },
        State.SUSPENDED: {
            Resume: State.STREAMING,
            Recover: State.SUSPENDED,
            Finish: State.DONE,
            Fail: State.FAILED,
            Expire: State.INTERRUPTED,
            Abandon: State.INTERRUPTED,
            Stop: State.ABORTED,
        },
        State.INTERRUPTED: {
            Resume: State.STREAMING,
            Expire: State.INTERRUPTED,
            Stop: State.INTERRUPTED,
        },
        State.DONE: {},
        State.FAILED: {},
        State.ABORTED: {},
    }
)


class Refused(Exception):
    """The input is illegal now, and nothing was changed. `expected` is the next line that the run waits for."""

    def __init__(self, code: str, expected: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.expected = expected


def step(run: Run, input: Input, now: float, limits: Limits) -> tuple[Run, tuple[Effect, ...]]:
    """The run after the input, and what is to be done about it.

    The same run (`is`) with no effect means that the input changes nothing: it is known already, or what it answers is
    over. Raises `Refused` with a code of `errors.py` where an executor's frame, claim or return is stale, comes too
    late, leaves a gap, or is illegal in the run's state.
    """
    if type(input) is FrameLines and _goes_on(run, input):  # as with nearly all inputs
        return _enter(run, input, State.STREAMING, now, limits)
    _check_attempt(run, input)
    if not _applies(run, input, now):
        return run, ()
    if isinstance(input, (Follow, Unfollow)):
        return _take_caller(run, input, now, limits)
    meant = _as_the_run_stands(run, input)
    target = TRANSITIONS[run.state].get(type(meant))
    if target is None or _is_final(run, meant):
        raise Refused(_why_illegal(run), run.expected)
    return _enter(run, meant, target, now, limits)


def _goes_on(run: Run, frame: FrameLines) -> bool:
    """Whether a running run gets more lines, and no end with them."""
    mark = frame.end_mark
    return run.state is State.STREAMING and frame.attempt == run.attempt and not (mark and mark.complete)


# --- whether an input still applies ------------------------------------------------------------------


def _check_attempt(run: Run, input: Input) -> None:
    """E4: what an executor sends for an attempt that is not the current one, or was withdrawn, is refused.

    So is an offer that was chosen before another attempt began.
    """
    if isinstance(input, Offer) and input.attempt not in (None, run.attempt + 1):
        raise Refused("stale_attempt", run.expected)
    if isinstance(input, (FrameLines, Start, Resume)):
        attempt: int | None = input.attempt
    else:
        frame = getattr(input, "frame", None)
        attempt = frame.attempt if frame else None
    if attempt is not None and (attempt != run.attempt or run.state is State.QUEUED):
        raise Refused("stale_attempt", run.expected)


def _applies(run: Run, input: Input, now: float) -> bool:
    """Whether there is something for the input to change: it is not known yet, and what it answers is not over."""
    match input:
        case FrameLines():
            return not _is_repeat(run, input, input)
        case (
            Finish(frame=FrameLines() as frame) | Fail(frame=FrameLines() as frame) | Stop(frame=FrameLines() as frame)
        ):
            return not _is_repeat(run, input, frame)
        case Start():
            return run.state not in BOUND
        case Fail(attempt=int() as attempt):
            return attempt == run.attempt and run.state not in ENDED
        case Decline() | Abandon() | Disconnect() | Answered():
            return input.attempt == run.attempt and type(input) in TRANSITIONS[run.state]
        case Offer() | Resume():
            return True
        case Retry():
            return run.state is State.QUEUED and bool(run.tried)
        case Expire():
            return run.deadline is not None and run.deadline.at <= now and not run.final
        case Close():
            return run.can_return
        case Recover():
            return run.state in AT_HOME
        case _:
            return not run.final


def _is_repeat(run: Run, input: Input, frame: FrameLines) -> bool:
    """Whether a frame of the right attempt is known already: the run ended with it, or with one after it (E5, E9)."""
    if run.state not in ENDED:
        return False
    if run.state is State.ABORTED and isinstance(input, Stop):
        return True
    return run.closed_by == "executor" and frame.index + len(frame.lines) <= run.expected


def _is_final(run: Run, input: Input) -> bool:
    """Whether an interrupted run is closed, or its executor has not come back before it sends on (R4)."""
    if run.state is not State.INTERRUPTED:
        return False
    return run.closed_by is not None or _frame_of(input) is not None


def _why_illegal(run: Run) -> str:
    if run.state in ENDED:
        return "run_ended"
    if run.state is State.QUEUED:
        return "stale_attempt"  # its last offer was withdrawn, and there is no other yet
    if run.state is State.SUSPENDED:
        return "not_ready"
    return "not_started"


# --- what an input means in the run's state ----------------------------------------------------------


def _as_the_run_stands(run: Run, input: Input) -> Input:
    """The input that the table knows: an end mark among the lines, or a limit, may make it another one."""
    match input:
        case FrameLines(end_mark=mark) if mark is not None and mark.complete:
            return _ending(run, input)
        case FrameLines(index=0, lines=()) if run.state is State.OFFERED:
            return Start(input.attempt)
        case Finish(None, frame) if frame is not None:
            return _ending(run, frame)
        case Decline(_, refusal) if not refusal.retryable:
            return Fail(refusal)
        case Close():
            return Stop()
        case Expire():
            return _expiring(run)
        case Abandon() if run.state in BOUND:
            return _as_its_mark_says(run) or input
        case Recover() if run.state is State.STREAMING:
            assert run.assignment is not None
            if run.assignment.framed:
                return Disconnect(run.attempt)
            return _as_its_mark_says(run) or Abandon(run.attempt)
        case _:
            return input


def _ending(run: Run, frame: FrameLines) -> Input:
    """How the run ends with these lines: with `[DONE]` in them its end frame need not come (E7)."""
    mark = (run.end_mark or EndMark()).then(frame.end_mark)
    return Fail(mark.failure, frame) if mark.failure else Finish(mark.reason or "stop", frame)


def _as_its_mark_says(run: Run) -> Input | None:
    """How a run ends that gets no more lines, where the stored ones hold an end already (E7)."""
    mark = run.end_mark
    if mark is None:
        return None
    if mark.failure:
        return Fail(mark.failure)
    return Finish(mark.reason) if mark.reason else None


def _expiring(run: Run) -> Input:
    assert run.deadline is not None
    if run.deadline.code == RETRY:
        return Retry()
    if run.deadline.code == "caller_gone":
        return Stop(failure("caller_gone"))
    return (_as_its_mark_says(run) if run.state in BOUND else None) or Expire()


# --- the change --------------------------------------------------------------------------------------


def _enter(run: Run, input: Input, target: State, now: float, limits: Limits) -> tuple[Run, tuple[Effect, ...]]:
    frame = _frame_of(input)
    added, effects = ({}, ()) if frame is None else _new_lines(run, frame)
    if target is run.state and isinstance(input, (FrameLines, Answered, Start, Resume)):
        return _heard(run, added, now, limits), effects
    run = _after(run, added)
    changed = _after(run, {"state": target, "since": now, "heard_at": now} | _changes(run, input, now))
    changed = _with_deadline(changed, limits)
    if target in ENDED and run.state is not State.INTERRUPTED:
        effects = (*effects, CloseMessage())
    if run.state is State.INTERRUPTED and target is State.STREAMING:
        effects = (*effects, ReopenMessage())
    return changed, (*effects, *_cancel(run, input, target))


def _frame_of(input: Input) -> FrameLines | None:
    return input if isinstance(input, FrameLines) else getattr(input, "frame", None)


def _new_lines(run: Run, frame: FrameLines) -> tuple[dict[str, Any], tuple[Effect, ...]]:
    """What the new part of a frame changes in the run; known lines are passed over, a gap is refused (E5)."""
    if frame.index > run.expected:
        raise Refused("gap", run.expected)
    new = frame.after(min(run.expected - frame.index, len(frame.lines)))
    if not new.lines:
        return {}, ()
    mark = run.end_mark.then(new.end_mark) if run.end_mark else new.end_mark
    return {"expected": run.expected + len(new.lines), "end_mark": mark}, (new,)


def _heard(run: Run, added: dict[str, Any], now: float, limits: Limits) -> Run:
    """The run, whose executor was heard, with what was added. Its row does not change by that."""
    heard = _after(run, {**added, "heard_at": now})
    heard.__dict__["deadline"] = deadline_of(heard, limits)
    return heard


def _with_deadline(run: Run, limits: Limits) -> Run:
    """The run as a next version, with the deadline of its state."""
    return replace(run, version=run.version + 1, deadline=deadline_of(run, limits))


def _after(run: Run, changes: dict[str, Any]) -> Run:
    """`replace` without a look at every field: this happens with each frame."""
    after = object.__new__(Run)
    after.__dict__.update(run.__dict__)
    after.__dict__.update(changes)
    return after


def _changes(run: Run, input: Input, now: float) -> dict[str, Any]:
    """What an input changes in the run besides its state."""
    by = "executor" if _frame_of(input) else "server"
    match input:
        case Offer(assignment, channel):
            tried = run.tried | {assignment.announcement}
            offered = {"assignment": assignment, "channel": run.channel or channel, "tried": tried}
            return offered | {"attempt": run.attempt + 1, "refusal": None}
        case Retry():
            return {"tried": frozenset(), "rounds": run.rounds + 1, "since": run.since}
        case Start():
            return {"started_at": now}
        case Resume():
            return {"ended_at": None, "failure": None, "closed_by": None}
        case Finish(reason):
            return {"finish_reason": reason or "stop", "ended_at": now, "closed_by": "executor"}
        case Fail(broken):
            return {"failure": broken, "ended_at": now, "closed_by": by}
        case Stop(broken):
            return _stopped(run, broken, by, now)
        case Abandon() if run.state in BOUND:
            return {"failure": failure("executor_lost"), "ended_at": now}
        case Decline(_, refusal):
            return {"refusal": refusal}
        case Disconnect() | Abandon() if run.state is State.OFFERED:
            return {"refusal": failure("executor_lost")}
        case Expire():
            return _expired(run, now)
        case _:
            return {}


def _stopped(run: Run, broken: Any, by: str, now: float) -> dict[str, Any]:
    if by != "executor":
        by = "server" if broken is not None and broken.code == "caller_gone" else "user"
    return {"failure": broken or run.failure, "ended_at": run.ended_at or now, "closed_by": by}


def _expired(run: Run, now: float) -> dict[str, Any]:
    assert run.deadline is not None
    code = run.deadline.code
    if run.state is State.OFFERED:
        return {"refusal": failure(code)}
    if run.state is State.INTERRUPTED:
        return {"closed_by": "server"}
    if run.state is State.SUSPENDED:
        return {"failure": failure("executor_lost"), "ended_at": now}
    return {"failure": failure(code), "ended_at": now, "closed_by": "server"}


def _cancel(run: Run, input: Input, target: State) -> tuple[Effect, ...]:
    """The executor is told when its attempt ends by another's will."""
    by_others = isinstance(input, Stop | Expire | Fail | Disconnect | Decline | Abandon) and _frame_of(input) is None
    if not by_others or target not in {State.FAILED, State.ABORTED, State.QUEUED}:
        return ()
    if run.assignment is None or run.channel is None or run.state is State.QUEUED:
        return ()
    return (Cancel(run.id, run.assignment, run.attempt, run.channel_name),)


# --- callers -----------------------------------------------------------------------------------------


def _take_caller(run: Run, input: Follow | Unfollow, now: float, limits: Limits) -> tuple[Run, tuple[Effect, ...]]:
    """A caller came or went. When the last one has gone, the run is stopped, at once or after its grace (R9)."""
    grace = run.request.caller_grace
    if grace is None or run.state in ENDED:
        return run, ()
    if isinstance(input, Follow):
        if input.caller in run.callers and run.unfollowed_at is None:
            return run, ()
        followed = _after(run, {"callers": run.callers | {input.caller}, "unfollowed_at": None})
        return _with_deadline(followed, limits), ()
    left = run.callers - {input.caller} if input.caller is not None else frozenset()
    if left == run.callers and run.unfollowed_at is not None:
        return run, ()
    if left:
        return (run, ()) if left == run.callers else (_with_deadline(_after(run, {"callers": left}), limits), ())
    if grace == 0:
        return _enter(_after(run, {"callers": left}), Stop(failure("caller_gone")), State.ABORTED, now, limits)
    return _with_deadline(_after(run, {"callers": left, "unfollowed_at": now}), limits), ()
