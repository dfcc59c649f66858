"""How lines of the log are written: what clients send can neither forge one nor fill the disk with them."""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

MOST_LINES = 10
"""How many lines one place in the code may write in a window about what clients send wrongly."""
WINDOW_SECONDS = 60.0
MOST_CHARACTERS = 300
"""Of one such line. What a client sent stands in it, and may be long."""

_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that begin a new line, steer a terminal, or change the direction of what follows."""

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def visible(text: str) -> str:
    """The text with each character that is no sign to read as its escape, such as `\\n`."""
    return _INVISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class LineFormatter(logging.Formatter):
    """Writes each record as one line. Only tracebacks have more, and those are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """See `Formatter`."""
        return visible(super().formatMessage(record).rstrip())

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802 - the library's name
        """See `Formatter`."""
        return "\n".join(f"    {visible(line)}" for line in super().formatException(ei).splitlines())


@dataclass
class _Window:
    until: float
    lines: int = 0


class Bounded(logging.Filter):
    """For a logger that clients can make write: each place in the code writes few lines in a window, and short ones.

    The first line after a window says how many were left out of it.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._windows: dict[tuple[str, int], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See `Filter`."""
        place, now = (record.pathname, record.lineno), self._now()
        window = self._windows.get(place)
        left_out = 0
        if window is None or window.until <= now:
            left_out = window.lines - MOST_LINES if window else 0
            window = self._windows[place] = _Window(now + WINDOW_SECONDS)
        window.lines += 1
        if window.lines > MOST_LINES:
            return False
        _shorten(record)
        if left_out > 0:
            record.msg += f" (before this, {left_out} more were left out)"
        elif window.lines == MOST_LINES:
            record.msg += f" (more of these are only counted for up to {WINDOW_SECONDS:.0f} s)"
        return True


def bounded(name: str) -> logging.Logger:
    """The logger of that name, for what clients can make it write."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, Bounded) for one in logger.filters):
        logger.addFilter(Bounded())
    return logger


def _shorten(record: logging.LogRecord) -> None:
    text = visible(record.getMessage().rstrip())
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]}..."
    record.msg, record.args = text, None
