"""What the services need of the outside world. Each port has its implementations in `adapters`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from keyside.core.changes import Changes, Entry, Name
from keyside.core.run import Run, RunKey
from keyside.core.tree import Link
from keyside.protocol.entities import Chat, Connection, ExecutorKind, Message
from keyside.protocol.entities import Run as RunView
from keyside.services.account_store import AccountStore


class Conflict(Exception):
    """The change was made from something else than what is stored now. Load that, and decide again."""


class Unavailable(Exception):
    """The store cannot be written at the moment; nothing was changed (D4)."""


@dataclass(frozen=True)
class Page:
    """Chats, newest first, and where the next page begins."""

    chats: tuple[Chat, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Piece:
    """Messages, oldest first, and where those after them begin."""

    messages: tuple[Message, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class RemovedRun:
    """What is kept of a run that was removed with its message or chat: when it was asked for, and `Run.unanswered`."""

    created_at: float
    unanswered: bool


@dataclass(frozen=True)
class View:
    """A chat as it is stored at `seq`: the newest messages of its branch, and its runs (V1, V3)."""

    chat: Chat
    messages: tuple[Message, ...]
    runs: tuple[RunView, ...]
    """Those of the messages, and the newest `MOST_RUNS` of the chat, oldest first."""
    writing: tuple[RunKey, ...]
    """The runs that are bound to an executor, on whatever branch: their lines are not in the messages."""
    siblings: dict[str, list[str]]
    earlier: bool
    seq: int


MOST_RUNS = 100
MOST_READ = 1024 * 1024
"""Characters that a read of events or of a view takes into memory, about."""
MOST_PAGE = 2 * MOST_READ
"""Characters of a page of messages, about."""


Stored = Callable[["tuple[Entry, ...] | Exception"], None]
"""Called once with the numbered entries that are stored now, or with why they are not."""


class ChatLog(Protocol):
    """Chats, messages and runs, and the numbered events by which they came about.

    Reads that name a user see that user's rows only, and return `None` or nothing for others'. Every method may raise
    `Unavailable`.
    """

    async def new_chat(self, user_id: int, title: str, at: float, *, hidden: bool = False) -> Chat:
        """Stores an empty chat. Its id is never used again."""
        ...

    def submit(self, changes: Sequence[Changes], stored: Stored) -> None:
        """Stores all changes in one transaction, each numbered from its chat's head on.

        `stored` is called in the event loop with all entries, in the order of the commits and before any reader sees
        them. It gets a `Conflict` where a run's `version` is not one above the stored one, a run with new lines has
        another version or not so many lines, or a chat is gone; `Unavailable` where nothing can be stored.
        """
        ...

    async def commit(self, *changes: Changes) -> tuple[Entry, ...]:
        """The same, for a caller that waits; raises what `submit` reports."""
        ...

    async def read(
        self, chat_id: int, *, after: int, most: int = MOST_READ, strict: bool = False
    ) -> tuple[Entry, ...] | None:
        """The events after `after`, without a gap; `None` where `after` lies outside of floor and head.

        They are as many as weigh about `most`, and one at least: there are no more where nothing comes back. If this is
        `strict`, nothing comes back also where the first of them is heavier by itself. The floor is 0, until messages
        are removed: their lines go with them, and it rises to the last of these. Runs may be without their request's
        parameters and their prefix, which nobody is shown.
        """
        ...

    async def changed_after(self, chat_id: int, seq: int, names: Collection[Name]) -> frozenset[Name]:
        """Those of the messages and runs that have an event after `seq`."""
        ...

    async def view(self, chat_id: int, *, limit: int, most: int = MOST_READ) -> View | None:
        """The branch that is shown: its newest `limit` messages, and runs that have not ended for good.

        The messages are as many as weigh about `most`; one that is heavier by itself is cut. Messages that are being
        written have the text that they had before their run began; `seq` is the newest event that is no `LinesAdded`.
        """
        ...

    async def changed_at(self, chat_id: int) -> int:
        """The `seq` of the chat's newest event that is no `LinesAdded`; 0 if there is none."""
        ...

    async def chat(self, user_id: int, chat_id: int) -> Chat | None: ...

    async def is_hidden(self, chat_id: int) -> bool:
        """Whether the chat is in no list."""
        ...

    async def chats(self, user_id: int, *, limit: int, cursor: str | None = None) -> Page:
        """Chats that are not hidden, newest change first; raises `ValueError` for a cursor that no list gave out."""
        ...

    async def messages(self, user_id: int, chat_id: int, *, cursor: str | None = None, most: int = MOST_PAGE) -> Piece:
        """A piece of the chat's tree that weighs about `most`, oldest first.

        `cursor` is where it begins. Raises `ValueError` for one that no piece gave out.
        """
        ...

    async def branch(
        self, user_id: int, chat_id: int, leaf_id: str, *, cursor: str | None = None, most: int = MOST_PAGE
    ) -> Piece:
        """The same of the messages from the root down to `leaf_id`; empty if the chat has no such message."""
        ...

    async def links(self, user_id: int, chat_id: int) -> tuple[Link, ...]:
        """Id and parent id of each message of the chat, oldest first."""
        ...

    async def message(self, user_id: int, message_id: str) -> Message | None: ...

    async def run(self, user_id: int, run_id: str) -> Run | None:
        """A run as it is committed, its lines counted."""
        ...

    async def removed_run(self, user_id: int, run_id: str) -> RemovedRun | None:
        """A run that was removed. It is known for `ID_SECONDS` from when it was asked for, and maybe longer."""
        ...

    async def last_number(self, user_id: int, prefix: str) -> int | None:
        """The greatest number behind this prefix in the ids of the user's runs, removed ones included."""
        ...

    async def run_on(self, channel: str) -> Run | None:
        """The run whose `channel` that is."""
        ...

    async def runs_in(self, chat_id: int, message_ids: Collection[str] | None = None) -> tuple[Run, ...]:
        """The chat's runs that have not ended for good, oldest first; with `message_ids` those of these messages."""
        ...

    async def runs_of(self, executor: str) -> tuple[Run, ...]:
        """The runs that have not ended for good and whose last assignment has this `key`, oldest first."""
        ...

    async def queued(self, user_id: int | None, *, after: int = 0, limit: int = 100) -> tuple[tuple[int, Run], ...]:
        """Queued runs of a user (`None`: of all), oldest first, each with its position; those behind `after` only."""
        ...

    async def due(self, now: float, *, limit: int = 100) -> tuple[Run, ...]:
        """Queued and interrupted runs whose deadline is over, the first deadline first."""
        ...

    async def next_deadline(self) -> float | None:
        """The first deadline of all queued and interrupted runs."""
        ...

    async def shift_deadlines(self, seconds: float) -> None:
        """Moves the limits of all queued and interrupted runs so much later, as `core.deadline.shifted` does."""
        ...

    async def left_at_home(self) -> tuple[Run, ...]:
        """The runs that were at home in a process that is gone, and the queued ones with callers (R8), oldest first."""
        ...

    async def lines(self, run: Run) -> tuple[str, ...]:
        """All stored lines of the run, in order."""
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


