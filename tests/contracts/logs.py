"""Opens each implementation of `ChatLog`, and writes runs into it as the services would."""

import itertools
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy

from keyside.adapters.memory.log import MemoryChatLog
from keyside.adapters.sql.accounts import SqlAccounts
from keyside.adapters.sql.database import Database, database_of
from keyside.adapters.sql.log import SqlChatLog
from keyside.adapters.sql.writer import SqlWriter
from keyside.core.assignment import Assignment
from keyside.core.changes import Change, Changes, Entry, LinesAdded
from keyside.core.frames import FrameLines
from keyside.core.inputs import Disconnect, Expire, Finish, Input, Offer, Resume, Start
from keyside.core.limits import Deadline, Limits
from keyside.core.message import closed, written
from keyside.core.run import Run, RunRequest
from keyside.core.step import step
from keyside.core.transcript import transcribe
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Message
from keyside.services.ports import ChatLog
from tests.core.lines import text_line

OWNER, OTHER = 1, 2
LINES = tuple(map(text_line, ["Nothing", "is", "lost", "語🙂", "</think>"]))
TEXT = "Nothingislost語🙂</think>"
ASSIGNMENT = Assignment(
    key="1/desk",
    executor_id="desk",
    name="Desk",
    kind="browser",
    session_id="s1",
    model="m",
    provider="test",
    announcement="1/desk@s1#1",
)
LIMITS = Limits()
LATE = 1e9
"""When every limit is over."""


class MemoryShelf:
    """The log in memory. It outlives its server, so reopening it returns the same log."""

    def __init__(self) -> None:
        self.log: ChatLog = MemoryChatLog()

    async def open(self) -> None:
        """Nothing to do."""

    async def reopen(self) -> ChatLog:
        return self.log

    async def close(self) -> None:
        """Nothing to do."""


