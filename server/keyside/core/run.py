"""A run's life: its states, the inputs that change it, and `step`, the one function that does so."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

from keyside.core.attempt import Assignment, Mark, Piece
from keyside.core.inputs import (
    Append,
    Cancel,
    Close,
    Effect,
    Expire,
    Fail,
    Finish,
    Input,
    Lines,
    Lose,
    Offer,
    Return,
    Start,
    Stop,
)
from keyside.protocol.entities import Failure, Message
from keyside.protocol.errors import failure


class State(StrEnum):
    """Where a run is (R1)."""

    QUEUED = "queued"
    OFFERED = "offered"
    STREAMING = "streaming"
    SUSPENDED = "suspended"
    DONE = "done"
    FAILED = "failed"
    ABORTED = "aborted"
    INTERRUPTED = "interrupted"


ENDED = frozenset({State.DONE, State.FAILED, State.ABORTED, State.INTERRUPTED})
BOUND = frozenset({State.STREAMING, State.SUSPENDED})
"""States in which the run belongs to one attempt for good: it is never offered again."""


@dataclass(frozen=True)
class Ask:
    """What was asked for. `params` is the OpenAI body's rest, or the whole body where it brings its messages."""

    model: str
    provider: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    session_id: str | None = None
    executor_id: str | None = None
    prefer_executor_id: str | None = None
    waits: bool = True
    """Whether the run waits for a device (a chat) or fails at once (a program's call), R3."""
    wait_seconds: float | None = None
    """How long it waits at the most, where the caller says so."""
    caller: bool = False
    """Whether a program waits on the line: when it has gone, its run ends (R8, R9)."""
    fingerprint: str = ""
    """Hash of the request's body: the same id with another body is a conflict (R6)."""


@dataclass(frozen=True)
class Run:
    """A run as it is committed. Times are in seconds of the server's clock."""

    id: str
    user_id: int
    chat_id: int
    message_id: str
    ask: Ask
    created_at: float
    prefix: Message | None = None
    """The message as it was when a run began to continue it; the run's lines are added to that."""
    state: State = State.QUEUED
    version: int = 0
    """Counts the changes of the run's row; a commit checks it. Lines and heartbeats don't touch the row."""
    attempt: int = 0
    assignment: Assignment | None = None
    channel: str | None = None
    tried: frozenset[str] = frozenset()
    since: float = 0.0
    """When the present state began."""
    started_at: float | None = None
    ended_at: float | None = None
    expected: int = 0
    """How many lines are stored: the index of the next."""
    heard_at: float = 0.0
    mark: Mark | None = None
    finish_reason: str | None = None
    failure: Failure | None = None
    closed_by: Literal["executor", "server", "user"] | None = None
    """Who ended it. An interrupted run with none can still come back (R4)."""


