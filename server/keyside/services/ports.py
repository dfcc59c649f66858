"""What the services need of the outside world. Each port has its implementations in `adapters`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from keyside.core.changes import Changes, Entry
from keyside.core.run import Run
from keyside.protocol.entities import Chat, Connection, ExecutorKind, Message


class Conflict(Exception):
    """What is stored is not what the change was made from: load again and decide anew."""


class Unavailable(Exception):
    """The store cannot be written at the moment; nothing was changed (D4)."""


@dataclass(frozen=True)
class Page:
    """Chats, newest first, and where the next page begins."""

    chats: tuple[Chat, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class View:
    """A chat at `seq`: its newest messages with the text that running ones have by then (V1, V3)."""

    chat: Chat
    messages: tuple[Message, ...]
    runs: tuple[Run, ...]
    siblings: dict[str, list[str]]
    earlier: bool
    seq: int


class ChatLog(Protocol):
    """Chats, messages and runs, and the numbered events by which they came about.

    Reads that name a user see that user's rows only, and return `None` or nothing for others'.
    """

    async def new_chat(self, user_id: int, title: str, at: float, *, hidden: bool = False) -> Chat:
        """Stores an empty chat. Its id is never used again."""
        ...

    async def commit(self, changes: Changes) -> tuple[Entry, ...]:
        """Stores all changes in one transaction, numbered from the chat's head on.

        Raises `Conflict` where a run's `version` is not one above the stored one, a run's lines are not at
        its end, or the chat is gone; `Unavailable` where nothing can be stored.
        """
        ...

    async def delete_chat(self, user_id: int, chat_id: int) -> None:
        """Removes a chat with all that belongs to it."""
        ...

    async def read(self, chat_id: int, *, after: int) -> tuple[Entry, ...] | None:
        """All events after `after`, without a gap; `None` where `after` lies outside of floor and head.

        The floor is 0, until messages are removed: their lines go with them, and it rises to the last of these.
        """
        ...

    async def view(self, chat_id: int, *, limit: int) -> View | None:
        """The branch that is shown: its newest `limit` messages, and the runs that have not ended."""
        ...

    async def chat(self, user_id: int, chat_id: int) -> Chat | None: ...

    async def chats(self, user_id: int, *, limit: int, cursor: str | None = None) -> Page:
        """Chats that are not hidden, by their last change; raises `ValueError` for a cursor of nobody."""
        ...

    async def messages(self, user_id: int, chat_id: int) -> tuple[Message, ...]:
        """The chat's whole tree, oldest first."""
        ...

    async def message(self, user_id: int, message_id: str) -> Message | None: ...

    async def run(self, user_id: int, run_id: str) -> Run | None: ...

    async def lines(self, run: Run) -> tuple[str, ...]:
        """All stored lines of the run, in order."""
        ...

    async def unfinished(self) -> tuple[Run, ...]:
        """Every run that has not ended for good, as it stood when the process began (R8)."""
        ...

    async def probe(self, at: float) -> None:
        """Writes something that nobody reads; raises `Unavailable` where nothing can be written."""
        ...

    async def hidden_before(self, at: float) -> tuple[tuple[int, int], ...]:
        """User and chat ids of hidden chats that were last changed before `at`."""
        ...

    async def heads(self, chat_ids: Sequence[int]) -> dict[int, int]:
        """The newest `seq` of each chat (V6)."""
        ...

    async def floor(self, chat_id: int) -> int:
        """The lowest number after which the chat's events can be read (V3)."""
        ...


@dataclass(frozen=True)
class KnownExecutor:
    """A framed executor, as stored: it is known also while it is away (R3)."""

    user_id: int
    executor_id: str
    secret_hash: str
    name: str
    kind: ExecutorKind
    connections: tuple[Connection, ...]
    max_runs: int
    last_active_at: float


class Registry(Protocol):
    """The executors that ever announced themselves."""

    async def load(self) -> tuple[KnownExecutor, ...]: ...

    async def save(self, known: KnownExecutor) -> None: ...

    async def forget(self, user_id: int, executor_id: str) -> None: ...


class Hub(Protocol):
    """Carries events to whoever is looking. It only hints: what is lost here is read from the log."""

    def publish(self, entries: Sequence[Entry]) -> None:
        """Sends stored events of one chat on, in this order. It queues, and never waits."""
        ...

    def follow(self, chat_id: int) -> AbstractContextManager[AsyncIterator[Entry]]:
        """The chat's events from now on, for a reader in this process (the HTTP faces)."""
        ...

    def tell(self, room: str, message: dict[str, Any]) -> None:
        """Sends `{type, data}` to everyone in a room: a `chat_room`, a `user_room`, or one socket's session id."""
        ...

    async def join(self, session_id: str, room: str) -> None:
        """From now on the socket gets what is told in the room."""
        ...

    async def leave(self, session_id: str, room: str) -> None: ...


EVERYONE = "everyone"
"""The room of all sockets."""


def chat_room(chat_id: int) -> str:
    """The room of the sockets that have a chat open."""
    return f"chat:{chat_id}"


def user_room(user_id: int) -> str:
    """The room of all sockets of a user."""
    return f"user:{user_id}"


class Gone(Exception):
    """The socket went away before it answered."""


class Calls(Protocol):
    """Reaches the socket of an executor."""

    async def call(self, session_id: str, message: dict[str, Any]) -> Any:
        """Sends `{type, data}` and returns the callback's first argument.

        Raises `Gone` as soon as the socket goes. It has no time limit of its own: cancel it.
        """
        ...

    def tell(self, session_id: str, message: dict[str, Any]) -> None:
        """Sends `{type, data}`; no answer is expected, and a socket that is gone does not matter."""
        ...


class Clock(Protocol):
    """Time. The fake one moves only when a test says so."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Ids(Protocol):
    """Randomness, for ids and channels."""

    def new(self) -> str:
        """A fresh random id, safe to show and hard to guess."""
        ...
