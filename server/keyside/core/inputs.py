"""What can happen to a run, and what is to be done about it: the inputs and the effects of `step`."""

from dataclasses import dataclass, field

from keyside.core.attempt import Assignment, Piece
from keyside.protocol.entities import Failure

# --- inputs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """The run is handed to an executor, under a channel of this attempt's own."""

    assignment: Assignment
    channel: str


@dataclass(frozen=True)
class Start:
    """The executor claims the offer (E3); for a plain one its offer is the claim."""

    attempt: int


@dataclass(frozen=True)
class Lines:
    """More of the answer, or a heartbeat without any."""

    piece: Piece


@dataclass(frozen=True)
class Finish:
    """The regular end. `reason` is the upstream's finish reason."""

    reason: str
    piece: Piece | None = None


@dataclass(frozen=True)
class Fail:
    """The run cannot be completed; its text is kept. With a `piece` it is the executor that says so."""

    failure: Failure
    piece: Piece | None = None


@dataclass(frozen=True)
class Lose:
    """The executor went away, or it gave an offer back."""


@dataclass(frozen=True)
class Return:
    """The executor of this attempt is here again, with the run in hand (E1)."""

    attempt: int


@dataclass(frozen=True)
class Expire:
    """The time that the present state may take is over; `code` says which limit it was."""

    code: str


@dataclass(frozen=True)
class Stop:
    """Somebody ended it: a user, or (with a `piece`) the executor that aborted its call (E9)."""

    failure: Failure | None = None
    piece: Piece | None = None


Input = Offer | Start | Lines | Finish | Fail | Lose | Return | Expire | Stop

# --- effects ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Append:
    """Store these lines, as the run's lines from `index` on."""

    index: int
    lines: tuple[str, ...]
    readings: tuple[object, ...] | None = field(default=None, compare=False, repr=False)
    """As in `Piece`."""


@dataclass(frozen=True)
class Cancel:
    """Tell the executor that its attempt is over (E9)."""

    run_id: str
    assignment: Assignment
    attempt: int
    channel: str


@dataclass(frozen=True)
class Close:
    """The run has ended: write its message."""


Effect = Append | Cancel | Close
