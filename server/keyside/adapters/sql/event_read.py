"""The SQL log's queries for events. They are read in pieces: what lies behind one is neither loaded nor unpacked."""

import heapq
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlmodel import Session

from keyside.adapters.sql import run_read, tree_read
from keyside.adapters.sql.each import each, listed
from keyside.adapters.sql.log_read import is_running, load_row
from keyside.adapters.sql.rows import chat_of
from keyside.adapters.sql.tables import EVENT, LINES, RUN
from keyside.adapters.sql.tail import BEGINNING, StoredFrame, first_seq_of, unpack_each
from keyside.core.changes import Change, Entry, LinesAdded, Name, Removed
from keyside.core.fitting import FIELDS
from keyside.core.frames import FrameLines
from keyside.core.run import ENDED, Run

EVERYTHING = 2**63
"""More than any event's number."""
_MOST_ROWS = 1000
"""Events that are no lines, of one piece."""
_BEHIND = (EVENT.c.chat_id == bindparam("chat_id"), EVENT.c.seq > bindparam("after"))
_EVENTS = (
    select(EVENT.c.seq, EVENT.c.at, EVENT.c.kind, EVENT.c.ref)
    .where(*_BEHIND)
    .order_by(EVENT.c.seq)
    .limit(bindparam("most"))
)
_CHANGED = select(EVENT.c.kind, EVENT.c.ref).where(*_BEHIND, EVENT.c.ref.in_(each("refs"))).distinct()
_LINES = (
    select(LINES.c.run_n, func.substr(LINES.c.body, 1, BEGINNING).label("beginning"))
    .join_from(LINES, RUN, RUN.c.n == LINES.c.run_n)
    .where(LINES.c.chat_id == bindparam("chat_id"), LINES.c.last_seq > bindparam("after"))
    .where(RUN.c.state.in_([state.value for state in ENDED]))
)
_BODY = select(LINES.c.body).where(LINES.c.run_n == bindparam("run_n"))


class Part(NamedTuple):
    """An event that is weighed and not loaded yet. Without row and frame it is only where a run's lines begin."""

    seq: int
    weight: int
    row: Any = None
    run_n: int = 0
    frame: StoredFrame | None = None


@dataclass
class Loaded:
    """What a read of a chat's events found in the database, at one moment."""

    seq: int
    """The newest event that is there."""
    floor: int
    last: int
    """Up to here everything that is in the database is among the entries; `EVERYTHING`, if nothing is left."""
    running: list[Run]
    """Runs that were being written then: their lines are in memory."""
    entries: list[Entry] = field(default_factory=list)


def load_events(session: Session, chat_id: int, after: int, most: int, *, strict: bool) -> Loaded | None:
    """The events after `after` that are in the database, as many as weigh `most`; what they name is as it is now."""
    chat = load_row(session, chat_id)
    if chat is None:
        return None
    loaded = Loaded(chat.seq, chat.floor, EVERYTHING, list(run_read.load_writing(session, chat_id)))
    rows = session.connection().execute(_EVENTS, {"chat_id": chat_id, "after": after, "most": _MOST_ROWS}).all()
    if len(rows) == _MOST_ROWS:
        loaded.last = rows[-1].seq
    now = _Now(session, chat)
    parts: list[Part] = []
    for part in heapq.merge(now.parts(rows), *_ended_lines(session, chat_id, after), key=lambda part: part.seq):
        if part.seq > loaded.last:
            break
        most -= part.weight
        if most < 0 and (parts or strict):
            loaded.last = part.seq - 1
            break
        if part.weight:
            parts.append(part)
    loaded.entries = now.entries(parts)
    return loaded


def _ended_lines(session: Session, chat_id: int, after: int) -> list[Iterator[Part]]:
    """The lines of each run that has ended; they are loaded when their turn comes."""
    rows = session.connection().execute(_LINES, {"chat_id": chat_id, "after": after}).all()
    return [_lines_of(session, row.run_n, first_seq_of(row.beginning), after) for row in rows]


def _lines_of(session: Session, run_n: int, first_seq: int, after: int) -> Iterator[Part]:
    yield Part(first_seq, 0)
    body = session.connection().execute(_BODY, {"run_n": run_n}).scalar_one()
    for frame in unpack_each(body):
        if frame.seq > after:
            yield Part(frame.seq, FIELDS + sum(map(len, frame.lines)), run_n=run_n, frame=frame)


def entry_of(run: Run, frame: StoredFrame) -> Entry:
    """A run's frame, as an event. All frames came from the attempt that the run began with."""
    lines = LinesAdded(run, FrameLines(run.attempt, frame.index, tuple(frame.lines)))
    return Entry(run.chat_id, frame.seq, frame.at, lines)


class _Now:
    """What events name, as it is now. What is gone since is shown as removed."""

    def __init__(self, session: Session, chat: Any) -> None:
        self._session = session
        self._row = chat
        self._weights: dict[str, tuple[int, int]] = {}
        """Number and weight of each message that is named."""

    def parts(self, rows: Collection[Any]) -> Iterator[Part]:
        """The events of these rows, weighed."""
        ids = {row.ref for row in rows if row.kind == "message"}
        self._weights = tree_read.load_weights(self._session, self._row.user_id, self._row.id, ids)
        for row in rows:
            named = self._weights.get(row.ref) if row.kind == "message" else None
            yield Part(row.seq, named[1] if named else FIELDS + len(row.ref), row)

    def entries(self, parts: list[Part]) -> list[Entry]:
        """The events of these parts."""
        change_of = self._loaded([part.row for part in parts if part.row is not None])
        runs = run_read.load_numbered(self._session, {part.run_n for part in parts if part.frame is not None})
        return [
            Entry(self._row.id, part.seq, part.row.at, change_of(part.row))
            if part.frame is None
            else entry_of(runs[part.run_n], part.frame)
            for part in parts
        ]

    def _loaded(self, rows: list[Any]) -> Callable[[Any], Change]:
        """What each of the rows names."""
        session, user_id, id = self._session, self._row.user_id, self._row.id
        ids = {kind: {row.ref for row in rows if row.kind == kind} for kind in ("message", "run")}
        numbers = [self._weights[ref][0] for ref in ids["message"] if ref in self._weights]
        messages = {message.id: message for message in tree_read.load_numbered(session, numbers)}
        runs = run_read.load_named(session, user_id, id, ids["run"])
        chat = chat_of(self._row, is_running(session, id))

        def change_of(row: Any) -> Change:
            if row.kind == "message":
                return messages.get(row.ref) or Removed((row.ref,))
            if row.kind == "run":
                return runs.get(row.ref) or Removed(())
            return Removed(tuple(json.loads(row.ref))) if row.kind == "removed" else chat

        return change_of


def load_changed(session: Session, chat_id: int, after: int, names: Collection[Name]) -> frozenset[Name]:
    """Those of the messages and runs that have an event after `after`."""
    values = {"chat_id": chat_id, "after": after, "refs": listed(id for _, id in names)}
    return frozenset((row.kind, row.ref) for row in session.connection().execute(_CHANGED, values)) & set(names)
