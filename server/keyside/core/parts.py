"""Counts the values of a JSON text without parsing it: a small text can become many objects in memory."""

import re

_PARTS = re.compile(rb'[\[{,]|"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""What begins a value; or a whole string, in which such characters mean nothing."""
_QUOTE = ord('"')


def has_more_parts(text: bytes, most: int) -> bool:
    """Whether the text has more than so many lists, objects and commas. It need not be well formed."""
    if text.count(b",") + text.count(b"[") + text.count(b"{") <= most:
        return False
    # There may be that many in strings alone. Two strings can follow each other without a comma, so both are counted.
    strings = parts = 0
    for found in _PARTS.finditer(text):
        if text[found.start()] == _QUOTE:
            strings += 1
        else:
            parts += 1
        if parts > most or strings > 2 * most + 1:
            return True
    return False
