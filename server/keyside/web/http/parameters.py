"""The types of what stands in paths, queries and headers. A path that is not of its type is the path of nothing."""

from typing import Annotated

from fastapi import Header, Path, Query
from pydantic import BeforeValidator

from keyside.protocol.base import MOST, Id


def _digits(text: object) -> object:
    """Refuses what `int` would take besides digits: signs, underscores, spaces, digits of other scripts."""
    if isinstance(text, str) and not (text.isascii() and text.isdecimal() and len(text) <= len(str(MOST))):
        raise ValueError("a whole number is written with digits alone")
    return text


_Digits = BeforeValidator(_digits)

ChatId = Annotated[int, _Digits, Path(ge=1, le=MOST)]
PathId = Annotated[Id, Path()]
"""The id of a message, run, executor, sign-in or token."""
Limit = Annotated[int, _Digits, Query(ge=1, le=200)]
"""How many items a page may have."""
Cursor = Annotated[str | None, Query(max_length=100)]
"""Where a page begins."""
BranchOf = Annotated[Id | None, Query(alias="branch")]
"""The id of the message in which a branch ends."""
After = Annotated[int, _Digits, Query(ge=0, le=MOST)]
"""The number of an event."""
LastEventId = Annotated[Annotated[int, _Digits] | None, Header(ge=0, le=MOST)]
"""The same, as a browser repeats it when it connects again."""
