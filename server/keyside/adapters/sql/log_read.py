"""The SQL log's queries for chats and events: each runs in a read transaction of its own, on a reader thread."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, text, tuple_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from keyside.adapters.cursors import cursor_of, position_of
from keyside.adapters.sql import run_read, tree_read
from keyside.adapters.sql.each import each, listed
from keyside.adapters.sql.rows import chat_of, run_of
from keyside.adapters.sql.tables import CHAT, LINES, RUN, ChatRow, EventRow, LinesRow, RunRow
from keyside.adapters.sql.tail import StoredFrame, unpack
from keyside.core.changes import Change, Entry, LinesAdded, Removed
from keyside.core.frames import FrameLines
from keyside.core.run import BOUND, ENDED, Run
from keyside.protocol.entities import Chat
from keyside.services.ports import Page, View

_CHAT = select_columns(CHAT).where(CHAT.c.id == bindparam("id"))
_PAGE = (
    select_columns(CHAT)
    .where(CHAT.c.user_id == bindparam("user_id"), CHAT.c.hidden.is_(False))
    .order_by(CHAT.c.updated_at.desc(), CHAT.c.id.desc())
    .limit(bindparam("most"))
)
_PAGE_AFTER = _PAGE.where(tuple_(CHAT.c.updated_at, CHAT.c.id) < tuple_(bindparam("at"), bindparam("last_id")))
_RUNNING = select_columns(RUN.c.chat_id).where(
    text("run.open = 1"), RUN.c.chat_id.in_(each("ids")), RUN.c.state.not_in([state.value for state in ENDED])
)
_HIDDEN_BEFORE = select_columns(CHAT.c.user_id, CHAT.c.id).where(
    text("chat.hidden = 1"), CHAT.c.updated_at < bindparam("at")
)
_HEADS = select_columns(CHAT.c.id, CHAT.c.seq).where(CHAT.c.id.in_(each("ids")))
_NUMBERS = {
    name: select_columns(CHAT.c[name]).where(CHAT.c.id == bindparam("id")) for name in ("seq", "floor", "hidden")
}
_ENDED_LINES = (
    select_columns(LINES.c.body)
    .join_from(LINES, RUN, RUN.c.n == LINES.c.run_n)
    .where(RUN.c.user_id == bindparam("user_id"), RUN.c.id == bindparam("id"))
)


# --- chats -------------------------------------------------------------------------------------------


def _chat_row(session: Session, chat_id: int) -> Any:
    return session.connection().execute(_CHAT, {"id": chat_id}).first()


def load_chat(session: Session, chat_id: int, user_id: int | None = None) -> Chat | None:
    """A chat; with a user, only theirs."""
    row = _chat_row(session, chat_id)
    if row is None or (user_id is not None and row.user_id != user_id):
        return None
    return chat_of(row, bool(_running(session, [chat_id])))


def _running(session: Session, chat_ids: list[int]) -> set[int]:
    return set(session.connection().execute(_RUNNING, {"ids": listed(chat_ids)}).scalars())


def load_chats(session: Session, user_id: int, limit: int, cursor: str | None) -> Page:
    """A page of chats by their last change. Raises `ValueError` for a cursor that no page gave out."""
    query = _PAGE
    values: dict[str, float] = {"user_id": user_id, "most": limit + 1}
    if cursor is not None:
        at, id = position_of(cursor)
        query, values = _PAGE_AFTER, values | {"at": at, "last_id": id}
    rows = session.connection().execute(query, values).all()
    page = rows[:limit]
    running = _running(session, [row.id for row in page])
    last = page[-1] if len(rows) > limit else None
    return Page(
        tuple(chat_of(row, row.id in running) for row in page),
        cursor_of(last.updated_at, last.id) if last else None,
    )


def load_hidden_before(session: Session, at: float) -> tuple[tuple[int, int], ...]:
    """User and chat ids of hidden chats that were last changed before `at`."""
    found = session.connection().execute(_HIDDEN_BEFORE, {"at": at})
    return tuple((int(user_id), int(id)) for user_id, id in found)


def load_number(session: Session, column: str, chat_id: int) -> int:
    """A number that a chat's row has, 0 where there is none: `seq`, `floor` or `hidden`."""
    return int(session.connection().execute(_NUMBERS[column], {"id": chat_id}).scalar() or 0)


