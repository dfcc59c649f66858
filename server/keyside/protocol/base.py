"""The base of every wire type, and the strings with a shape of their own."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
"""A run, message or executor id: made by the client if it likes, unique per user (R6)."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Timeout = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
"""Seconds, a day at the most."""
Time = str
"""ISO 8601 with milliseconds and `Z`."""


class Wire(BaseModel):
    """One message or part of a message. Fields that are not known are ignored (C5)."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_serialization_defaults_required=True)


def iso(seconds: float) -> Time:
    """Seconds since the epoch as the wire writes a time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
