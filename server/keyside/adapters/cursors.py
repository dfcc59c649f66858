"""Cursors that are the position of a message in its chat."""


def position_of(cursor: str | None) -> int:
    """The position behind which a piece begins; 0 without a cursor. Raises `ValueError`."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise ValueError("no list gave out this cursor")
    return int(cursor)
