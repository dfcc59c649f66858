"""A run: what was asked for, and how far it has come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from keyside.core.assignment import Assignment
from keyside.core.frames import EndMark
from keyside.core.limits import Deadline
from keyside.protocol.entities import Failure, Message


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
AT_HOME = frozenset({State.OFFERED, *BOUND})
"""States in which an executor has the run in hand, and one process holds it in memory (N2)."""

RunKey = tuple[int, str]
"""User id and run id: a run's id is unique for its user only (R6)."""


@dataclass(frozen=True)
class RunRequest:
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
    caller_grace: float | None = None
    """Seconds that the run goes on when nobody follows it any more (R9); `None`: it needs nobody."""
    first_line_timeout: float | None = None
    idle_timeout: float | None = None
    """Seconds; they win over the limits of the connection and of the server (E8)."""
    hidden: bool = False
    """Whether its chat is in no list."""
    fingerprint: str = ""
    """Hash of the request's body: the same id with another body is a conflict (R6)."""


@dataclass(frozen=True)
class Run:
    """A run as it is committed. Times are in seconds of the server's clock."""

    id: str
    user_id: int
    chat_id: int
    message_id: str
    request: RunRequest
    created_at: float
    waits_until: float = float("inf")
    """When it has waited long enough for an executor (R3)."""
    prefix: Message | None = None
    """The message as it was when a run began to continue it; the run's lines are added to that."""
    state: State = State.QUEUED
    version: int = 0
    """Counts the changes of the run's row; a commit checks it. Lines and heartbeats don't touch the row."""
    attempt: int = 0
    assignment: Assignment | None = None
    channel: str | None = None
    """The random part of the names of its channels, the same for all attempts."""
    tried: frozenset[str] = frozenset()
    """The announcements of executors that were offered the run since it was last allowed to try again."""
    rounds: int = 0
    """How often all executors could be asked again."""
    refusal: Failure | None = None
    """Why the last executor did not take it: with this it fails when nobody is left."""
    callers: frozenset[str] = frozenset()
    """The callers that wait for its answer (R9)."""
    unfollowed_at: float | None = None
    """Since when nobody follows a run that needs somebody."""
    since: float = 0.0
    """When the present state began."""
    started_at: float | None = None
    ended_at: float | None = None
    expected: int = 0
    """How many lines are stored: the index of the next."""
    heard_at: float = 0.0
    """When its executor was heard last."""
    end_mark: EndMark | None = None
    finish_reason: str | None = None
    failure: Failure | None = None
    closed_by: Literal["executor", "server", "user"] | None = None
    """Who ended it. An interrupted run with none can still come back (R4)."""
    deadline: Deadline | None = None
    """When its present state must have changed; `step` sets it."""

    @property
    def key(self) -> RunKey:
        """What names the run in the server."""
        return self.user_id, self.id

    @property
    def final(self) -> bool:
        """Whether it has ended for good: an interrupted run can come back until it is closed (R4)."""
        return self.state in ENDED and not self.can_return

    @property
    def can_return(self) -> bool:
        """Whether it is interrupted, and its executor may still finish it (R4)."""
        return self.state is State.INTERRUPTED and self.closed_by is None

    @property
    def unanswered(self) -> bool:
        """Whether nobody got anything of it: it was never claimed, or was stopped because nobody followed it (R6)."""
        return self.started_at is None or (self.failure is not None and self.failure.code == "caller_gone")

    @property
    def channel_name(self) -> str:
        """The event under which the frames of its present attempt travel (E5)."""
        return f"{self.channel}.{self.attempt}"


def channel_of(name: str) -> str:
    """The run's part of a channel's name, which is the same for all attempts."""
    return name.partition(".")[0]
