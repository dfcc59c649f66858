"""The SQL log's queries: each runs in a read transaction of its own, on a reader thread."""

import json
from dataclasses import dataclass, field

from sqlalchemy import tuple_
from sqlmodel import Session, col, select

from keyside.adapters.sql.rows import chat_of, message_of, run_of
from keyside.adapters.sql.tables import ChatRow, EventRow, LinesRow, MessageRow, RunRow
from keyside.adapters.sql.tail import StoredFrame, unpack
from keyside.core.changes import Change, Entry, Removed, Written
from keyside.core.run import BOUND, ENDED, Run
from keyside.core.tree import Link, branch, siblings
from keyside.protocol.entities import Chat, Message
from keyside.services.ports import Page

ENDED_STATES = [state.value for state in ENDED]


def load_chat(session: Session, chat_id: int, user_id: int | None = None) -> Chat | None:
    """A chat; with a user, only theirs."""
    row = session.get(ChatRow, chat_id)
    if row is None or (user_id is not None and row.user_id != user_id):
        return None
    return chat_of(row, bool(_running(session, [chat_id])))


def _running(session: Session, chat_ids: list[int]) -> set[int]:
    query = select(RunRow.chat_id).where(
        col(RunRow.open).is_(True), col(RunRow.chat_id).in_(chat_ids), col(RunRow.state).not_in(ENDED_STATES)
    )
    return set(session.exec(query))


def load_chats(session: Session, user_id: int, limit: int, cursor: str | None) -> Page:
    """A page of chats by their last change; the cursor is `time:id` of the page's last."""
    query = select(ChatRow).where(ChatRow.user_id == user_id, col(ChatRow.hidden).is_(False))
    if cursor is not None:
        at, _, id = cursor.partition(":")
        query = query.where(tuple_(col(ChatRow.updated_at), col(ChatRow.id)) < (float(at), int(id)))
    query = query.order_by(col(ChatRow.updated_at).desc(), col(ChatRow.id).desc()).limit(limit + 1)
    rows = list(session.exec(query))
    page = rows[:limit]
    running = _running(session, [row.id for row in page if row.id is not None])
    last = page[-1] if len(rows) > limit else None
    return Page(
        tuple(chat_of(row, row.id in running) for row in page),
        f"{last.updated_at!r}:{last.id}" if last else None,
    )


def load_hidden_before(session: Session, at: float) -> tuple[tuple[int, int], ...]:
    """User and chat ids of hidden chats that were last changed before `at`."""
    query = select(ChatRow.user_id, ChatRow.id).where(col(ChatRow.hidden).is_(True), ChatRow.updated_at < at)
    return tuple((user_id, id) for user_id, id in session.exec(query) if id is not None)


def load_messages(session: Session, user_id: int, chat_id: int) -> tuple[Message, ...]:
    """A chat's whole tree, oldest first."""
    query = select(MessageRow).where(MessageRow.chat_id == chat_id, MessageRow.user_id == user_id)
    return tuple(message_of(row) for row in session.exec(query.order_by(col(MessageRow.n))))


def load_message(session: Session, user_id: int, id: str) -> Message | None:
    """One message of a user."""
    row = session.exec(select(MessageRow).where(MessageRow.user_id == user_id, MessageRow.id == id)).first()
    return message_of(row) if row else None


def load_run(session: Session, user_id: int, id: str) -> Run | None:
    """One run of a user, as of its row."""
    row = session.exec(select(RunRow).where(RunRow.user_id == user_id, RunRow.id == id)).first()
    return run_of(row) if row else None


def load_ended_frames(session: Session, run: Run) -> list[StoredFrame]:
    """The frames of a run that has ended."""
    query = select(LinesRow).join(RunRow, col(RunRow.n) == col(LinesRow.run_n))
    row = session.exec(query.where(RunRow.user_id == run.user_id, RunRow.id == run.id)).first()
    return unpack(row.body) if row else []


def load_open_runs(session: Session) -> tuple[Run, ...]:
    """Every run that has not ended for good, oldest first."""
    return tuple(run_of(row) for row in session.exec(select(RunRow).where(RunRow.open).order_by(col(RunRow.n))))


