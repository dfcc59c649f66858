"""What waits for clients that do not read it. All of it together takes only so much memory."""

import asyncio
from typing import Protocol
from weakref import WeakSet

from keyside.adapters.listener.fullest import turned_out

_PAUSE_SECONDS = 0.05
"""How often it is looked while something waits."""


class Reader(Protocol):
    """A client for which something may wait."""

    @property
    def owner(self) -> object:
        """The account that it belongs to."""

    @property
    def held(self) -> int:
        """Bytes of memory that are freed when it has read what waits for it, or has gone."""

    def cut_off(self) -> None:
        """Ends it, and frees what waits for it."""


class Unread:
    """When too much waits in all, those of the account for which the most waits are cut off, the fullest first."""

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
        waiting = [(reader.owner, reader.held, reader) for reader in self._readers]
        for reader in turned_out(waiting, self._most_bytes):
            self._readers.discard(reader)
            reader.cut_off()
        self._timer = None
        if self._readers:
            self._look_later()
