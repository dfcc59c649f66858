"""Whether the store can be written; while it cannot, no state changes and time stands still for runs (D4)."""

import asyncio
from collections.abc import Awaitable, Callable

from keyside.protocol import wire
from keyside.protocol.errors import KeysideError
from keyside.services.ports import EVERYONE, ChatLog, Clock, Hub, Unavailable

_PROBE = 1.0
"""Seconds between two tries to write while the store is away."""


class StoreHealth:
    """Notices that the store went away, tells every socket, and tries until it is back.

    `on_back` is awaited then, with the seconds that it was away, before anybody is told.
    """

    def __init__(self, chat_log: ChatLog, hub: Hub, clock: Clock) -> None:
        self._log = chat_log
        self._hub = hub
        self._clock = clock
        self._away = asyncio.Event()
        self.ok = True
        self.on_back: Callable[[float], Awaitable[None]] = _nothing

    def failed(self) -> None:
        """A write failed."""
        if self.ok:
            self.ok = False
            self._tell()
            self._away.set()

    async def watch(self) -> None:
        """Waits for a failure, then for its end, again and again."""
        while True:
            await self._away.wait()
            since = self._clock.now()
            while not await self._can_write():
                await self._clock.sleep(_PROBE)
                self._tell()  # again each time: whoever has connected since learns it too
            self._away.clear()
            self.ok = True
            try:
                await self.on_back(self._clock.now() - since)
            except (KeysideError, Unavailable):
                self.failed()  # it went away again
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