TRANSITIONS: Mapping[State, Mapping[type[Input], State]] = MappingProxyType(
    {
        State.QUEUED: {
            Offer: State.OFFERED,
            Fail: State.FAILED,
            Expire: State.FAILED,
            Stop: State.ABORTED,
        },
        State.OFFERED: {
            Start: State.STREAMING,
            Lose: State.QUEUED,
            Expire: State.QUEUED,
            Fail: State.FAILED,
            Stop: State.ABORTED,
        },
        State.STREAMING: {
            Start: State.STREAMING,
            Lines: State.STREAMING,
            Return: State.STREAMING,
            Finish: State.DONE,
            Fail: State.FAILED,
            Expire: State.FAILED,
            Lose: State.SUSPENDED,
            Stop: State.ABORTED,
        },
        State.SUSPENDED: {
            Return: State.STREAMING,
            Finish: State.DONE,
            Fail: State.FAILED,
            Expire: State.INTERRUPTED,
            Stop: State.ABORTED,
        },
        State.INTERRUPTED: {
            Return: State.STREAMING,
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


def step(run: Run, input: Input, now: float) -> tuple[Run, tuple[Effect, ...]]:
    """The run after the input, and what is to be done about it.

    Raises `Refused` with a code of `errors.py` where the input is stale, comes too late, leaves a gap, or is
    illegal in the run's state. The same run (`is`) with no effect means: known already.
    """
    _fence(run, input)
    if _is_repeat(run, input):
        return run, ()
    input = _as_its_marks_say(run, input)
    target = TRANSITIONS[run.state].get(type(input))
    if target is None or _is_final(run, input):
        raise Refused(_why_illegal(run, input), run.expected)
    return _enter(run, input, target, now)


def _fence(run: Run, input: Input) -> None:
    """E4: an attempt that is not the current one changes nothing."""
    attempt = _attempt_of(input)
    if attempt is not None and attempt != run.attempt:
        raise Refused("stale_attempt", run.expected)


def _attempt_of(input: Input) -> int | None:
    match input:
        case Start() | Return():
            return input.attempt
        case Lines() | Finish() | Fail() | Stop():
            return input.piece.attempt if input.piece else None
        case _:
            return None


def _is_repeat(run: Run, input: Input) -> bool:
    """Whether this frame of the right attempt is known already: a resent claim, or a resent end (E5, E9)."""
    piece = getattr(input, "piece", None)
    if run.state in BOUND:
        return isinstance(input, Start)
    if piece is None or run.state not in ENDED:
        return False
    if run.state is State.ABORTED and isinstance(input, Stop):
        return True
    return run.closed_by == "executor" and piece.index + len(piece.lines) <= run.expected


def _is_final(run: Run, input: Input) -> bool:
    """Whether an interrupted run is closed, or its executor has not come back before it sends on (R4)."""
    if run.state is not State.INTERRUPTED:
        return False
    return run.closed_by is not None or getattr(input, "piece", None) is not None


def _as_its_marks_say(run: Run, input: Input) -> Input:
    """An end mark in the stored lines ends the run even if the end frame never comes (E7)."""
    if isinstance(input, Lines) and input.piece.mark and input.piece.mark.complete:
        reason = input.piece.mark.reason or (run.mark.reason if run.mark else None) or "stop"
        broken = input.piece.mark.failure or (run.mark.failure if run.mark else None)
        return Fail(broken, input.piece) if broken else Finish(reason, input.piece)
    if isinstance(input, Expire) and run.state in BOUND and run.mark:
        if run.mark.failure:
            return Fail(run.mark.failure)
        if run.mark.reason:
            return Finish(run.mark.reason)
    return input


def _why_illegal(run: Run, input: Input) -> str:
    if run.state in ENDED:
        return "run_ended"
    if run.state is State.QUEUED:
        return "stale_attempt"  # its last offer was withdrawn, and there is no other yet
    if run.state is State.SUSPENDED:
        return "not_ready"
    return "not_started"


def _enter(run: Run, input: Input, target: State, now: float) -> tuple[Run, tuple[Effect, ...]]:
    run, effects = _take_lines(run, input, now)
    if target is State.STREAMING and run.state is State.STREAMING:
        return run, effects
    changed = replace(run, state=target, since=now, version=run.version + 1, heard_at=now, **_changes(run, input, now))
    if target in ENDED and (run.state is not State.INTERRUPTED):
        effects = (*effects, Close())
    return changed, (*effects, *_recall(run, input, target))


def _take_lines(run: Run, input: Input, now: float) -> tuple[Run, tuple[Effect, ...]]:
    """Takes the part of a frame that is new; known lines are passed over, a gap is refused (E5)."""
    piece: Piece | None = getattr(input, "piece", None)
    if piece is None:
        return run, ()
    if piece.index > run.expected:
        raise Refused("gap", run.expected)
    known = run.expected - piece.index
    new = piece.lines[known:]
    if not new:
        return _after(run, heard_at=now), ()
    taken = _after(run, heard_at=now, expected=run.expected + len(new), mark=_merge(run.mark, piece.mark))
    return taken, (Append(run.expected, new, piece.readings and piece.readings[known:]),)


def _after(run: Run, **changes: Any) -> Run:
    """`replace` without a look at every field: this happens with each frame."""
    after = object.__new__(Run)
    after.__dict__.update(run.__dict__, **changes)
    return after


def _merge(old: Mark | None, new: Mark | None) -> Mark | None:
    if old is None or new is None:
        return new or old
    return Mark(new.reason or old.reason, new.complete or old.complete, new.failure or old.failure)


def _changes(run: Run, input: Input, now: float) -> dict[str, Any]:
    """What an input changes in the run besides its state."""
    by = "executor" if getattr(input, "piece", None) else "server"
    match input:
        case Offer(assignment, channel):
            tried = run.tried | {assignment.visit}
            return {"attempt": run.attempt + 1, "assignment": assignment, "channel": channel, "tried": tried}
        case Start():
            return {"started_at": now}
        case Return():
            return {"ended_at": None, "failure": None, "closed_by": None}
        case Finish(reason):
            return {"finish_reason": reason, "ended_at": now, "closed_by": "executor"}
        case Fail(broken):
            return {"failure": broken, "ended_at": now, "closed_by": by}
        case Stop(broken):
            by = by if by == "executor" else "user"
            return {"failure": broken or run.failure, "ended_at": run.ended_at or now, "closed_by": by}
        case Expire(code):
            return _expired(run, code, now)
        case Lose() | Lines():
            return {}


def _expired(run: Run, code: str, now: float) -> dict[str, Any]:
    if run.state is State.OFFERED:
        return {}
    if run.state is State.INTERRUPTED:
        return {"closed_by": "server"}
    if run.state is State.SUSPENDED:
        return {"failure": failure("executor_lost"), "ended_at": now}
    return {"failure": failure(code), "ended_at": now, "closed_by": "server"}


def _recall(run: Run, input: Input, target: State) -> tuple[Effect, ...]:
    """The executor is told when its attempt ends by another's will."""
    told = isinstance(input, Stop | Expire | Fail | Lose) and getattr(input, "piece", None) is None
    if not told or target not in {State.FAILED, State.ABORTED, State.QUEUED}:
        return ()
    if run.assignment is None or run.channel is None or run.state is State.QUEUED:
        return ()
    return (Cancel(run.id, run.assignment, run.attempt, run.channel),)
