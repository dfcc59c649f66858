"""Cursors: where a page begins, as the list gave them out. What else comes in their place raises `ValueError`."""

import re

from keyside.protocol.base import MOST

_CHAT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,17})?):([0-9]{1,16})")


def chat_cursor(at: float, id: int) -> str:
    """The cursor of the page that begins after this chat: the time of its last change, and its id."""
    return f"{at!r}:{id}"


def chat_position(cursor: str) -> tuple[float, int]:
    """The time and the id of a cursor of chats."""
    found = _CHAT.fullmatch(cursor)
    if found is None or int(found[2]) > MOST:
        raise ValueError("no list gave out this cursor")
    return float(found[1]), int(found[2])


def message_position(cursor: str | None) -> int:
    """The position in its chat of the message behind which a piece begins; 0 without a cursor."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise ValueError("no list gave out this cursor")
    return int(cursor)