class SqlShelf:
    """The log in a file, with two accounts. `reopen` opens it as a new process would."""

    def __init__(self, data_dir: Path, template: Path) -> None:
        shutil.copy(template, data_dir / "keyside.db")
        self._data_dir = data_dir
        self.path = data_dir / "keyside.db"
        self.database: Database
        self.log: ChatLog

    async def open(self) -> None:
        self.database = database_of(self._data_dir, sync="normal")
        self.writer = SqlWriter(self.database)
        self.log = sql_log = SqlChatLog(self.database, self.writer)
        await sql_log.start()

    async def reopen(self) -> ChatLog:
        await self.close()
        await self.open()
        return self.log

    async def close(self) -> None:
        await self.writer.close()
        self.database.close()

    def count(self, table: str) -> int:
        """How many rows a table has."""
        with self.database.write() as connection:
            return int(connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {table}")).scalar_one())


Shelf = MemoryShelf | SqlShelf


async def make_template(data_dir: Path) -> Path:
    """A database with its tables and two accounts, to be copied for each test."""
    database = database_of(data_dir, sync="normal")
    database.migrate()
    writer = SqlWriter(database)
    accounts = SqlAccounts(database, writer)
    assert (await accounts.user("owner", 0)).id == OWNER
    assert (await accounts.user("other", 0)).id == OTHER
    await writer.close()
    database.close()
    return data_dir / "keyside.db"


# --- writing ---------------------------------------------------------------------------------------


@dataclass
class Writer:
    """Writes runs of one chat, by the transitions of `step`; each commit is a second after the one before."""

    log: ChatLog
    chat: Chat
    user_id: int = OWNER
    _seconds: Iterator[int] = field(default_factory=lambda: itertools.count(1000))

    async def commit(self, *changes: Change, at: float | None = None) -> tuple[Entry, ...]:
        when = next(self._seconds) if at is None else at
        return await self.log.commit(self.changes(*changes, at=when))

    def changes(self, *changes: Change, at: float = 0, **more: Any) -> Changes:
        """A transaction that is not committed yet."""
        return Changes(self.user_id, self.chat.id, at, changes, **more)

    async def delete(self, *changes: Change) -> tuple[Entry, ...]:
        """Deletes the chat, after these changes."""
        return await self.log.commit(self.changes(*changes, deletes_chat=True))

    def message(self, id: str, parent_id: str | None = None, content: str = "", **more: Any) -> Message:
        fields: dict[str, Any] = {
            "id": id,
            "chat_id": self.chat.id,
            "parent_id": parent_id,
            "role": "user" if content else "assistant",
            "content": content,
            "status": "sent",
            "created_at": iso(0),
            "updated_at": iso(0),
        }
        return Message(**{**fields, **more})

    def headed(self, head_id: str | None, **more: Any) -> Chat:
        self.chat = self.chat.model_copy(update={"head_id": head_id, **more})
        return self.chat

    def run(self, id: str, message_id: str, **more: Any) -> Run:
        fields: dict[str, Any] = {
            "request": RunRequest(model="test/m", params={"temperature": 0.5}),
            "created_at": 10.5,
            "since": 10.5,
            "waits_until": 1000.5,
            "deadline": Deadline(1000.5, "no_executor"),
        }
        named = {"id": id, "user_id": self.user_id, "chat_id": self.chat.id, "message_id": message_id}
        return Run(**{**named, **fields, **more})

    async def ask(self, id: str = "r1", message_id: str | None = None, parent_id: str | None = None) -> Run:
        """A queued run for a new message, at the chat's head."""
        message_id = message_id or f"a-{id}"
        run = self.run(id, message_id)
        message = self.message(message_id, parent_id, status="streaming", run_id=id)
        await self.commit(message, run, self.headed(message_id))
        return run

    async def apply(self, run: Run, *inputs: Input) -> Run:
        """Takes a run through inputs, each in a transaction of its own."""
        for input in inputs:
            run, _ = step(run, input, 20.0, LIMITS)
            await self.commit(run)
        return run

    async def offered(self, id: str = "r1", **more: Any) -> Run:
        return await self.apply(await self.ask(id, **more), Offer(ASSIGNMENT, f"c-{id}"))

    async def started(self, id: str = "r1", **more: Any) -> Run:
        return await self.apply(await self.offered(id, **more), Start(1))

    async def write(self, run: Run, *lines: str) -> Run:
        """One frame, as one `delta` event."""
        after = grown(run, lines)
        await self.commit(added(run, *lines))
        return after

    async def end(self, run: Run, input: Input | None = None, *lines: str) -> Run:
        """The run's end with its last lines, and its message with all its text, in one transaction."""
        grown_run = grown(run, lines)
        after, _ = step(grown_run, input or Finish("stop"), LATE if isinstance(input, Expire) else 30.0, LIMITS)
        message = await self.log.message(self.user_id, run.message_id)
        assert message is not None
        draft = transcribe([*await self.log.lines(run), *lines])
        changes: list[Change] = [added(run, *lines)] if lines else []
        await self.commit(*changes, closed(message, after, draft, 30.0), after)
        return after

    async def interrupt(self, run: Run) -> Run:
        """Its executor went away and did not come back in time."""
        return await self.end(await self.apply(run, Disconnect(run.attempt)), Expire())

    async def bring_back(self, run: Run) -> Run:
        """The executor of an interrupted run is here again (R4)."""
        after, _ = step(run, Resume(run.attempt), 40.0, LIMITS)
        message = await self.log.message(self.user_id, run.message_id)
        assert message is not None
        shown = written(message, after, transcribe(await self.log.lines(run)))
        await self.commit(shown.model_copy(update={"status": "streaming", "error": None}), after)
        return after


def added(run: Run, *lines: str, at: int | None = None) -> LinesAdded:
    """These lines as the run's next, or as those from `at` on."""
    return LinesAdded(run, FrameLines(run.attempt, run.expected if at is None else at, lines))


def grown(run: Run, lines: Iterable[str]) -> Run:
    """The run with these lines taken."""
    frame = FrameLines(run.attempt, run.expected, tuple(lines))
    mark = run.end_mark.then(frame.end_mark) if run.end_mark else frame.end_mark
    return replace(run, expected=run.expected + len(frame.lines), end_mark=mark)


async def new_writer(log: ChatLog, *, user_id: int = OWNER, title: str = "", at: float = 0, **more: Any) -> Writer:
    """A new chat with its writer."""
    return Writer(log, await log.new_chat(user_id, title, at, **more), user_id)


async def payloads(log: ChatLog, chat_id: int, after: int = 0) -> list[dict[str, Any]]:
    """The chat's events after `after`, as viewers get them."""
    entries = await log.read(chat_id, after=after)
    assert entries is not None
    return [entry.payload for entry in entries]


def stepped(run: Run, input: Input, at: float = 50.0) -> Run:
    """The run after the input."""
    return step(run, input, at, LIMITS)[0]
