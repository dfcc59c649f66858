"""The base class of every wire type, and the types of its strings and numbers, each with a bound."""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
"""The id of a run, message or executor. Clients may choose it; it is unique per user (R6)."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
MOST = 2**53 - 1
"""The greatest whole number of the wire. JavaScript and every store can hold it."""
Count = Annotated[int, Field(ge=0, le=MOST)]
"""A whole number from 0 on."""
Ordinal = Annotated[int, Field(ge=1, le=MOST)]
"""A whole number from 1 on: the id of a chat, the number of an attempt."""
Number = Annotated[float, Field(ge=-MOST, le=MOST, allow_inf_nan=False)]
"""Any other number."""
SocketId = Annotated[str, StringConstraints(max_length=100)]
"""The session id of a socket, which the server made."""
Timeout = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
"""Seconds, at most one day."""
Time = str
"""A time in UTC as ISO 8601, with milliseconds and `Z`."""


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - what is added to it is in UTC


class Wire(BaseModel):
    """A message or a part of one. Unknown fields are ignored (C5)."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_serialization_defaults_required=True)


def iso(seconds: float) -> Time:
    """Formats seconds since the epoch as a `Time`."""
    second, microseconds = divmod(round(seconds * 1e6), 1_000_000)
    return f"{_iso_second(second)}.{microseconds // 1000:03}Z"


@lru_cache(maxsize=16)
def _iso_second(second: int) -> str:
    """A time without its fraction. The same one is asked for with each event."""
    return (_EPOCH + timedelta(seconds=second)).isoformat()
