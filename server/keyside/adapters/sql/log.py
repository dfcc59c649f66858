"""The chat log in SQL: what changes goes through the one writer, and readers work beside it."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from keyside.adapters.sql import event_read, log_read, run_read, tree_read
from keyside.adapters.sql.database import Database
from keyside.adapters.sql.tables import CHAT, META
from keyside.adapters.sql.tail import StoredFrame, Tail
from keyside.adapters.sql.writer import SqlWriter, settle
from keyside.core.changes import Changes, Entry, Name
from keyside.core.fitting import FIELDS, first_of
from keyside.core.run import BOUND, Run
from keyside.core.tree import Link
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Message
from keyside.services.ports import (
    MOST_PAGE,
    MOST_READ,
    Conflict,
    Page,
    Piece,
    RemovedRun,
    Stored,
    Unavailable,
    View,
)

T = TypeVar("T")

_LARGEST = 2**63 - 1
"""SQLite's largest integer: a greater number names nothing."""
_RETRIES = 100
"""How often a read is made again because a run changed in the middle of it."""


class SqlChatLog:
    """`ChatLog` on SQLAlchemy. Call `start` before anything else; the writer is closed by whoever made it.

    The lines of a running run are in the journal, for a restart, and in its `Tail`, for readers. A read takes
    the database at one moment and adds what the tails have; where a run has changed between the two it reads again.
    """

    def __init__(self, database: Database, writer: SqlWriter) -> None:
        self._database = database
        self._writer = writer
        self._committed = writer.committed

    async def start(self) -> None:
        """Loads what the last process left running."""
        await self._query(self._committed.recover)

    # --- writing ---------------------------------------------------------------------------------

    async def new_chat(self, user_id: int, title: str, at: float, *, hidden: bool = False) -> Chat:
        """See `ChatLog`."""
        values = {"user_id": user_id, "title": title, "hidden": hidden, "seq": 0, "floor": 0}
        made = insert(CHAT).values(values | {"created_at": at, "updated_at": at}).returning(CHAT.c.id)
        id = await self._writer.write(lambda connection: int(connection.execute(made).scalar_one()))
        return Chat(id=id, title=title, head_id=None, model=None, created_at=iso(at), updated_at=iso(at))

    def submit(self, changes: Sequence[Changes], stored: Stored) -> None:
        """See `ChatLog`."""
        self._writer.submit(changes, lambda result: stored(_as_a_conflict(result)))

    async def commit(self, *changes: Changes) -> tuple[Entry, ...]:
        """See `ChatLog`."""
        committed: asyncio.Future[tuple[Entry, ...]] = asyncio.get_running_loop().create_future()
        self.submit(changes, partial(settle, committed))
        return await committed

    async def shift_deadlines(self, seconds: float) -> None:
        """See `ChatLog`."""
        await self._writer.write(lambda connection: connection.execute(run_read.SHIFT, {"seconds": seconds}))

    async def probe(self, at: float) -> None:
        """See `ChatLog`."""

        def work(connection: Connection) -> None:
            connection.execute(delete(META).where(META.c.key == "probe"))
            connection.execute(insert(META).values(key="probe", value=str(at)))

        await self._writer.write(work)

    # --- events ----------------------------------------------------------------------------------

    async def read(
        self, chat_id: int, *, after: int, most: int = MOST_READ, strict: bool = False
    ) -> tuple[Entry, ...] | None:
        """See `ChatLog`."""
        if after > _LARGEST:
            return None
        for _ in range(_RETRIES):
            loaded = await self._query(lambda s: event_read.load_events(s, chat_id, after, most, strict=strict))
            if loaded is None or after < loaded.floor:
                return None
            tails = self._tails_of(loaded.running)
            if tails is None:  # one of the runs has ended since the database was read
                continue
            if after > max([loaded.seq, *(tail.seq for _, tail in tails)]):
                return None
            last = loaded.last
            for run, tail in tails:
                frames, last = _frames_until(last, tail, after, most)
                loaded.entries += [event_read.entry_of(run, frame) for frame in frames]
            entries = _without_gap(loaded.entries, after)
            if after + len(entries) >= min(last, loaded.seq):
                return first_of(entries, most, strict=strict)
        raise Unavailable("the chat changes faster than it can be read")

    def _tails_of(self, running: list[Run]) -> list[tuple[Run, Tail]] | None:
        """The lines of running runs; `None` where one is not running any more."""
        found = [(run, tail) for run in running if (tail := self._committed.tails.get(run.key)) is not None]
        return found if len(found) == len(running) else None

    async def changed_after(self, chat_id: int, seq: int, names: Collection[Name]) -> frozenset[Name]:
        """See `ChatLog`."""
        return await self._query(lambda s: event_read.load_changed(s, chat_id, seq, names))

    async def changed_at(self, chat_id: int) -> int:
        """See `ChatLog`."""
        return await self._query(lambda s: log_read.load_number(s, "seq", chat_id))

    async def floor(self, chat_id: int) -> int:
        """See `ChatLog`."""
        return await self._query(lambda s: log_read.load_number(s, "floor", chat_id))

    async def heads(self, chat_ids: Sequence[int]) -> dict[int, int]:
        """See `ChatLog`."""
        found = {id: self._committed.heads[id] for id in chat_ids if id in self._committed.heads}
        missing = [id for id in chat_ids if id not in found]
        if missing:
            found |= await self._query(lambda s: log_read.load_heads(s, missing))
        return found

    # --- chats and messages ----------------------------------------------------------------------

    async def view(self, chat_id: int, *, limit: int, most: int = MOST_READ) -> View | None:
        """See `ChatLog`."""
        return await self._query(lambda s: log_read.load_view(s, chat_id, limit, most))

    async def chat(self, user_id: int, chat_id: int) -> Chat | None:
        """See `ChatLog`."""
        if abs(chat_id) > _LARGEST:
            return None
        return await self._query(lambda s: log_read.load_chat(s, chat_id, user_id))

    async def is_hidden(self, chat_id: int) -> bool:
        """See `ChatLog`."""
        return bool(await self._query(lambda s: log_read.load_number(s, "hidden", chat_id)))

    async def chats(self, user_id: int, *, limit: int, cursor: str | None = None) -> Page:
        """See `ChatLog`."""
        return await self._query(lambda s: log_read.load_chats(s, user_id, limit, cursor))

    async def hidden_before(self, at: float) -> tuple[tuple[int, int], ...]:
        """See `ChatLog`."""
        return await self._query(lambda s: log_read.load_hidden_before(s, at))

    async def messages(self, user_id: int, chat_id: int, *, cursor: str | None = None, most: int = MOST_PAGE) -> Piece:
        """See `ChatLog`."""
        return await self._query(lambda s: tree_read.load_messages(s, user_id, chat_id, cursor, most))

    async def branch(
        self, user_id: int, chat_id: int, leaf_id: str, *, cursor: str | None = None, most: int = MOST_PAGE
    ) -> Piece:
        """See `ChatLog`."""
        return await self._query(lambda s: tree_read.load_branch(s, user_id, chat_id, leaf_id, cursor, most))

    async def links(self, user_id: int, chat_id: int) -> tuple[Link, ...]:
        """See `ChatLog`."""
        return await self._query(lambda s: tree_read.load_links(s, user_id, chat_id))

    async def message(self, user_id: int, message_id: str) -> Message | None:
        """See `ChatLog`."""
        return await self._query(lambda s: tree_read.load_message(s, user_id, message_id))

    # --- runs ------------------------------------------------------------------------------------

    async def run(self, user_id: int, run_id: str) -> Run | None:
        """See `ChatLog`."""
        return _only(await self._runs(lambda s: run_read.load_run(s, user_id, run_id)))

    async def removed_run(self, user_id: int, run_id: str) -> RemovedRun | None:
        """See `ChatLog`."""
        return await self._query(lambda s: run_read.load_removed_run(s, user_id, run_id))

    async def last_number(self, user_id: int, prefix: str) -> int | None:
        """See `ChatLog`."""
        return await self._query(lambda s: run_read.load_last_number(s, user_id, prefix))

    async def run_on(self, channel: str) -> Run | None:
        """See `ChatLog`."""
        return _only(await self._runs(lambda s: run_read.load_run_on(s, channel)))

    async def runs_in(self, chat_id: int, message_ids: Collection[str] | None = None) -> tuple[Run, ...]:
        """See `ChatLog`."""
        return await self._runs(lambda s: run_read.load_runs_in(s, chat_id, message_ids))

    async def runs_of(self, executor: str) -> tuple[Run, ...]:
        """See `ChatLog`."""
        return await self._runs(lambda s: run_read.load_runs_of(s, executor))

    async def queued(self, user_id: int | None, *, after: int = 0, limit: int = 100) -> tuple[tuple[int, Run], ...]:
        """See `ChatLog`."""
        return await self._query(lambda s: run_read.load_queued(s, user_id, after, limit))

    async def due(self, now: float, *, limit: int = 100) -> tuple[Run, ...]:
        """See `ChatLog`."""
        return await self._query(lambda s: run_read.load_due(s, now, limit))

    async def next_deadline(self) -> float | None:
        """See `ChatLog`."""
        return await self._query(run_read.load_next_deadline)

    async def left_at_home(self) -> tuple[Run, ...]:
        """See `ChatLog`."""
        return await self._runs(run_read.load_held)

    async def lines(self, run: Run) -> tuple[str, ...]:
        """See `ChatLog`."""
        tail = self._committed.tails.get(run.key)
        frames = list(tail.frames()) if tail else await self._query(lambda s: log_read.load_ended_frames(s, run))
        return tuple(line for frame in frames for line in frame.lines)

    # --- how it is read --------------------------------------------------------------------------

    async def _runs(self, load: Callable[[Session], tuple[Run, ...]]) -> tuple[Run, ...]:
        for _ in range(_RETRIES):
            runs = self._as_their_lines_say(await self._query(load))
            if runs is not None:
                return runs
        raise Unavailable("the runs change faster than they can be read")

    def _as_their_lines_say(self, runs: Sequence[Run]) -> tuple[Run, ...] | None:
        """Runs with their lines counted, which touch no row; `None` where a row has changed since it was read."""
        counted = []
        for run in runs:
            if run.state in BOUND:
                tail = self._committed.tails.get(run.key)
                if tail is None or tail.version != run.version:
                    return None
                run = replace(run, expected=tail.expected, end_mark=tail.end_mark)
            counted.append(run)
        return tuple(counted)

    async def _query(self, load: Callable[[Session], T]) -> T:
        def work() -> T:
            with self._database.read() as session:
                found = load(session)
            self._writer.caught_up()
            return found

        return await asyncio.to_thread(work)


def _as_a_conflict(result: Any) -> Any:
    """A constraint of the tables says the same as a conflict: this id is somebody else's already."""
    if not isinstance(result, IntegrityError):
        return result
    conflict = Conflict(str(result.orig))
    conflict.__cause__ = result
    return conflict


def _only(runs: tuple[Run, ...]) -> Run | None:
    return runs[0] if runs else None


def _frames_until(last: int, tail: Tail, after: int, most: int) -> tuple[list[StoredFrame], int]:
    """The frames of a tail between two events, as many as weigh `most`; and `last`, or where they are cut off."""
    taken: list[StoredFrame] = []
    for frame in tail.frames(after):
        if frame.seq > last:
            break
        if most < 0:
            return taken, taken[-1].seq
        most -= FIELDS + sum(map(len, frame.lines))
        taken.append(frame)
    return taken, last


def _without_gap(found: list[Entry], after: int) -> tuple[Entry, ...]:
    by_seq = {entry.seq: entry for entry in found}
    entries = []
    while after + 1 in by_seq:
        after += 1
        entries.append(by_seq[after])
    return tuple(entries)
