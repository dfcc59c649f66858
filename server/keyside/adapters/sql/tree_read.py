"""The SQL log's queries for a chat's messages. A branch is walked from its leaf up, and the tree is left alone.

Messages may be large, so they are weighed first: of those that are asked for, as many are loaded as fit.
Statements are built once: SQLAlchemy needs longer for that than SQLite for most of them.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Integer, Select, TextClause, and_, bindparam, func, literal, select, text
from sqlmodel import Session

from keyside.adapters.cursors import message_position
from keyside.adapters.sql.each import each, listed
from keyside.adapters.sql.rows import message_of
from keyside.adapters.sql.tables import MESSAGE
from keyside.core.fitting import FIELDS, cut
from keyside.core.tree import NEAREST, Link
from keyside.protocol.entities import Message
from keyside.services.ports import Piece

_ALL = 2**31
"""More messages than a branch can have."""
_AT_ONCE = 8
"""Messages that are weighed at a time. SQLite goes through their texts for that."""
_OLDEST_FIRST = MESSAGE.c.n
_OF_USER = MESSAGE.c.user_id == bindparam("user_id")
_IN_CHAT = MESSAGE.c.chat_id == bindparam("chat_id")
_MINE = and_(_OF_USER, _IN_CHAT)
_WEIGHT = FIELDS + func.length(MESSAGE.c.content) + func.length(MESSAGE.c.reasoning) + func.length(MESSAGE.c.extra)


def _upwards() -> Select[Any]:
    """The numbers of the messages from `leaf_id` up to the root, `most` of them."""
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
    return select(up.c.n).order_by(up.c.height)


_LINKS = select(MESSAGE.c.id, MESSAGE.c.parent_id).where(_MINE).order_by(_OLDEST_FIRST)
_ONE = select(MESSAGE).where(_OF_USER, MESSAGE.c.id == bindparam("id"))
_NUMBERS_UP = _upwards()
_NUMBERS_BEHIND = select(MESSAGE.c.n).where(_MINE, MESSAGE.c.n > bindparam("after")).order_by(_OLDEST_FIRST)
_BY_NUMBER = select(MESSAGE).where(MESSAGE.c.n.in_(each("numbers")))
_TEXTS = ("content", "reasoning")
_ENDS = [func.substr(MESSAGE.c[name], -bindparam("most", type_=Integer)).label(name) for name in _TEXTS]
_ENDS_BY_NUMBER = select(*(column for column in MESSAGE.c if column.name not in _TEXTS), *_ENDS).where(
    MESSAGE.c.n.in_(each("numbers"))
)
"""Messages of whose texts no more is loaded than `cut` could leave."""
_WEIGHTS = select(MESSAGE.c.n, _WEIGHT.label("weight")).where(MESSAGE.c.n.in_(each("numbers")))
_NAMED = select(MESSAGE.c.id, MESSAGE.c.n, MESSAGE.c.chat_id, _WEIGHT.label("weight")).where(
    _OF_USER, MESSAGE.c.id.in_(each("ids"))
)


_BESIDE = """(SELECT json_group_array(id) FROM (
  SELECT other.id FROM message AS other
  WHERE other.chat_id = message.chat_id AND other.parent_id IS message.parent_id AND other.n {which} message.n
  ORDER BY other.n {order} LIMIT {most}
))"""
_OLDER = _BESIDE.format(which="<", order="DESC", most=NEAREST)
_NEWER = _BESIDE.format(which=">", order="ASC", most=NEAREST)
_NAMED_MESSAGES = "FROM message WHERE user_id = :user_id AND id IN (SELECT value FROM json_each(:ids))"
_SIBLINGS = text(f"SELECT id, {_OLDER} AS older, {_NEWER} AS newer {_NAMED_MESSAGES}")


def _rows(session: Session, query: Select[Any] | TextClause, **values: Any) -> Sequence[Any]:
    return session.connection().execute(query, values).all()


# --- what fits ---------------------------------------------------------------------------------------


def _fitting(session: Session, numbers: Iterable[int], most: int) -> list[int]:
    """As many of the messages, in this order, as weigh at most so much; one at least."""
    taken: list[int] = []
    left = iter(numbers)
    while some := list(islice(left, _AT_ONCE)):
        weights = {row.n: row.weight for row in _rows(session, _WEIGHTS, numbers=listed(some))}
        for number in some:
            most -= weights[number]
            if most < 0 and taken:
                return taken
            taken.append(number)
    return taken


def load_numbered(session: Session, numbers: Sequence[int]) -> tuple[Message, ...]:
    """The messages with these numbers, in this order."""
    if not numbers:
        return ()
    found = {row.n: row for row in _rows(session, _BY_NUMBER, numbers=listed(numbers))}
    return tuple(message_of(found[number]) for number in numbers)


def _piece(session: Session, numbers: Sequence[int], most: int) -> Piece:
    """The first of these messages; the cursor is the number of the last of them."""
    taken = _fitting(session, numbers, most)
    return Piece(load_numbered(session, taken), str(taken[-1]) if len(taken) < len(numbers) else None)


# --- reading -----------------------------------------------------------------------------------------


def load_messages(session: Session, user_id: int, chat_id: int, cursor: str | None, most: int) -> Piece:
    """A piece of a chat's tree, oldest first."""
    values = {"user_id": user_id, "chat_id": chat_id, "after": message_position(cursor)}
    return _piece(session, session.connection().execute(_NUMBERS_BEHIND, values).scalars().all(), most)


