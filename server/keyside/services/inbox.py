"""What a plain executor has sent: it sends nothing twice, so everything is kept until it is stored (E6, D4)."""

import asyncio
from collections.abc import Iterable

from keyside.core.frames import FrameLines
from keyside.core.inputs import Fail, Finish, Input
from keyside.core.plain import Joiner
from keyside.protocol.entities import Failure
from keyside.protocol.errors import failure
from keyside.protocol.wire import MAX_LINE

MOST_WAITING = 32 * 1024 * 1024
"""Characters that wait while the store is away; a run with more fails when it is back."""


class Inbox:
    """The lines of one attempt in the order in which they came."""

    def __init__(self, attempt: int, first: int) -> None:
        self._attempt = attempt
        self._first = first
        """The index of the first line that waits."""
        self._joiner = Joiner()
        self._lines: list[str] = []
        self._size = 0
        self._failure: Failure | None = None
        """Why no more lines are taken: the run fails with it, after those that came before."""
        self._done = False
        self.storing: asyncio.Task[None] | None = None
        """Stores what waits, if somebody does so now."""

    def put(self, text: str) -> None:
        """Takes a string, which may be a part of a line (E6). What comes after the end counts no more."""
        if self._done:
            return
        self._joiner, lines = self._joiner.take(text)
        self.keep(lines)

    def keep(self, lines: Iterable[str]) -> None:
        """Takes whole lines."""
        for line in lines:
            if len(line.encode(errors="replace")) > MAX_LINE:
                self._failure = self._failure or failure("line_too_long")
            elif self._size > MOST_WAITING:
                self._failure = self._failure or failure("store_unavailable")
            if self._failure is None:
                self._lines.append(line)
                self._size += len(line)

    def end(self) -> None:
        """Notes that nothing comes any more."""
        self._done = True

    def waiting(self) -> Input | None:
        """The input that stores all that waits. Until `stored` is called it waits on."""
        if not (self._lines or self._done or self._failure):
            return None
        frame = FrameLines(self._attempt, self._first, tuple(self._lines))
        if self._failure is not None:
            return Fail(self._failure, frame)
        return Finish(None, frame) if self._done else frame

    def stored(self, expected: int) -> None:
        """Forgets the lines before the index `expected`."""
        count = max(expected - self._first, 0)
        self._size -= sum(map(len, self._lines[:count]))
        del self._lines[:count]
        self._first = max(expected, self._first)
