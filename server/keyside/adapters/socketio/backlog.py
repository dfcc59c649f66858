"""How much may wait for a socket, and a queue that knows how much waits in it."""

import asyncio
from typing import Any

MAX_BACKLOG = 1024 * 1024
"""Bytes that may wait for one socket before it is told to open its chat again (V5)."""
DEAF_BACKLOG = 16 * 1024 * 1024
"""Bytes that may wait for one socket before nothing more is read from it, so that it cannot ask for more."""


class Backlog(asyncio.Queue[Any]):
    """The queue of packets of one socket. `waiting` is how many characters they have, kept as a number."""

    waiting = 0

    def _put(self, item: Any) -> None:
        super()._put(item)
        if item is not None:
            self.waiting += len(item.encode())

    def _get(self) -> Any:
        item = super()._get()
        if item is not None:
            self.waiting -= len(item.encode())
        return item