def load_heads(session: Session, chat_ids: Iterable[int]) -> dict[int, int]:
    """The newest event of each chat that is no line of a running run."""
    return {int(id): int(seq) for id, seq in session.connection().execute(_HEADS, {"ids": listed(chat_ids)})}


def load_view(session: Session, chat_id: int, limit: int) -> View | None:
    """The newest `limit` messages of the branch that is shown."""
    row = _chat_row(session, chat_id)
    if row is None:
        return None
    runs = run_read.load_runs_in(session, chat_id)
    chat = chat_of(row, any(run.state not in ENDED for run in runs))
    path = tree_read.load_branch(session, row.user_id, chat_id, row.head_id, limit + 1)
    shown = path[-limit:]
    siblings = tree_read.load_siblings(session, chat_id, shown)
    return View(chat, shown, runs, siblings, len(path) > limit, row.seq)


# --- lines and events --------------------------------------------------------------------------------


def load_ended_frames(session: Session, run: Run) -> list[StoredFrame]:
    """The frames of a run that have a row of their own."""
    body = session.connection().execute(_ENDED_LINES, {"user_id": run.user_id, "id": run.id}).scalar()
    return unpack(body) if body else []


@dataclass
class Loaded:
    """What a read of a chat's events found in the database, at one moment; `seq` is the newest of them."""

    seq: int
    floor: int
    running: list[Run]
    """Runs that were being written then: their lines are in memory."""
    entries: list[Entry] = field(default_factory=list)


def load_events(session: Session, chat_id: int, after: int) -> Loaded | None:
    """The events after `after` that are in the database; what they name is shown as it is now."""
    chat = session.get(ChatRow, chat_id)
    if chat is None:
        return None
    runs = run_read.load_runs_in(session, chat_id)
    loaded = Loaded(chat.seq, chat.floor, [run for run in runs if run.state in BOUND])
    rows = list(session.exec(select(EventRow).where(EventRow.chat_id == chat_id, EventRow.seq > after)))
    now = _Now(session, chat, rows, any(run.state not in ENDED for run in runs))
    loaded.entries = [Entry(chat_id, row.seq, row.at, now.change(row)) for row in rows]
    lines = session.exec(
        select(LinesRow, RunRow)
        .join(RunRow, col(RunRow.n) == col(LinesRow.run_n))
        .where(LinesRow.chat_id == chat_id, LinesRow.last_seq > after)
    )
    for lines_row, run_row in lines:
        run = run_of(run_row, hidden=chat.hidden)
        if run.state in ENDED:
            frames = (frame for frame in unpack(lines_row.body) if frame.seq > after)
            loaded.entries += entries_of(run, frames)
    return loaded


def entries_of(run: Run, frames: Iterable[StoredFrame]) -> list[Entry]:
    """A run's frames, as events. They all came from the attempt that it began with."""
    return [
        Entry(
            run.chat_id,
            frame.seq,
            frame.at,
            LinesAdded(run, FrameLines(run.attempt, frame.index, tuple(frame.lines))),
        )
        for frame in frames
    ]


class _Now:
    """What events name, as it is now. What is gone since is shown as removed."""

    def __init__(self, session: Session, chat: ChatRow, rows: list[EventRow], running: bool) -> None:
        self._chat = chat_of(chat, running)
        named = {kind: list({row.ref for row in rows if row.kind == kind}) for kind in ("message", "run")}
        self._messages = tree_read.load_named(session, chat.user_id, self._chat.id, named["message"])
        self._runs = run_read.load_named(session, chat.user_id, self._chat.id, named["run"])

    def change(self, row: EventRow) -> Change:
        if row.kind == "message":
            return self._messages.get(row.ref) or Removed((row.ref,))
        if row.kind == "run":
            return self._runs.get(row.ref) or Removed(())
        if row.kind == "removed":
            return Removed(tuple(json.loads(row.ref)))
        return self._chat
