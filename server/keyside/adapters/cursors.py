"""Cursors of the list of chats: where a page begins, as `time:id` of the last one before it."""

import re

from keyside.protocol.base import MOST

_CURSOR = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,17})?):([0-9]{1,16})")


def cursor_of(at: float, id: int) -> str:
    """The cursor of the page that begins after this chat."""
    return f"{at!r}:{id}"


def position_of(cursor: str) -> tuple[float, int]:
    """The time and the id of a cursor; raises `ValueError` for what `cursor_of` does not return."""
    found = _CURSOR.fullmatch(cursor)
    if found is None or int(found[2]) > MOST:
        raise ValueError("no list gave out this cursor")
    return float(found[1]), int(found[2])
