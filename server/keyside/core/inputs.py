"""What can happen to a run, and what is to be done about it: the inputs and the effects of `step`.

Inputs are plain data. Those that answer something name the attempt that they expect: where the run has gone on
meanwhile, `step` passes over them, or refuses them if an executor waits for the answer.
"""

from dataclasses import dataclass

from keyside.core.assignment import Assignment
from keyside.core.frames import FrameLines
from keyside.protocol.entities import Failure

# --- inputs of executors -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """The executor claims the offer (E3); for a plain one its offer is the claim."""

    attempt: int


@dataclass(frozen=True)
class Resume:
    """The executor of this attempt is here again, with the run in hand (E1)."""

    attempt: int


@dataclass(frozen=True)
class Answered:
    """The executor called back with yes (E3)."""

    attempt: int


@dataclass(frozen=True)
class Decline:
    """The offer was not taken. With a retryable failure the run goes to the next executor, otherwise it fails."""

    attempt: int
    failure: Failure


@dataclass(frozen=True)
class Disconnect:
    """The executor of this attempt went away."""

    attempt: int


@dataclass(frozen=True)
class Abandon:
    """The executor of this attempt has forgotten the run, or can never come back to it (E1)."""

    attempt: int


# --- inputs of executors or others: with `frame` it is the executor that says so ----------------------


@dataclass(frozen=True)
class Finish:
    """The regular end. `reason` is the upstream's finish reason; `None`: the lines say how it ended."""

    reason: str | None
    frame: FrameLines | None = None


@dataclass(frozen=True)
class Fail:
    """The run cannot be completed; its text is kept.

    Without a frame it counts for `attempt` alone; with neither, for the run whatever its attempt is.
    """

    failure: Failure
    frame: FrameLines | None = None
    attempt: int | None = None


@dataclass(frozen=True)
class Stop:
    """A user ended the run, or the executor aborted its call (E9)."""

    failure: Failure | None = None
    frame: FrameLines | None = None


# --- inputs of the server ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """The run is handed to an executor. `channel` names its frames, if no earlier attempt has named them."""

    assignment: Assignment
    channel: str
    attempt: int | None = None
    """The attempt that it begins; `None`: the next one, whichever that is."""


@dataclass(frozen=True)
class Close:
    """The user goes on without an interrupted run: it cannot come back any more (R4)."""


@dataclass(frozen=True)
class Expire:
    """The clock was looked at: what the run's `deadline` says happens, if it is over."""


@dataclass(frozen=True)
class Retry:
    """Whoever did not take the run may be asked again (R3)."""


@dataclass(frozen=True)
class Recover:
    """The process in which the run was at home is gone (R8)."""


@dataclass(frozen=True)
class Follow:
    """A caller waits for the answer (R6, R9). `caller` is unique in the server."""

    caller: str


@dataclass(frozen=True)
class Unfollow:
    """A caller has gone; `None`: all of them have."""

    caller: str | None


Input = (
    Offer
    | Start
    | Answered
    | Decline
    | FrameLines
    | Finish
    | Fail
    | Stop
    | Close
    | Disconnect
    | Resume
    | Abandon
    | Expire
    | Retry
    | Recover
    | Follow
    | Unfollow
)

# --- effects -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cancel:
    """Tell the executor that its attempt is over (E9)."""

    run_id: str
    assignment: Assignment
    attempt: int
    channel: str


@dataclass(frozen=True)
class CloseMessage:
    """The run has ended: write its message."""


@dataclass(frozen=True)
class ReopenMessage:
    """The run goes on after all: its message is being written again."""


Effect = FrameLines | Cancel | CloseMessage | ReopenMessage
"""The effect `FrameLines` is to store these lines."""
