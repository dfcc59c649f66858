"""Whom an attempt of a run is handed to."""

from dataclasses import dataclass

from keyside.protocol.entities import ExecutorKind


@dataclass(frozen=True)
class Assignment:
    """One hand-over to one executor. `key` is unique in the server, `executor_id` only for its user."""

    key: str
    executor_id: str
    name: str
    kind: ExecutorKind
    session_id: str
    """The socket that the offer goes to."""
    model: str
    """The model's id as the upstream knows it."""
    provider: str | None = None
    connection_id: str | None = None
    announcement: str = ""
    """Which announcement of the executor was offered the run: after another one it can be tried again."""
    first_line_timeout: float | None = None
    """Seconds that the upstream may take to begin; `None`: the server's own limit."""
    idle_timeout: float | None = None
    """Seconds that the upstream may be silent in mid-answer; `None`: the server's own limit."""

    @property
    def framed(self) -> bool:
        """Whether the executor numbers its frames; a plain one sends bare lines (E6)."""
        return self.kind != "plain"
