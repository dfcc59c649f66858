"""What happened, told through one queue to whoever acts on it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyside.core.inputs import Cancel
from keyside.core.run import Run
from keyside.protocol.entities import Connection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunChanged:
    """A change of a run's row is stored; `before` is `None` for a new run, `seq` is the number of its event."""

    before: Run | None
    after: Run
    seq: int


@dataclass(frozen=True)
class AttemptCancelled:
    """An attempt is over by another's will than its executor's (E9)."""

    cancel: Cancel


@dataclass(frozen=True)
class OfferAnswered:
    """An executor called back: `code` is the error with which it refused, `seconds` how long it took."""

    run: Run
    code: str | None
    seconds: float


@dataclass(frozen=True)
class DeadlineMoved:
    """A run at home has an earlier deadline than was known, in seconds of the server's clock."""

    run: Run
    at: float


@dataclass(frozen=True)
class ChatsChanged:
    """The list of a user's chats is another one (V4)."""

    user_id: int


@dataclass(frozen=True)
class ChatDeleted:
    """A chat is gone (R9)."""

    chat_id: int


@dataclass(frozen=True)
class ExecutorsChanged:
    """An executor came, went or offers other models; `shared`: it is there for all users."""

    user_id: int
    shared: bool = False


@dataclass(frozen=True)
class ExecutorForgotten:
    """An executor that was away is not known any more; `connections` are those that it had announced."""

    user_id: int
    executor_id: str
    connections: tuple[Connection, ...]


@dataclass(frozen=True)
class SocketGone:
    """A socket of the user is gone that had announced no executor; a run may have named it."""

    user_id: int


@dataclass(frozen=True)
class ExecutorReplaced:
    """A newer instance took the place of the executor on this socket (E12)."""

    session_id: str


@dataclass(frozen=True)
class CredentialRevoked:
    """A sign-in or a token holds no longer (C7)."""

    credential_id: str


@dataclass(frozen=True)
class StoreAway:
    """The store cannot be written (D4)."""


@dataclass(frozen=True)
class StoreBack:
    """The store can be written again, after so many seconds."""

    seconds: float


Notice = (
    RunChanged
    | AttemptCancelled
    | OfferAnswered
    | DeadlineMoved
    | ChatsChanged
    | ChatDeleted
    | ExecutorsChanged
    | ExecutorForgotten
    | SocketGone
    | ExecutorReplaced
    | CredentialRevoked
    | StoreAway
    | StoreBack
)

Listener = Callable[[Notice], None]
"""Is called with each notice, and must return at once: what takes time belongs into a task."""


class Notices:
    """The queue. What is put in before anybody listens waits."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Notice] = asyncio.Queue()

    def put(self, notice: Notice) -> None:
        """Adds a notice; it is delivered in its turn."""
        self._queue.put_nowait(notice)

    def empty(self) -> bool:
        """Whether nothing waits."""
        return self._queue.empty()

    async def get(self) -> Notice:
        """The next notice."""
        return await self._queue.get()


class Delivery:
    """Hands each notice to all listeners, in their order. `run` is its endless task."""

    def __init__(self, notices: Notices, listeners: Sequence[Listener]) -> None:
        self._notices = notices
        self._listeners = tuple(listeners)

    async def run(self) -> None:
        """Delivers until it is cancelled. A listener that fails is a bug, and keeps no other from hearing."""
        while True:
            notice = await self._notices.get()
            for listener in self._listeners:
                try:
                    listener(notice)
                except Exception:
                    log.exception("%s could not be acted on", type(notice).__name__)
