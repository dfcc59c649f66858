"""The SQL log's queries for a chat's messages. A branch is walked from its leaf up, and the tree is left alone.

Statements are built once: SQLAlchemy needs longer for that than SQLite for most of them.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, and_, bindparam, literal, select
from sqlmodel import Session

from keyside.adapters.sql.each import each, listed
from keyside.adapters.sql.rows import message_of
from keyside.adapters.sql.tables import MESSAGE
from keyside.core.tree import Link
from keyside.core.tree import siblings as siblings_of
from keyside.protocol.entities import Message

_ALL = 2**31
"""More messages than a branch can have."""
_OLDEST_FIRST = MESSAGE.c.n
_OF_USER = MESSAGE.c.user_id == bindparam("user_id")
_IN_CHAT = MESSAGE.c.chat_id == bindparam("chat_id")
_MINE = and_(_OF_USER, _IN_CHAT)


def _upwards() -> Select[Any]:
    """The messages from `leaf_id` up to the root, `most` of them, and given back root first."""
    up = (
        select(MESSAGE.c.n, MESSAGE.c.parent_id, literal(1).label("height"))
        .where(_MINE, MESSAGE.c.id == bindparam("leaf_id"))
        .cte("up", recursive=True)
    )
    above = (
        select(MESSAGE.c.n, MESSAGE.c.parent_id, up.c.height + 1)
        .join_from(up, MESSAGE, and_(_MINE, MESSAGE.c.id == up.c.parent_id))
        .where(up.c.height < bindparam("most"))
    )
    up = up.union_all(above)
    return select(MESSAGE).join_from(up, MESSAGE, MESSAGE.c.n == up.c.n).order_by(up.c.height.desc())


_TREE = select(MESSAGE).where(_MINE).order_by(_OLDEST_FIRST)
_LINKS = select(MESSAGE.c.id, MESSAGE.c.parent_id).where(_MINE).order_by(_OLDEST_FIRST)
_ONE = select(MESSAGE).where(_OF_USER, MESSAGE.c.id == bindparam("id"))
_NAMED = select(MESSAGE).where(_OF_USER, MESSAGE.c.id.in_(each("ids")))
_BRANCH = _upwards()
_CHILDREN = select(MESSAGE.c.id, MESSAGE.c.parent_id, MESSAGE.c.n).where(_IN_CHAT)
_CHILDREN_OF = _CHILDREN.where(MESSAGE.c.parent_id.in_(each("parents")))
_CHILDREN_OF_NONE = _CHILDREN.where(MESSAGE.c.parent_id.is_(None))


def _rows(session: Session, query: Select[Any], **values: Any) -> Sequence[Any]:
    return session.connection().execute(query, values).all()


def _messages(session: Session, query: Select[Any], **values: Any) -> tuple[Message, ...]:
    return tuple(map(message_of, _rows(session, query, **values)))


def load_messages(session: Session, user_id: int, chat_id: int) -> tuple[Message, ...]:
    """A chat's whole tree, oldest first."""
    return _messages(session, _TREE, user_id=user_id, chat_id=chat_id)


def load_links(session: Session, user_id: int, chat_id: int) -> tuple[Link, ...]:
    """Id and parent id of all messages of a chat, oldest first."""
    return tuple((row.id, row.parent_id) for row in _rows(session, _LINKS, user_id=user_id, chat_id=chat_id))


def load_message(session: Session, user_id: int, id: str) -> Message | None:
    """One message of a user."""
    return next(iter(_messages(session, _ONE, user_id=user_id, id=id)), None)


def load_named(session: Session, user_id: int, chat_id: int, ids: list[str]) -> dict[str, Message]:
    """Messages of a chat, by their ids."""
    found = _messages(session, _NAMED, user_id=user_id, ids=listed(ids))
    # The chat is looked at here: for a condition, SQLite would go through all that the chat has.
    return {message.id: message for message in found if message.chat_id == chat_id}


def load_branch(
    session: Session, user_id: int, chat_id: int, leaf_id: str | None, most: int = _ALL
) -> tuple[Message, ...]:
    """The messages down to the leaf, or only the last of them."""
    return _messages(session, _BRANCH, user_id=user_id, chat_id=chat_id, leaf_id=leaf_id, most=most)


def load_siblings(session: Session, chat_id: int, shown: tuple[Message, ...]) -> dict[str, list[str]]:
    """For each message that is shown: all that share its parent, itself included, oldest first."""
    parents = [message.parent_id for message in shown if message.parent_id is not None]
    rows = list(_rows(session, _CHILDREN_OF, chat_id=chat_id, parents=listed(parents)))
    if len(parents) < len(shown):
        rows += _rows(session, _CHILDREN_OF_NONE, chat_id=chat_id)
    # Sorted here: for an order, SQLite would go through the whole chat, where an index has it.
    found = [(row.id, row.parent_id) for row in sorted(rows, key=lambda row: row.n)]
    return siblings_of(found, [message.id for message in shown])