def load_branch(session: Session, user_id: int, chat_id: int, leaf_id: str, cursor: str | None, most: int) -> Piece:
    """A piece of the messages down to the leaf, root first. Whatever is below another has the greater number."""
    after = message_position(cursor)
    path = _numbers_up(session, user_id, chat_id, leaf_id, _ALL)
    return _piece(session, [number for number in reversed(path) if number > after], most)


def load_newest(
    session: Session, user_id: int, chat_id: int, leaf_id: str | None, limit: int, most: int
) -> tuple[Message, ...]:
    """The last of the messages down to the leaf, root first. One that is too heavy by itself is cut."""
    taken = _fitting(session, _numbers_up(session, user_id, chat_id, leaf_id, limit), most)
    if len(taken) != 1:
        return load_numbered(session, taken[::-1])
    ends = _rows(session, _ENDS_BY_NUMBER, numbers=listed(taken), most=most)
    return tuple(cut(message_of(row), most) for row in ends)


def _numbers_up(session: Session, user_id: int, chat_id: int, leaf_id: str | None, most: int) -> Sequence[int]:
    values = {"user_id": user_id, "chat_id": chat_id, "leaf_id": leaf_id, "most": most}
    return session.connection().execute(_NUMBERS_UP, values).scalars().all()


def load_links(session: Session, user_id: int, chat_id: int) -> tuple[Link, ...]:
    """Id and parent id of all messages of a chat, oldest first."""
    return tuple((row.id, row.parent_id) for row in _rows(session, _LINKS, user_id=user_id, chat_id=chat_id))


def load_message(session: Session, user_id: int, id: str) -> Message | None:
    """One message of a user."""
    return next(map(message_of, _rows(session, _ONE, user_id=user_id, id=id)), None)


def load_weights(session: Session, user_id: int, chat_id: int, ids: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Number and weight of messages of a chat, by their ids."""
    found = _rows(session, _NAMED, user_id=user_id, ids=listed(ids))
    # The chat is looked at here: for a condition, SQLite would go through all that the chat has.
    return {row.id: (row.n, row.weight) for row in found if row.chat_id == chat_id}


def load_siblings(session: Session, user_id: int, ids: Sequence[str]) -> dict[str, list[str]]:
    """For each message: those that share its parent, itself included, oldest first; of very many the nearest."""
    if not ids:
        return {}
    rows = {row.id: row for row in _rows(session, _SIBLINGS, user_id=user_id, ids=listed(ids))}
    return {id: [*json.loads(rows[id].older)[::-1], id, *json.loads(rows[id].newer)] for id in ids}
