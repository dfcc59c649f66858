"""How much may wait for a socket, and a queue that knows how much waits in it."""

import asyncio
from typing import Any

from engineio.packet import CLOSE, Packet

from keyside.adapters.listener.fullest import STRANGERS
from keyside.adapters.listener.unread import Unread
from keyside.adapters.listener.websocket import MOST_WAITING

MAX_BACKLOG = 1024 * 1024
"""Bytes that may wait for one socket before it is told to open its chat again (V5)."""
DEAF_BACKLOG = 4 * 1024 * 1024
"""Bytes that may wait for one socket before nothing more is read from it, so that it cannot ask for more."""
_MUCH = 64 * 1024
"""Characters that are taken out at once, and that may wait before they count among all that waits."""


class Backlog(asyncio.Queue[Any]):
    """The queue of packets of one socket. `waiting` is how many characters they have, kept as a number.

    When more than `MOST_WAITING` of them wait, they are dropped, and the socket is closed.
    """

    owner: object = STRANGERS
    waiting = 0
    _is_closed = False
    _taken = 0
    """Characters that were taken out since the last `get`."""

    def __init__(self, unread: Unread) -> None:
        super().__init__()
        self._unread = unread

    def put_nowait(self, item: Any) -> None:
        """See `asyncio.Queue`."""
        if item is None or not self._is_closed:
            super().put_nowait(item)

    async def join(self) -> None:
        """See `asyncio.Queue`. It does not wait: a client that does not read would keep whoever closes it for ever."""

    @property
    def held(self) -> int:
        """See `Reader`."""
        return self.waiting

    def _put(self, item: Any) -> None:
        super()._put(item)
        if item is not None:
            self.waiting += len(item.encode())
            item.data = None  # it is encoded now, and would be there twice
        if self.waiting > MOST_WAITING:
            self.cut_off()
        elif self.waiting > _MUCH:
            self._unread.add(self)

    def let_go(self) -> None:
        """The session has ended. A client that has left much unread reads no more of it."""
        if self.waiting > _MUCH:
            self.cut_off()

    def cut_off(self) -> None:
        """See `Reader`."""
        while self.qsize() > 1:
            self._get()
            self.task_done()
        self._get()
        self._is_closed = True
        self._put(Packet(CLOSE))

    async def get(self) -> Any:
        """See `asyncio.Queue`."""
        self._taken = 0
        return await super().get()

    def get_nowait(self) -> Any:
        """See `asyncio.Queue`. The library would take out all that there is, and what is taken out is not counted."""
        if self._taken > _MUCH:
            raise asyncio.QueueEmpty
        return super().get_nowait()

    def _get(self) -> Any:
        item = super()._get()
        size = 0 if item is None else len(item.encode())
        self._taken += size
        self.waiting -= size
        if self.waiting <= _MUCH:
            self._unread.discard(self)
        return item
