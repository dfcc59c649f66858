"""What a plain executor has sent: it sends nothing twice, so everything is kept until it is stored (E6, D4)."""

from collections.abc import Iterable

from keyside.core.inputs import Fail, Finish, Input, Lines
from keyside.core.plain import Joiner
from keyside.core.run import Run
from keyside.core.transcript import read_piece
from keyside.protocol.entities import Failure
from keyside.protocol.errors import failure
from keyside.protocol.wire import MAX_LINE

MOST_WAITING = 32 * 1024 * 1024
"""Characters that wait while the store is away; a run with more fails when it is back."""


class Inbox:
    """The lines of one attempt in the order in which they came; `first` is the index of the first that waits."""

    def __init__(self, first: int) -> None:
        self._joiner = Joiner()
        self._lines: list[str] = []
        self._first = first
        self._size = 0
        self._failure: Failure | None = None
        """Why no more lines are taken: the run fails with it, after those that came before."""
        self._done = False

    def put(self, text: str) -> None:
        """Takes a string, which may be a part of a line (E6)."""
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
        """Nothing comes any more."""
        self._done = True

    def take(self, run: Run) -> Input | None:
        """What stores all that waits. Until that is committed it waits on, and is taken again."""
        stored = run.expected - self._first
        self._size -= sum(map(len, self._lines[:stored]))
        del self._lines[:stored]
        self._first = run.expected
        if not (self._lines or self._done or self._failure):
            return None
        piece = read_piece(run.attempt, run.expected, tuple(self._lines))
        mark = piece.mark or run.mark
        why = self._failure or (mark.failure if mark and self._done else None)
        if why is not None:
            return Fail(why, piece)
        if not self._done:
            return Lines(piece)
        return Finish((mark and mark.reason) or "stop", piece)
