"""The SQL log's queries for chats: each runs in a read transaction of its own, on a reader thread."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, text, tuple_
from sqlalchemy import select as select_columns
from sqlmodel import Session

from keyside.adapters.cursors import chat_cursor, chat_position
from keyside.adapters.sql import run_read, tree_read
from keyside.adapters.sql.each import each, listed
from keyside.adapters.sql.rows import chat_of
from keyside.adapters.sql.tables import CHAT, LINES, RUN
from keyside.adapters.sql.tail import StoredFrame, unpack
from keyside.core.changes import view
from keyside.core.run import ENDED, Run
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


def load_row(session: Session, chat_id: int) -> Any:
    """A chat's row, if there is one."""
    return session.connection().execute(_CHAT, {"id": chat_id}).first()


def load_chat(session: Session, chat_id: int, user_id: int | None = None) -> Chat | None:
    """A chat; with a user, only theirs."""
    row = load_row(session, chat_id)
    if row is None or (user_id is not None and row.user_id != user_id):
        return None
    return chat_of(row, is_running(session, chat_id))


def is_running(session: Session, chat_id: int) -> bool:
    """Whether a run of the chat has not ended."""
    return bool(_running(session, [chat_id]))


def _running(session: Session, chat_ids: list[int]) -> set[int]:
    return set(session.connection().execute(_RUNNING, {"ids": listed(chat_ids)}).scalars())


def load_chats(session: Session, user_id: int, limit: int, cursor: str | None) -> Page:
    """A page of chats by their last change. Raises `ValueError` for a cursor that no page gave out."""
    query = _PAGE
    values: dict[str, float] = {"user_id": user_id, "most": limit + 1}
    if cursor is not None:
        at, id = chat_position(cursor)
        query, values = _PAGE_AFTER, values | {"at": at, "last_id": id}
    rows = session.connection().execute(query, values).all()
    page = rows[:limit]
    running = _running(session, [row.id for row in page])
    last = page[-1] if len(rows) > limit else None
    return Page(
        tuple(chat_of(row, row.id in running) for row in page),
        chat_cursor(last.updated_at, last.id) if last else None,
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


def load_view(session: Session, chat_id: int, limit: int, most: int) -> View | None:
    """The newest messages of the branch that is shown: `limit` at most, and as many as weigh about `most`."""
    row = load_row(session, chat_id)
    if row is None:
        return None
    shown = tree_read.load_newest(session, row.user_id, chat_id, row.head_id, limit, most)
    ids = [message.id for message in shown]
    runs, writing = run_read.load_shown(session, chat_id, ids)
    return View(
        chat_of(row, bool(runs) and is_running(session, chat_id)),
        shown,
        tuple(map(view, runs)),
        tuple(run.key for run in writing),
        tree_read.load_siblings(session, row.user_id, ids),
        bool(shown) and shown[0].parent_id is not None,
        row.seq,
    )


# --- lines -------------------------------------------------------------------------------------------


def load_ended_frames(session: Session, run: Run) -> list[StoredFrame]:
    """The frames of a run that have a row of their own."""
    body = session.connection().execute(_ENDED_LINES, {"user_id": run.user_id, "id": run.id}).scalar()
    return unpack(body) if body else []