@dataclass
class Loaded:
    """What a read of a chat found in the database, at one moment; `seq` is its newest event but for deltas."""

    chat: Chat
    seq: int
    floor: int
    bound: list[Run]
    """Runs that were being written then: their lines are in memory."""
    messages: list[Message] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    siblings: dict[str, list[str]] = field(default_factory=dict)
    earlier: bool = False
    entries: list[Entry] = field(default_factory=list)


def _load(session: Session, chat_id: int) -> Loaded | None:
    row = session.get(ChatRow, chat_id)
    if row is None:
        return None
    open_runs = [run_of(r) for r in session.exec(select(RunRow).where(RunRow.chat_id == chat_id, RunRow.open))]
    runs = [run for run in open_runs if run.state not in ENDED]
    bound = [run for run in runs if run.state in BOUND]
    return Loaded(chat_of(row, bool(runs)), row.seq, row.floor, bound, runs=open_runs)


def load_view(session: Session, chat_id: int, limit: int) -> Loaded | None:
    """The newest `limit` messages of the branch that is shown."""
    loaded = _load(session, chat_id)
    if loaded is None:
        return None
    rows = session.exec(
        select(MessageRow.id, MessageRow.parent_id).where(MessageRow.chat_id == chat_id).order_by(col(MessageRow.n))
    )
    links: list[Link] = [(id, parent) for id, parent in rows]
    path = branch(links, loaded.chat.head_id)
    shown = path[-limit:]
    query = select(MessageRow).where(MessageRow.chat_id == chat_id, col(MessageRow.id).in_(shown))
    found = {row.id: message_of(row) for row in session.exec(query)}
    loaded.messages = [found[id] for id in shown]
    loaded.siblings = siblings(links, shown)
    loaded.earlier = len(path) > limit
    return loaded


def load_events(session: Session, chat_id: int, after: int) -> Loaded | None:
    """The events after `after` that are in the database; what they name is shown as it is now."""
    loaded = _load(session, chat_id)
    if loaded is None:
        return None
    query = select(EventRow).where(EventRow.chat_id == chat_id, EventRow.seq > after)
    rows = list(session.exec(query))
    now = _Now(session, chat_id, rows, loaded.chat)
    loaded.entries = [Entry(chat_id, row.seq, row.at, now.change(row)) for row in rows]
    lines = session.exec(
        select(LinesRow, RunRow)
        .join(RunRow, col(RunRow.n) == col(LinesRow.run_n))
        .where(LinesRow.chat_id == chat_id, LinesRow.last_seq > after)
    )
    for lines_row, run_row in lines:
        run = run_of(run_row)
        if run.state in ENDED:
            loaded.entries += entries_of(run, unpack(lines_row.body), after)
    return loaded


def entries_of(run: Run, frames: list[StoredFrame], after: int) -> list[Entry]:
    """A run's frames after `after`, as events."""
    return [
        Entry(run.chat_id, frame.seq, frame.at, Written(run, frame.first, tuple(frame.lines)))
        for frame in frames
        if frame.seq > after
    ]


class _Now:
    """What events name, as it is now. What is gone since is shown as removed."""

    def __init__(self, session: Session, chat_id: int, rows: list[EventRow], chat: Chat) -> None:
        self._chat = chat
        wanted = {kind: [row.ref for row in rows if row.kind == kind] for kind in ("message", "run")}
        messages = select(MessageRow).where(MessageRow.chat_id == chat_id, col(MessageRow.id).in_(wanted["message"]))
        runs = select(RunRow).where(RunRow.chat_id == chat_id, col(RunRow.id).in_(wanted["run"]))
        self._messages = {row.id: message_of(row) for row in session.exec(messages)}
        self._runs = {row.id: run_of(row) for row in session.exec(runs)}

    def change(self, row: EventRow) -> Change:
        if row.kind == "message":
            return self._messages.get(row.ref) or Removed((row.ref,))
        if row.kind == "run":
            return self._runs.get(row.ref) or Removed(())
        if row.kind == "removed":
            return Removed(tuple(json.loads(row.ref)))
        return self._chat
