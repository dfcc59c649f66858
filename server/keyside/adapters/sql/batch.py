"""One transaction of the SQL log: numbers changes, writes rows, and puts all its lines into one journal row."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, bindparam, delete, func, insert, or_, select, update

from keyside.adapters.sql.each import each, listed
from keyside.adapters.sql.journal import Record, pack_records
from keyside.adapters.sql.rows import message_values, run_values
from keyside.adapters.sql.tables import CHAT, EVENT, LINES, MESSAGE, REMOVED_RUN, RUN
from keyside.adapters.sql.tail import StoredFrame, Tail, mark_of, pack, unpack
from keyside.core.changes import Changes, Entry, LinesAdded, Removed
from keyside.core.frames import EndMark
from keyside.core.limits import ID_SECONDS
from keyside.core.run import BOUND, ENDED, Run, RunKey
from keyside.protocol.entities import Chat, Message
from keyside.services.ports import Conflict


def _keep_ids(those: ColumnElement[bool]) -> Insert:
    """Remembers those of the runs that were asked for after `since`."""
    created_at = func.json_extract(RUN.c.body, "$.created_at")
    unfollowed = func.coalesce(func.json_extract(RUN.c.body, "$.failure.code"), "") == "caller_gone"
    unanswered = or_(func.json_extract(RUN.c.body, "$.started_at").is_(None), unfollowed)
    young = select(RUN.c.user_id, RUN.c.id, created_at, unanswered).where(those, created_at > bindparam("since"))
    names = ["user_id", "id", "created_at", "unanswered"]
    return insert(REMOVED_RUN).prefix_with("OR REPLACE").from_select(names, young)


_KEEP_IDS_OF_CHAT = _keep_ids(RUN.c.chat_id == bindparam("chat_id"))
_KEEP_IDS_OF_MESSAGES = _keep_ids((RUN.c.user_id == bindparam("user_id")) & RUN.c.message_id.in_(each("message_ids")))
_FORGET_OLD_IDS = delete(REMOVED_RUN).where(REMOVED_RUN.c.created_at <= bindparam("since"))


class NeedsTransaction(Exception):
    """More is to be read or written than a batch without a connection can do."""


class Batch:
    """The changes of one transaction, on top of heads and tails as they are committed."""

    def __init__(self, connection: Connection | None, heads: Mapping[int, int], tails: Mapping[RunKey, Tail]) -> None:
        self._given = connection
        self._committed_heads = heads
        self._tails = tails
        self._records: list[Record] = []
        self.heads: dict[int, int] = {}
        self.frames: dict[RunKey, list[tuple[StoredFrame, EndMark | None]]] = {}
        self.opened: dict[RunKey, Tail] = {}
        """Tails of runs that are written to for the first time since they were interrupted, or at all."""
        self.runs: dict[RunKey, Run] = {}
        """The runs whose rows are written, as they are now."""
        self.gone: set[RunKey] = set()
        self.gone_chats: set[int] = set()
        self.settled: list[RunKey] = []
        """Running runs whose lines so far have a row of their own."""
        self.journal_from: int | None = None
        """The first row of the journal that is left, where others were deleted."""

    @property
    def _connection(self) -> Connection:
        """A batch without one takes lines only, of running runs in chats whose head is known."""
        if self._given is None:
            raise NeedsTransaction
        return self._given

    def _run(self, statement: Any) -> int:
        return int(self._connection.execute(statement).rowcount)

    def apply(self, transaction: Iterable[Changes]) -> tuple[Entry, ...]:
        """Writes one caller's changes and returns them numbered. Raises `Conflict`."""
        entries: list[Entry] = []
        for changes in transaction:
            entries += self._apply(changes)
        return tuple(entries)

    def _apply(self, changes: Changes) -> list[Entry]:
        chat_id, at = changes.chat_id, changes.at
        first = self._head(chat_id) + 1
        entries = [Entry(chat_id, seq, at, change) for seq, change in enumerate(changes.changes, first)]
        others = 0
        for entry in entries:
            change = entry.change
            if isinstance(change, LinesAdded):
                self._write_lines(entry, change, changes)
            else:
                self._write(changes.user_id, entry)
                others = entry.seq
        self.heads[chat_id] = first + len(entries) - 1
        if self.opened:
            self._check_states(changes)
        if others:
            self._run(update(CHAT).where(CHAT.c.id == chat_id).values(seq=others, updated_at=at))
        if changes.deletes_chat:
            self._forget_chat(changes)
        return entries

    def _head(self, chat_id: int) -> int:
        if chat_id in self.gone_chats:
            raise Conflict(f"chat {chat_id} is gone")
        head = self.heads.get(chat_id)
        if head is None:
            head = self._committed_heads.get(chat_id)
        if head is None:
            head = self._connection.execute(select(CHAT.c.seq).where(CHAT.c.id == chat_id)).scalar()
        if head is None:
            raise Conflict(f"chat {chat_id} is gone")
        return head

    # --- lines -----------------------------------------------------------------------------------

    def _write_lines(self, entry: Entry, added: LinesAdded, changes: Changes) -> None:
        """A run whose row changes in the same transaction may stand here as it is before or after."""
        run, frame, key = added.run, added.frame, added.run.key
        tail = self._tails.get(key) or self.opened.get(key) or self._open(key)
        known = self.frames.get(key)
        expected = known[-1][0].index + len(known[-1][0].lines) if known else tail.expected
        changed = self.runs.get(key) if self.runs else None
        if changed is not None and changed.state not in BOUND:
            raise Conflict(f"run {run.id} takes no lines")
        version = tail.version if changed is None else changed.version
        if run.version != version and not _changes_to(changes, run):
            raise Conflict(f"run {run.id} is at version {version}, not {run.version}")
        if frame.index != expected:
            raise Conflict(f"run {run.id} waits for line {expected}, not {frame.index}")
        stored = StoredFrame(entry.seq, entry.at, frame.index, frame.lines)
        if known is None:
            self.frames[key] = [(stored, frame.end_mark)]
        else:
            known.append((stored, frame.end_mark))
        self._records.append(Record(key, entry.chat_id, stored))

    def _open(self, key: RunKey) -> Tail:
        """The tail of a run that this transaction makes a running one."""
        if key in self.gone:
            raise Conflict(f"run {key[1]} is gone")
        query = select(RUN.c.n, RUN.c.version).where(RUN.c.user_id == key[0], RUN.c.id == key[1])
        row = self._connection.execute(query).first()
        if row is None:
            raise Conflict(f"run {key[1]} is gone")
        return self._opened(key, row.n, row.version)

    def _opened(self, key: RunKey, n: int, version: int) -> Tail:
        body = self._connection.execute(select(LINES.c.body).where(LINES.c.run_n == n)).scalar()
        frames = unpack(body) if body else []
        self.opened[key] = Tail(version, frames, mark_of(frames))
        return self.opened[key]

    def _check_states(self, changes: Changes) -> None:
        """Lines are those of a run that runs before or after the transaction."""
        for change in changes.changes:
            if isinstance(change, LinesAdded) and change.run.key in self.opened:
                run = self.runs.get(change.run.key)
                if run is None or run.state not in BOUND | ENDED:
                    raise Conflict(f"run {change.run.id} takes no lines")

    def _frames(self, key: RunKey) -> list[StoredFrame]:
        """All frames of a running run, those of this transaction included."""
        tail = self.opened.get(key) or self._tails.get(key)
        return [*(tail.frames() if tail else ()), *(frame for frame, _ in self.frames.get(key, ()))]

    def _write_all_lines(self, key: RunKey, chat_id: int, n: int) -> None:
        """The run's lines become one row."""
        frames = self._frames(key)
        if not frames:
            return
        values = {"run_n": n, "chat_id": chat_id, "last_seq": frames[-1].seq, "body": pack(frames)}
        if not self._run(update(LINES).where(LINES.c.run_n == n).values(values)):
            self._run(insert(LINES).values(values))

    def settle(self, keys: Iterable[RunKey]) -> None:
        """The lines of running runs so far become a row each, so that the journal can forget them."""
        for key in keys:
            query = select(RUN.c.n, RUN.c.chat_id).where(RUN.c.user_id == key[0], RUN.c.id == key[1])
            row = self._connection.execute(query).first()
            if row is not None and self._still_runs(key):
                self._write_all_lines(key, row.chat_id, row.n)
                self.settled.append(key)

    def journal(self) -> bytes | None:
        """The lines of the whole transaction, as one value."""
        kept = self._records
        if self.runs or self.gone or self.settled:
            kept = [record for record in kept if self._still_runs(record.key) and record.key not in self.settled]
        return pack_records(kept) if kept else None

    def _still_runs(self, key: RunKey) -> bool:
        run = self.runs.get(key)
        return key not in self.gone and (run is None or run.state in BOUND)

    @property
    def released(self) -> set[RunKey]:
        """The runs whose lines the journal need not keep any more."""
        return {*self.settled, *self.gone, *(key for key, run in self.runs.items() if run.state not in BOUND)}

    # --- everything else -------------------------------------------------------------------------

    def _write(self, user_id: int, entry: Entry) -> None:
        change = entry.change
        match change:
            case Message():
                self._write_message(user_id, change)
                kind, ref = "message", change.id
            case Removed():
                self._remove(user_id, change, entry)
                kind, ref = "removed", json.dumps(change.message_ids)
            case Run():
                self._write_run(change)
                kind, ref = "run", change.id
            case _:
                assert isinstance(change, Chat)
                self._write_chat(change)
                kind, ref = "chat", ""
        values = {"chat_id": entry.chat_id, "seq": entry.seq, "at": entry.at, "kind": kind, "ref": ref}
        self._run(insert(EVENT).values(values))

    def _write_message(self, user_id: int, message: Message) -> None:
        values = message_values(user_id, message)
        mine = (MESSAGE.c.user_id == user_id) & (MESSAGE.c.id == message.id)
        if not self._run(update(MESSAGE).where(mine, MESSAGE.c.chat_id == message.chat_id).values(_changing(values))):
            self._run(insert(MESSAGE).values(values))

    def _write_run(self, run: Run) -> None:
        values, key = run_values(run), run.key
        if run.version == 0:
            made = self._connection.execute(insert(RUN).values(values)).inserted_primary_key
            n = made[0] if made else None
        else:
            mine = (RUN.c.user_id == run.user_id) & (RUN.c.id == run.id) & (RUN.c.version == run.version - 1)
            n = self._connection.execute(update(RUN).where(mine).values(_changing(values)).returning(RUN.c.n)).scalar()
        if n is None:
            raise Conflict(f"run {run.id} is not at version {run.version - 1}")
        self.runs[key] = run
        if run.state in ENDED:
            self._write_all_lines(key, run.chat_id, n)
        elif run.state in BOUND and key not in self.opened and key not in self._tails:
            self._opened(key, n, run.version)

    def _write_chat(self, chat: Chat) -> None:
        values = {"title": chat.title, "head_id": chat.head_id, "model": chat.model}
        self._run(update(CHAT).where(CHAT.c.id == chat.id).values(values))

    def _remove(self, user_id: int, removed: Removed, entry: Entry) -> None:
        """Removes messages with their runs. The lines go too: before the last of them the log cannot be read (V3)."""
        floor = 0
        mine = RUN.c.user_id == user_id
        values = {"user_id": user_id, "message_ids": listed(removed.message_ids)}
        self._keep_ids(_KEEP_IDS_OF_MESSAGES, values, entry.at)
        for id in removed.message_ids:
            runs = select(RUN.c.n).where(mine, RUN.c.message_id == id)
            gone = delete(LINES).where(LINES.c.run_n.in_(runs)).returning(LINES.c.last_seq)
            floor = max([floor, *self._connection.execute(gone).scalars()])
            ids = self._connection.execute(delete(RUN).where(mine, RUN.c.message_id == id).returning(RUN.c.id))
            for key in [(user_id, run_id) for run_id in ids.scalars()]:
                floor = max([floor, *(frame.seq for frame in self._frames(key)[-1:])])
                self.gone.add(key)
            self._run(delete(MESSAGE).where(MESSAGE.c.user_id == user_id, MESSAGE.c.id == id))
        self._run(update(CHAT).where(CHAT.c.id == entry.chat_id, CHAT.c.floor < floor).values(floor=floor))

    def _keep_ids(self, statement: Insert, values: dict[str, Any], at: float) -> None:
        """Remembers the ids of runs that are about to be removed, as far as they are young, and forgets old ones."""
        since = {"since": at - ID_SECONDS}
        if self._connection.execute(statement, values | since).rowcount:
            self._connection.execute(_FORGET_OLD_IDS, since)

    def _forget_chat(self, changes: Changes) -> None:
        """Deletes a chat and every row that belongs to it; somebody else's chat is none that could be deleted."""
        chat_id = changes.chat_id
        mine = (CHAT.c.id == chat_id) & (CHAT.c.user_id == changes.user_id)
        if self._connection.execute(select(CHAT.c.id).where(mine)).first() is None:
            raise Conflict(f"chat {chat_id} is gone")
        runs = self._connection.execute(select(RUN.c.user_id, RUN.c.id).where(RUN.c.chat_id == chat_id))
        self.gone |= {(int(user), str(run)) for user, run in runs}
        self.gone_chats.add(chat_id)
        self._keep_ids(_KEEP_IDS_OF_CHAT, {"chat_id": chat_id}, changes.at)
        for table in (LINES, EVENT, RUN, MESSAGE):
            self._run(delete(table).where(table.c.chat_id == chat_id))
        self._run(delete(CHAT).where(mine))


def _changing(values: dict[str, Any]) -> dict[str, Any]:
    """The columns that an update may change: each that it names costs a change of its indexes."""
    return {name: value for name, value in values.items() if name not in ("user_id", "id", "chat_id", "message_id")}


def _changes_to(changes: Changes, run: Run) -> bool:
    """Whether the same transaction changes the run's row to this version."""
    found = (change for change in changes.changes if isinstance(change, Run))
    return any(change.key == run.key and change.version == run.version for change in found)
