"""How long things may take."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds (E3, E8, R3, R4, R6)."""

    callback: float = 10.0
    first_line: float = 180.0
    idle: float = 120.0
    run: float = 3600.0
    resume_grace: float = 60.0
    queue: float = 24 * 3600.0
    late_resume: float = 24 * 3600.0
    silence_after_finish: float = 2.0
    retry: float = 10.0
    """A run that waits is offered again so long after its first attempt, then each time so much later (R3)."""


class Deadline(NamedTuple):
    """When the present state must have changed, in seconds of the server's clock, and the limit that is over then.

    `code` is an error of `errors.py`, or `RETRY`.
    """

    at: float
    code: str


ID_SECONDS = 7 * 24 * 3600.0
"""How long a run's id stays taken when the run is removed, counted from when it was asked for (R6)."""
RETRY = "retry"
"""The code of a deadline after which executors that did not take the run may be asked again. It is no error."""
