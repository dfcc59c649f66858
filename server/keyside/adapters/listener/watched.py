"""What HTTP connections and WebSockets have in common: what waits for their client is watched."""

import asyncio
from typing import Any

from keyside.adapters.listener import stall
from keyside.adapters.listener.stall import Stall
from keyside.adapters.listener.strangers import Stranger
from keyside.adapters.listener.unread import Unread


class Watched(asyncio.Protocol):
    """A protocol that is a `Reader` while its transport holds much that the client has not taken."""

    transport: Any
    _stranger: Stranger | None = None
    """Its place among the strangers, until somebody signs in."""
    _unread: Unread | None = None
    _stall: Stall | None = None

    @property
    def is_stranger(self) -> bool:
        """See `Reader`."""
        return self._stranger is not None

    @property
    def waiting(self) -> int:
        """Bytes that have not left yet."""
        return int(self.transport.get_write_buffer_size())

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
        if self._stall is not None:
            self._stall.end()
            self._stall = None
