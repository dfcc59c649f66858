"""The lines of one frame, and the end that they may hold."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from keyside.core.reading import Delta, End, Reading, UpstreamError, read
from keyside.protocol.entities import Failure
from keyside.protocol.errors import failure

_BARE_ERROR = failure("upstream_error")
"""An upstream's error without a word about it."""


Value = TypeVar("Value")


class Once(Generic[Value]):
    """A property that is computed when it is first read. That of `functools` takes a lock for it, until Python 3.12."""

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute = compute

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "Once[Value]": ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> "Value | Once[Value]":
        if instance is None:
            return self
        value: Value = vars(instance).setdefault(self._name, self._compute(instance))
        return value


@dataclass(frozen=True)
class EndMark:
    """An end that the stored lines themselves hold: a finish reason, `[DONE]`, or an upstream's error."""

    reason: str | None = None
    complete: bool = False
    """Whether `[DONE]` was there: nothing comes after it."""
    failure: Failure | None = None

    def then(self, later: "EndMark | None") -> "EndMark":
        """Both marks as one; where they differ, the later one counts, but a bare error hides no words of another."""
        if later is None:
            return self
        broken = _clearest(self.failure, later.failure)
        return EndMark(later.reason or self.reason, later.complete or self.complete, broken)


@dataclass(frozen=True)
class FrameLines:
    """Lines of a run, from `index` on: an input of the run, and what of it is new is stored."""

    attempt: int
    index: int
    lines: tuple[str, ...] = ()

    @Once
    def readings(self) -> tuple[Reading, ...]:
        """What each line says. No line is read twice."""
        return tuple(map(read, self.lines))

    @Once
    def end_mark(self) -> EndMark | None:
        """The end that the lines hold, if they hold one."""
        return end_mark_of(self.readings)

    def after(self, known: int) -> "FrameLines":
        """The same without its first `known` lines."""
        return FrameLines(self.attempt, self.index + known, self.lines[known:]) if known else self


def end_mark_of(readings: Iterable[Reading]) -> EndMark | None:
    """The end that the readings of some lines hold, if they hold one."""
    reason: str | None = None
    complete = False
    broken: Failure | None = None
    for reading in readings:
        if isinstance(reading, Delta):
            if reading.finish_reason == "error":
                broken = _clearest(broken, _BARE_ERROR)
            elif reading.finish_reason:
                reason = reading.finish_reason
        elif isinstance(reading, End):
            complete = True
        elif isinstance(reading, UpstreamError):
            broken = _clearest(broken, reading.failure)
    return EndMark(reason, complete, broken) if reason or complete or broken else None


def _clearest(earlier: Failure | None, later: Failure | None) -> Failure | None:
    """Of two failures the later one, unless the earlier one says more."""
    return earlier if earlier is not None and later in (None, _BARE_ERROR) else later