SIGNED_IN = "keyside.signed_in"
"""The ASGI extension of a connection that counts as a stranger's: its value is called when somebody has signed in, with
the account's id, or with `None` as long as it is not known."""
ACCOUNT = "keyside.account"
"""The key in the ASGI scope of a socket under which the id of the account is kept that has signed in there."""
SIGNED_OUT = "keyside.signed_out"
"""The same of a WebSocket: its value is called when nobody is signed in there any more."""

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

    async def call(self, session_id: str, make: Callable[[], Awaitable[dict[str, Any]]]) -> Any:
        """Sends what `make` returns, `{type, data}`, and returns the callback's first argument.

        `make` is called when little else waits for the socket, for one call at a time: so a client that is slow to
        read does not fill the memory. What it raises is raised here.
        Raises `Gone` as soon as the socket goes. It has no time limit of its own: cancel it.
        """
        ...

    def tell(self, session_id: str, message: dict[str, Any]) -> None:
        """Sends `{type, data}`; no answer is expected, and a socket that is gone does not matter."""
        ...

    def gone(self, session_id: str) -> None:
        """The socket went away: the calls that wait for it raise `Gone`."""
        ...


class Store(Protocol):
    """Where everything is kept: the log, the executors that are known, and the accounts."""

    @property
    def chat_log(self) -> ChatLog: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def accounts(self) -> AccountStore: ...

    async def start(self) -> None:
        """Opens it, and loads what the last process left unfinished."""
        ...

    async def stop(self) -> None:
        """Writes what waits, and closes it."""
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
