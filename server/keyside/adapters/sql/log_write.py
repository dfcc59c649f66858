"""One transaction of the SQL log: numbers changes, writes rows, and puts all its lines into one journal row."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, Table, delete, insert, select, update
from sqlmodel import SQLModel

from keyside.adapters.sql.rows import message_values, run_values
from keyside.adapters.sql.tables import ChatRow, EventRow, JournalRow, LinesRow, MessageRow, MetaRow, RunRow
from keyside.adapters.sql.tail import StoredFrame, Tail, pack
from keyside.core.changes import Changes, Entry, Removed, Written
from keyside.core.run import ENDED, Run
from keyside.protocol.entities import Chat, Message
from keyside.services.ports import Conflict

RunKey = tuple[int, str]
"""User id and run id."""


def key_of(run: Run) -> RunKey:
    """The run's key in the server: its id is unique per user only (R6)."""
    return run.user_id, run.id


def _table(row: type[SQLModel]) -> Table:
    return row.__table__  # type: ignore[attr-defined,no-any-return]


CHAT, MESSAGE, RUN, EVENT = _table(ChatRow), _table(MessageRow), _table(RunRow), _table(EventRow)
LINES, JOURNAL, META = _table(LinesRow), _table(JournalRow), _table(MetaRow)


def write_journal(connection: Connection, body: bytes | None) -> int | None:
    """Writes a batch's lines as one row, and returns its id."""
    if body is None:
        return None
    # With nearly every commit: as the driver takes it, without what SQLAlchemy would make of it.
    return int(connection.exec_driver_sql("INSERT INTO journal (body) VALUES (?)", (body,)).lastrowid)


