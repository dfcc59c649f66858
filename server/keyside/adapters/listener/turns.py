"""The order in which the requests of strangers are begun, so that they hold up nobody else."""

import asyncio
from collections import deque
from collections.abc import Callable

PAUSE_SECONDS = 0.015
"""The mean time between two requests of strangers, when there are many: what they leave of it belongs to the others."""
_SAVED_SECONDS = 0.2
"""How much of such time can be saved up while there are none."""
Begin = Callable[[], bool]
"""Begins a request, and says whether that was work: it is none where the connection has ended meanwhile."""


class Turns:
    """One request is begun at a time, with pauses between them if there are many.

    Between addresses it goes round: nobody waits for all the requests of another address.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Begin]] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._next_at = 0.0

    def take(self, address: str, begin: Begin) -> None:
        """Calls `begin` when its turn has come."""
        self._waiting.setdefault(address, deque()).append(begin)
        if self._pause is None:
            self._go_on()

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        self._pause = None
        while self._waiting:
            if self._next_at > loop.time():
                self._pause = loop.call_at(self._next_at, self._go_on)
                break
            if self._next()():
                self._next_at = max(self._next_at, loop.time() - _SAVED_SECONDS) + PAUSE_SECONDS

    def _next(self) -> Begin:
        address = next(iter(self._waiting))
        waiting = self._waiting.pop(address)
        begin = waiting.popleft()
        if waiting:
            self._waiting[address] = waiting  # behind all the others
        return begin
