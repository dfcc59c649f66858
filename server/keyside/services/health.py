"""Watches whether the store can be written. While it cannot, no run changes and no time limit counts (D4)."""

import asyncio

from keyside.services.notices import Notices, StoreAway, StoreBack
from keyside.services.ports import ChatLog, Clock, Unavailable

_PROBE = 1.0
"""Seconds between two attempts to write while the store is unavailable."""


class StoreHealth:
    """Posts a notice when the store becomes unavailable, and another when it can be written again.

    `watch` is its endless task.
    """

    def __init__(self, chat_log: ChatLog, clock: Clock, notices: Notices) -> None:
        self._log = chat_log
        self._clock = clock
        self._notices = notices
        self._away = asyncio.Event()
        self.ok = True

    def failed(self) -> None:
        """Notes that a write to the store failed."""
        if self.ok:
            self.ok = False
            self._notices.put(StoreAway())
            self._away.set()

    async def watch(self) -> None:
        """Waits for a failure and then for the end of the outage, in an endless loop."""
        while True:
            await self._away.wait()
            since = self._clock.now()
            while not await self._can_write():
                await self._clock.sleep(_PROBE)
                self._notices.put(StoreAway())  # repeated, so that sockets that connected meanwhile learn it too
            self._away.clear()
            self.ok = True
            self._notices.put(StoreBack(self._clock.now() - since))

    async def _can_write(self) -> bool:
        try:
            await self._log.probe(self._clock.now())
        except Unavailable:
            return False
        return True
