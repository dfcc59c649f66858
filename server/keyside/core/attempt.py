"""What an attempt is made of: its assignment, the lines that come back, and the end that they hold."""

from dataclasses import dataclass, field

from keyside.protocol.entities import ExecutorKind, Failure


@dataclass(frozen=True)
class Assignment:
    """Whom an attempt was handed to: `key` is unique in the server, `executor_id` only per user."""

    key: str
    executor_id: str
    name: str
    kind: ExecutorKind
    session_id: str
    model: str
    """The model's id as the upstream knows it."""
    provider: str | None = None
    connection_id: str | None = None
    visit: str = ""
    """This executor as it announced itself the last time: what a run remembers as tried."""

    @property
    def framed(self) -> bool:
        """Whether it numbers its frames; a plain one sends bare lines (E6)."""
        return self.kind != "plain"


@dataclass(frozen=True)
class Mark:
    """An end that the stored lines themselves hold: a finish reason, `[DONE]`, or an upstream's error."""

    reason: str | None = None
    complete: bool = False
    """Whether `[DONE]` was there: nothing comes after it."""
    failure: Failure | None = None


@dataclass(frozen=True)
class Piece:
    """The lines of one frame: which attempt sent them, the index of the first, and the end that they hold."""

    attempt: int
    index: int
    lines: tuple[str, ...] = ()
    mark: Mark | None = None
    readings: tuple[object, ...] | None = field(default=None, compare=False, repr=False)
    """What `transcript.read` made of the lines, carried along so that none is read twice; `None`: not read yet."""