class Batch:
    """The changes of one transaction, on top of the tails as they are committed."""

    def __init__(self, connection: Connection | None, heads: Mapping[int, int], tails: Mapping[RunKey, Tail]) -> None:
        self._given = connection
        self._committed_heads = heads
        self._tails = tails
        self._journal: list[tuple[RunKey, int, StoredFrame]] = []
        self.heads: dict[int, int] = {}
        self.frames: dict[RunKey, list[StoredFrame]] = {}
        self.runs: dict[RunKey, Run] = {}
        self.gone: set[RunKey] = set()
        self.gone_chats: set[int] = set()

    def new_chat(self, user_id: int, title: str, at: float, hidden: bool) -> int:
        """Inserts an empty chat and returns its id."""
        values = {"user_id": user_id, "title": title, "hidden": hidden, "created_at": at, "updated_at": at}
        made = self._connection.execute(insert(CHAT).values(values | {"seq": 0, "floor": 0}))
        assert made.inserted_primary_key is not None
        return int(made.inserted_primary_key[0])

    def forget_chat(self, user_id: int, chat_id: int) -> None:
        """Deletes a chat and every row that belongs to it; a chat of somebody else stays."""
        mine = (CHAT.c.id == chat_id) & (CHAT.c.user_id == user_id)
        if self._connection.execute(select(CHAT.c.id).where(mine)).first() is None:
            return
        runs = self._connection.execute(select(RUN.c.user_id, RUN.c.id).where(RUN.c.chat_id == chat_id))
        self.gone |= {(int(user), str(run)) for user, run in runs}
        self.gone_chats.add(chat_id)
        for table in (LINES, EVENT, RUN, MESSAGE):
            self._run(delete(table).where(table.c.chat_id == chat_id))
        self._run(delete(CHAT).where(mine))

    def apply(self, changes: Changes) -> tuple[Entry, ...]:
        """Writes one set of changes and returns them numbered. Raises `Conflict`."""
        head = self._head(changes.chat_id)
        entries = tuple(
            Entry(changes.chat_id, head + offset, changes.at, change)
            for offset, change in enumerate(changes.changes, 1)
        )
        for entry in entries:
            self._write(changes, entry)
        self.heads[changes.chat_id] = head + len(entries)
        if any(not isinstance(change, Written) for change in changes.changes):
            values = {"seq": head + len(entries), "updated_at": changes.at}
            self._run(update(CHAT).where(CHAT.c.id == changes.chat_id).values(values))
        return entries

    def probe(self, at: float) -> None:
        """Writes a value that nobody reads."""
        self._run(delete(META).where(META.c.key == "probe"))
        self._run(insert(META).values(key="probe", value=str(at)))

    def journal(self) -> bytes | None:
        """The lines of the whole transaction, as one value."""
        kept = [record for record in self._journal if self._still_runs(record[0])]
        if not kept:
            return None
        return zlib.compress(orjson.dumps([[*key, chat_id, *frame] for key, chat_id, frame in kept]), 1)

    @property
    def journaled(self) -> set[RunKey]:
        """The runs whose lines are in the journal row."""
        return {key for key, _, _ in self._journal if self._still_runs(key)}

    @property
    def _connection(self) -> Connection:
        """A batch without one takes lines only, of chats whose head is known."""
        assert self._given is not None
        return self._given

    def _still_runs(self, key: RunKey) -> bool:
        run = self.runs.get(key)
        return key not in self.gone and (run is None or run.state not in ENDED)

    def _head(self, chat_id: int) -> int:
        head = self.heads.get(chat_id, self._committed_heads.get(chat_id))
        if chat_id in self.gone_chats:
            raise Conflict(f"chat {chat_id} is gone")
        if head is None:
            head = self._connection.execute(select(CHAT.c.seq).where(CHAT.c.id == chat_id)).scalar()
        if head is None:
            raise Conflict(f"chat {chat_id} is gone")
        return int(head)

    def _run(self, statement: Any) -> int:
        return int(self._connection.execute(statement).rowcount)

    def _write(self, changes: Changes, entry: Entry) -> None:
        match entry.change:
            case Written():
                self._write_lines(entry, entry.change)
                return
            case Message():
                self._write_message(changes.user_id, entry.change)
            case Removed():
                self._remove(changes.user_id, entry.change, entry.chat_id)
            case Run():
                self._write_run(entry.change)
            case Chat():
                self._write_chat(entry.change)
        kind, ref = _event_of(entry.change)
        values = {"chat_id": entry.chat_id, "seq": entry.seq, "at": entry.at, "kind": kind, "ref": ref}
        self._run(insert(EVENT).values(values))

    def _write_lines(self, entry: Entry, written: Written) -> None:
        key = key_of(written.run)
        if written.index != self._expected(key):
            raise Conflict(f"run {written.run.id} waits for line {self._expected(key)}, not {written.index}")
        frame = StoredFrame(entry.seq, entry.at, written.index, list(written.lines))
        self.frames.setdefault(key, []).append(frame)
        self._journal.append((key, entry.chat_id, frame))

    def _expected(self, key: RunKey) -> int:
        added = self.frames.get(key)
        if added:
            return added[-1].first + len(added[-1].lines)
        tail = self._tails.get(key)
        return tail.expected if tail else 0

    def _write_message(self, user_id: int, message: Message) -> None:
        values = message_values(user_id, message)
        mine = (MESSAGE.c.user_id == user_id) & (MESSAGE.c.id == message.id)
        if not self._run(update(MESSAGE).where(mine, MESSAGE.c.chat_id == message.chat_id).values(values)):
            self._run(insert(MESSAGE).values(values))

    def _write_run(self, run: Run) -> None:
        values = run_values(run)
        mine = (RUN.c.user_id == run.user_id) & (RUN.c.id == run.id)
        if run.version == 0:
            self._run(insert(RUN).values(values))
        elif not self._run(update(RUN).where(mine, RUN.c.version == run.version - 1).values(values)):
            raise Conflict(f"run {run.id} is not at version {run.version - 1}")
        self.runs[key_of(run)] = run
        if run.state in ENDED:
            self._write_all_lines(run)

    def _write_all_lines(self, run: Run) -> None:
        """The run has ended: its lines become one row."""
        key = key_of(run)
        tail = self._tails.get(key)
        frames = [*(tail.frames() if tail else ()), *self.frames.get(key, ())]
        n = self._connection.execute(select(RUN.c.n).where(RUN.c.user_id == key[0], RUN.c.id == key[1])).scalar()
        if not frames:
            return
        values = {"run_n": n, "chat_id": run.chat_id, "last_seq": frames[-1].seq, "body": pack(frames)}
        if not self._run(update(LINES).where(LINES.c.run_n == n).values(values)):
            self._run(insert(LINES).values(values))

    def _write_chat(self, chat: Chat) -> None:
        values = {"title": chat.title, "head_id": chat.head_id, "model": chat.model}
        self._run(update(CHAT).where(CHAT.c.id == chat.id).values(values))

    def _remove(self, user_id: int, removed: Removed, chat_id: int) -> None:
        """Removes messages with their runs. The lines go too: before the last of them the log cannot be read (V3)."""
        floor = 0
        mine = RUN.c.user_id == user_id
        for id in removed.message_ids:
            runs = select(RUN.c.n).where(mine, RUN.c.message_id == id)
            gone = delete(LINES).where(LINES.c.run_n.in_(runs)).returning(LINES.c.last_seq)
            floor = max([floor, *self._connection.execute(gone).scalars()])
            self._run(delete(RUN).where(mine, RUN.c.message_id == id))
            self._run(delete(MESSAGE).where(MESSAGE.c.user_id == user_id, MESSAGE.c.id == id))
        self._run(update(CHAT).where(CHAT.c.id == chat_id, CHAT.c.floor < floor).values(floor=floor))


def _event_of(change: Message | Removed | Run | Chat) -> tuple[str, str]:
    match change:
        case Message():
            return "message", change.id
        case Removed():
            return "removed", json.dumps(change.message_ids)
        case Run():
            return "run", change.id
        case Chat():
            return "chat", ""
