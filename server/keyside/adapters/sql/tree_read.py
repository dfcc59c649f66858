"""The SQL log's queries for a chat's messages. A branch is walked from its leaf up, and the tree is left alone."""

from typing import Any

from sqlalchemy import Select, and_, literal, select
from sqlmodel import Session

from keyside.adapters.sql.each import each
from keyside.adapters.sql.rows import message_of
from keyside.adapters.sql.tables import MESSAGE
from keyside.core.tree import Link
from keyside.core.tree import siblings as siblings_of
from keyside.protocol.entities import Message

_OLDEST_FIRST = MESSAGE.c.n


def _messages(session: Session, query: Select[Any]) -> tuple[Message, ...]:
    return tuple(message_of(row) for row in session.connection().execute(query))


def load_messages(session: Session, user_id: int, chat_id: int) -> tuple[Message, ...]:
    """A chat's whole tree, oldest first."""
    query = select(MESSAGE).where(MESSAGE.c.chat_id == chat_id, MESSAGE.c.user_id == user_id)
    return _messages(session, query.order_by(_OLDEST_FIRST))


def load_links(session: Session, user_id: int, chat_id: int) -> tuple[Link, ...]:
    """Id and parent id of all messages of a chat, oldest first."""
    mine = (MESSAGE.c.chat_id == chat_id) & (MESSAGE.c.user_id == user_id)
    return _links(session, select(MESSAGE.c.id, MESSAGE.c.parent_id).where(mine).order_by(_OLDEST_FIRST))


def _links(session: Session, query: Select[Any]) -> tuple[Link, ...]:
    return tuple((row.id, row.parent_id) for row in session.connection().execute(query))


def load_message(session: Session, user_id: int, id: str) -> Message | None:
    """One message of a user."""
    query = select(MESSAGE).where(MESSAGE.c.user_id == user_id, MESSAGE.c.id == id)
    row = session.connection().execute(query).first()
    return message_of(row) if row else None


def load_named(session: Session, user_id: int, chat_id: int, ids: list[str]) -> dict[str, Message]:
    """Messages of a chat, by their ids."""
    # The chat is looked at here: SQLite would go through all that it has.
    query = select(MESSAGE).where(MESSAGE.c.user_id == user_id, MESSAGE.c.id.in_(each(ids)))
    return {message.id: message for message in _messages(session, query) if message.chat_id == chat_id}


def load_branch(
    session: Session, user_id: int, chat_id: int, leaf_id: str | None, limit: int = -1
) -> tuple[Message, ...]:
    """The messages down to the leaf, with a limit only the last of them."""
    mine = and_(MESSAGE.c.user_id == user_id, MESSAGE.c.chat_id == chat_id)
    up = (
        select(MESSAGE.c.n, MESSAGE.c.parent_id, literal(1).label("height"))
        .where(mine, MESSAGE.c.id == leaf_id)
        .cte("up", recursive=True)
    )
    above = select(MESSAGE.c.n, MESSAGE.c.parent_id, up.c.height + 1).join_from(
        up, MESSAGE, and_(mine, MESSAGE.c.id == up.c.parent_id)
    )
    if limit >= 0:
        above = above.where(up.c.height < limit)
    up = up.union_all(above)
    query = select(MESSAGE).join_from(up, MESSAGE, MESSAGE.c.n == up.c.n).order_by(up.c.height.desc())
    return _messages(session, query)


def load_siblings(session: Session, chat_id: int, shown: tuple[Message, ...]) -> dict[str, list[str]]:
    """For each message that is shown: all that share its parent, itself included, oldest first."""
    links = select(MESSAGE.c.id, MESSAGE.c.parent_id, MESSAGE.c.n).where(MESSAGE.c.chat_id == chat_id)
    parents = [message.parent_id for message in shown if message.parent_id is not None]
    rows = list(session.connection().execute(links.where(MESSAGE.c.parent_id.in_(each(parents)))))
    if len(parents) < len(shown):
        rows += session.connection().execute(links.where(MESSAGE.c.parent_id.is_(None)))
    # Sorted here: for an order, SQLite would go through the whole chat, where an index has it.
    found = [(row.id, row.parent_id) for row in sorted(rows, key=lambda row: row.n)]
    return siblings_of(found, [message.id for message in shown])
