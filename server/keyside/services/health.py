"""Watches whether the store can be written. While it cannot, no run changes and no time limit counts (D4)."""

import asyncio
from collections.abc import Awaitable, Callable

from keyside.protocol import wire
from keyside.protocol.errors import KeysideError
from keyside.services.ports import EVERYONE, ChatLog, Clock, Hub, Unavailable

_PROBE = 1.0
"""Seconds between two attempts to write while the store is unavailable."""


class StoreHealth:
    """Tells every socket when the store becomes unavailable, and again when it can be written.

    When the store is back, `on_back` is awaited with the seconds of the outage, before the sockets are told.
    """

    def __init__(self, chat_log: ChatLog, hub: Hub, clock: Clock) -> None:
        self._log = chat_log
        self._hub = hub
        self._clock = clock
        self._away = asyncio.Event()
        self.ok = True
        self.on_back: Callable[[float], Awaitable[None]] = _nothing

    def failed(self) -> None:
        """Notes that a write to the store failed."""
        if self.ok:
            self.ok = False
            self._tell()
            self._away.set()

    async def watch(self) -> None:
        """Waits for a failure and then for the end of the outage, in an endless loop."""
        while True:
            await self._away.wait()
            since = self._clock.now()
            while not await self._can_write():
                await self._clock.sleep(_PROBE)
                self._tell()  # repeated, so that sockets that connected meanwhile learn it too
            self._away.clear()
            self.ok = True
            try:
                await self.on_back(self._clock.now() - since)
            except (KeysideError, Unavailable):
                self.failed()  # the store became unavailable again
            else:
                self._tell()

    async def _can_write(self) -> bool:
        try:
            await self._log.probe(self._clock.now())
        except Unavailable:
            return False
        return True

    def _tell(self) -> None:
        message = wire.Store(data=wire.StoreState(ok=self.ok))
        self._hub.tell(EVERYONE, message.model_dump())


async def _nothing(_seconds: float) -> None:
    return None
