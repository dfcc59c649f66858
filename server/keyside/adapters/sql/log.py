"""The chat log in SQL: one writer that groups commits, readers beside it, and the running lines in memory as well."""

import asyncio
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection, delete, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session, col
from sqlmodel import select as select_rows

from keyside.adapters.sql import log_read as query
from keyside.adapters.sql.database import Database
from keyside.adapters.sql.log_write import CHAT, JOURNAL, Batch, RunKey, key_of, write_journal
from keyside.adapters.sql.tables import JournalRow
from keyside.adapters.sql.tail import StoredFrame, Tail
from keyside.adapters.sql.writer import GroupWriter
from keyside.core.changes import Changes, Entry
from keyside.core.message import written
from keyside.core.run import BOUND, ENDED, Run
from keyside.core.transcript import Noise, read, survey, transcribe
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Message
from keyside.services.ports import Conflict, Page, Unavailable, View

T = TypeVar("T")
Work = Changes | Callable[[Batch], Any]

_LARGEST = 2**63 - 1
"""SQLite's largest integer: a greater number names nothing."""
_RETRIES = 100
"""How often a read is made again because a run ended in the middle of it."""


class SqlChatLog:
    """`ChatLog` on SQLAlchemy. Call `start` before anything else, and `close` at the end.

    The lines of a running run are in the journal, for a restart, and in its `Tail`, for readers. A read takes
    the database at one moment and adds the tails' frames that follow without a gap; where a run has ended
    between the two it reads again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tails: dict[RunKey, Tail] = {}
        self._heads: dict[int, int] = {}
        self._journal: dict[int, set[RunKey]] = {}
        self._freed: list[int] = []
        self._writer = GroupWriter[Work, Any](self._prepare, self._landed)
        self._applied: tuple[Batch, int | None, list[int]] | None = None
        self._transactions: Connection | None = None
        self._appends: Connection | None = None

    async def start(self) -> None:
        """Loads what the last process left unfinished."""
        await asyncio.to_thread(self._recover)

    async def close(self) -> None:
        """Stores what waits."""
        await self._writer.close()
        for connection in (self._transactions, self._appends):
            if connection is not None:
                connection.close()

    # --- writing ---------------------------------------------------------------------------------

    async def new_chat(self, user_id: int, title: str, at: float, *, hidden: bool = False) -> Chat:
        """See `ChatLog`."""
        id = await self._submit(lambda batch: batch.new_chat(user_id, title, at, hidden))
        return Chat(id=id, title=title, head_id=None, model=None, created_at=iso(at), updated_at=iso(at))

    async def commit(self, changes: Changes) -> tuple[Entry, ...]:
        """See `ChatLog`."""
        for change in changes.changes:
            if isinstance(change, Run) and change.state in BOUND and key_of(change) not in self._tails:
                frames = await self._query(partial(query.load_ended_frames, run=change))
                self._tails[key_of(change)] = Tail(frames)
        entries: tuple[Entry, ...] = await self._submit(changes)
        return entries

    async def delete_chat(self, user_id: int, chat_id: int) -> None:
        """See `ChatLog`."""
        await self._submit(lambda batch: batch.forget_chat(user_id, chat_id))

    async def _submit(self, work: "Work") -> Any:
        try:
            return await self._writer.submit(work)
        except IntegrityError as error:
            raise Conflict(str(error.orig)) from error
        except OperationalError as error:
            raise Unavailable(str(error.orig)) from error

    def _prepare(self, group: list["Work"]) -> Callable[[], list[Any]]:
        """What the writer's thread is to do.

        Lines alone, as nearly always, are made ready here, and one statement is left for the thread: with each step
        of Python that it takes it would wait for the event loop to let it.
        """
        lines = [item for item in group if isinstance(item, Changes) and item.only_lines]
        if self._freed or len(lines) < len(group) or any(item.chat_id not in self._heads for item in lines):
            return partial(self._apply, group)
        batch = Batch(None, self._heads, self._tails)
        results = [batch.apply(item) for item in lines]
        return partial(self._append, batch, results, batch.journal())

    def _append(self, batch: Batch, results: list[Any], body: bytes | None) -> list[Any]:
        self._appends = self._appends or self._database.connect_writer(single=True)
        with self._database.write_on(self._appends) as connection:
            self._applied = (batch, write_journal(connection, body), [])
        return results

    def _apply(self, group: list["Work"]) -> list[Any]:
        freed = list(self._freed)
        self._transactions = self._transactions or self._database.connect_writer()
        with self._database.write_on(self._transactions) as connection:
            batch = Batch(connection, self._heads, self._tails)
            results = [batch.apply(item) if isinstance(item, Changes) else item(batch) for item in group]
            journal_id = write_journal(connection, batch.journal())
            if freed:
                connection.execute(delete(JOURNAL).where(JOURNAL.c.id.in_(freed)))
        self._applied = (batch, journal_id, freed)
        return results

    def _landed(self, _results: list[Any]) -> None:
        """Takes over what is committed now; runs in the event loop, so readers see all of it or nothing."""
        assert self._applied is not None
        batch, journal_id, freed = self._applied
        self._heads.update(batch.heads)
        for key, frames in batch.frames.items():
            tail = self._tails.setdefault(key, Tail())
            for frame in frames:
                tail.append(frame)
        if journal_id is not None:
            self._journal[journal_id] = batch.journaled
        self._freed = [id for id in self._freed if id not in freed]
        for chat_id in batch.gone_chats:
            self._heads.pop(chat_id, None)
        ended = {key for key, run in batch.runs.items() if run.state in ENDED}
        for key in ended | batch.gone:
            if self._tails.pop(key, None) is not None:
                self._release(key)

    def _release(self, key: RunKey) -> None:
        """The run's lines have a row of their own now: a journal row that no run needs goes with the next commit."""
        for id, keys in list(self._journal.items()):
            keys.discard(key)
            if not keys:
                del self._journal[id]
                self._freed.append(id)

    def _recover(self) -> None:
        with self._database.read() as session:
            bound = [run for run in query.load_open_runs(session) if run.state in BOUND]
            for run in bound:
                self._tails[key_of(run)] = Tail(query.load_ended_frames(session, run))
            for row in session.exec(select_rows(JournalRow).order_by(col(JournalRow.id))):
                self._recover_row(row)
            for chat_id, seq in _heads(session, list(self._heads)).items():
                self._heads[chat_id] = max(self._heads[chat_id], seq)

    def _recover_row(self, row: JournalRow) -> None:
        assert row.id is not None
        keys = set()
        for user_id, run_id, chat_id, *frame in orjson.loads(zlib.decompress(row.body)):
            key, stored = (user_id, run_id), StoredFrame(*frame)
            # Of a run that was interrupted and came back, the older lines have a row of their own.
            if key in self._tails and stored.first >= self._tails[key].expected:
                keys.add(key)
                self._tails[key].append(stored)
                self._heads[chat_id] = max(self._heads.get(chat_id, 0), stored.seq)
        if keys:
            self._journal[row.id] = keys
        else:
            self._freed.append(row.id)

    # --- reading ---------------------------------------------------------------------------------

    async def read(self, chat_id: int, *, after: int) -> tuple[Entry, ...] | None:
        """See `ChatLog`."""
        if after > _LARGEST:
            return None
        for _ in range(_RETRIES):
            loaded = await self._query(partial(query.load_events, chat_id=chat_id, after=after))
            if loaded is None or after < loaded.floor:
                return None
            frames = self._frames_of(loaded.bound)
            if frames is None:
                continue
            for run, stored in frames:
                loaded.entries += query.entries_of(run, stored, after)
            entries = _without_gap(loaded.entries, after)
            top = max([loaded.seq, *(frame.seq for _, stored in frames for frame in stored)])
            if after > top:
                return None
            if after + len(entries) >= loaded.seq:
                return entries
        return None

    def _frames_of(self, bound: list[Run]) -> list[tuple[Run, list[StoredFrame]]] | None:
        """The lines of running runs; `None` where one of them has ended since the database was read."""
        tails = [self._tails.get(key_of(run)) for run in bound]
        found = [(run, list(tail.frames())) for run, tail in zip(bound, tails, strict=True) if tail is not None]
        return found if len(found) == len(bound) else None

    async def view(self, chat_id: int, *, limit: int) -> View | None:
        """See `ChatLog`."""
        for _ in range(_RETRIES):
            loaded = await self._query(partial(query.load_view, chat_id=chat_id, limit=limit))
            if loaded is None:
                return None
            frames = self._frames_of(loaded.bound)
            if frames is not None:
                return _view(loaded, frames)
        raise Unavailable("the chat changes faster than it can be read")

    async def chat(self, user_id: int, chat_id: int) -> Chat | None:
        """See `ChatLog`."""
        if abs(chat_id) > _LARGEST:
            return None
        return await self._query(lambda s: query.load_chat(s, chat_id, user_id))

    async def chats(self, user_id: int, *, limit: int, cursor: str | None = None) -> Page:
        """See `ChatLog`."""
        try:
            return await self._query(lambda s: query.load_chats(s, user_id, limit, cursor))
        except OverflowError as error:
            raise ValueError("a cursor of nobody") from error

    async def messages(self, user_id: int, chat_id: int) -> tuple[Message, ...]:
        """See `ChatLog`."""
        return await self._query(lambda s: query.load_messages(s, user_id, chat_id))

    async def message(self, user_id: int, message_id: str) -> Message | None:
        """See `ChatLog`."""
        return await self._query(lambda s: query.load_message(s, user_id, message_id))

    async def run(self, user_id: int, run_id: str) -> Run | None:
        """See `ChatLog`."""
        return await self._query(lambda s: query.load_run(s, user_id, run_id))

    async def lines(self, run: Run) -> tuple[str, ...]:
        """See `ChatLog`."""
        tail = self._tails.get(key_of(run))
        frames = list(tail.frames()) if tail else await self._query(lambda s: query.load_ended_frames(s, run))
        return tuple(line for frame in frames for line in frame.lines)

    async def unfinished(self) -> tuple[Run, ...]:
        """See `ChatLog`."""
        runs = await self._query(query.load_open_runs)
        return tuple([await self._as_its_lines_say(run) for run in runs])

    async def _as_its_lines_say(self, run: Run) -> Run:
        """Lines don't touch the run's row: how far it got stands in the lines themselves."""
        lines = await self.lines(run)
        readings = [reading for reading in map(read, lines) if not isinstance(reading, Noise)]
        return replace(run, expected=len(lines), mark=survey(readings))

    async def probe(self, at: float) -> None:
        """See `ChatLog`."""
        await self._submit(lambda batch: batch.probe(at))

    async def hidden_before(self, at: float) -> tuple[tuple[int, int], ...]:
        """See `ChatLog`."""
        return await self._query(lambda s: query.load_hidden_before(s, at))

    async def heads(self, chat_ids: Sequence[int]) -> dict[int, int]:
        """See `ChatLog`."""
        found = {id: self._heads[id] for id in chat_ids if id in self._heads}
        missing = [id for id in chat_ids if id not in found]
        if missing:
            found |= await self._query(lambda s: _heads(s, missing))
        return found

    async def floor(self, chat_id: int) -> int:
        """See `ChatLog`."""
        floor = select(CHAT.c.floor).where(CHAT.c.id == chat_id)
        return await self._query(lambda s: s.connection().execute(floor).scalar() or 0)

    async def _query(self, load: Callable[[Session], T]) -> T:
        def work() -> T:
            with self._database.read() as session:
                return load(session)

        return await asyncio.to_thread(work)


def _view(loaded: query.Loaded, frames: list[tuple[Run, list[StoredFrame]]]) -> View:
    """What was read, with the lines of running runs as far as they follow without a gap."""
    seqs = {frame.seq for _, stored in frames for frame in stored}
    seq = loaded.seq
    while seq + 1 in seqs:
        seq += 1
    drafts = {
        run.message_id: (
            run,
            transcribe(line for frame in stored if frame.seq <= seq for line in frame.lines),
        )
        for run, stored in frames
    }
    messages = tuple(
        written(message, *drafts[message.id]) if message.id in drafts else message for message in loaded.messages
    )
    return View(loaded.chat, messages, tuple(loaded.runs), loaded.siblings, loaded.earlier, seq)


def _heads(session: Session, chat_ids: list[int]) -> dict[int, int]:
    rows = session.connection().execute(select(CHAT.c.id, CHAT.c.seq).where(CHAT.c.id.in_(chat_ids)))
    return {int(id): int(seq) for id, seq in rows}


def _without_gap(found: list[Entry], after: int) -> tuple[Entry, ...]:
    by_seq = {entry.seq: entry for entry in found}
    entries = []
    while after + 1 in by_seq:
        after += 1
        entries.append(by_seq[after])
    return tuple(entries)
