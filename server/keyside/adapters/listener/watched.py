"""What HTTP connections and WebSockets have in common: what waits for their client is watched."""

import asyncio
from typing import Any

from keyside.adapters.listener import stall
from keyside.adapters.listener.fullest import STRANGERS
from keyside.adapters.listener.stall import Stall
from keyside.adapters.listener.strangers import Stranger
from keyside.adapters.listener.unread import Unread


class Watched(asyncio.Protocol):
    """A protocol that is a `Reader` while its transport holds much that the client has not taken."""

    transport: Any
    _stranger: Stranger | None = None
    """Its place among the strangers, until somebody signs in."""
    _account: object = None
    """Whose it is, if that is known."""
    _largest = 0
    """Of what was written since little waited, the most that was written at once."""
    _coming = 0
    """Bytes that are to be written as soon as little waits."""
    _unread: Unread | None = None
    _stall: Stall | None = None

    @property
    def owner(self) -> object:
        """See `Reader`. One whose account is not known is for itself."""
        if self._stranger is not None:
            return STRANGERS
        return self if self._account is None else self._account

    @property
    def held(self) -> int:
        """See `Reader`. The transport holds all of what is written at once until the last byte of it has left."""
        return max(self._largest, int(self.transport.get_write_buffer_size())) + self._coming

    def wrote(self, size: int) -> None:
        """So many bytes were written at once."""
        if self._stall is not None:
            self._largest = max(self._largest, size)

    def cut_off(self) -> None:
        """Ends the connection at once: others need its place, or its client reads nothing."""
        self.transport.abort()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._stall = Stall(self.transport, stall.STALLED_SECONDS, self.cut_off)
        if self._unread is not None:
            self._unread.add(self)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.discard(self)
        self._largest = 0
        if self._stall is not None:
            self._stall.end()
            self._stall = None
