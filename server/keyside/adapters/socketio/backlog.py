"""How much may wait for a socket, and a queue that knows how much waits in it."""

import asyncio
from typing import Any

from engineio.packet import CLOSE, Packet

from keyside.adapters.listener.websocket import MOST_WAITING

MAX_BACKLOG = 1024 * 1024
"""Bytes that may wait for one socket before it is told to open its chat again (V5)."""
DEAF_BACKLOG = 4 * 1024 * 1024
"""Bytes that may wait for one socket before nothing more is read from it, so that it cannot ask for more."""


class Backlog(asyncio.Queue[Any]):
    """The queue of packets of one socket. `waiting` is how many characters they have, kept as a number.

    When more than `MOST_WAITING` of them wait, they are dropped, and the socket is closed.
    """

    waiting = 0
    _is_closed = False

    def put_nowait(self, item: Any) -> None:
        """See `asyncio.Queue`."""
        if item is None or not self._is_closed:
            super().put_nowait(item)

    async def join(self) -> None:
        """See `asyncio.Queue`. It does not wait: a client that does not read would keep whoever closes it for ever."""

    def _put(self, item: Any) -> None:
        super()._put(item)
        self.waiting += 0 if item is None else len(item.encode())
        if self.waiting > MOST_WAITING:
            self._close()

    def _close(self) -> None:
        while self.qsize() > 1:
            self.get_nowait()
            self.task_done()
        self._get()
        self._is_closed = True
        self._put(Packet(CLOSE))

    def _get(self) -> Any:
        item = super()._get()
        self.waiting -= 0 if item is None else len(item.encode())
        return item
