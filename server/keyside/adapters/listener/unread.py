"""What waits for clients that do not read it. All of it together takes only so much memory."""

import asyncio
from typing import Protocol
from weakref import WeakSet

_PAUSE_SECONDS = 0.05
"""How often it is looked while something waits."""


class Reader(Protocol):
    """A client for which something may wait."""

    @property
    def is_stranger(self) -> bool:
        """Whether nobody has signed in there."""

    @property
    def waiting(self) -> int:
        """Bytes that have not left yet."""

    def cut_off(self) -> None:
        """Ends it, and frees what waits for it."""


class Unread:
    """When too much waits in all, those are cut off for whom the most waits, and strangers before all others."""

    def __init__(self, most_bytes: int = 128 * 1024 * 1024) -> None:
        self._most_bytes = most_bytes
        self._readers: WeakSet[Reader] = WeakSet()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reader: Reader) -> None:
        """Much waits for this one from now on."""
        self._readers.add(reader)
        if self._timer is None:
            self._look_later()

    def discard(self, reader: Reader) -> None:
        """Little waits for it any more, or it has gone."""
        self._readers.discard(reader)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._look)

    def _look(self) -> None:
        waiting = [(reader.is_stranger, reader.waiting, reader) for reader in self._readers]
        too_much = sum(size for _, size, _ in waiting) - self._most_bytes
        if too_much > 0:
            for _, size, reader in sorted(waiting, key=lambda one: one[:2], reverse=True):
                self._readers.discard(reader)
                reader.cut_off()
                too_much -= size
                if too_much <= 0:
                    break
        self._timer = None
        if self._readers:
            self._look_later()
