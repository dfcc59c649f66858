"""The order in which the requests of strangers are begun, so that they hold up nobody else."""

import asyncio
from collections import deque
from collections.abc import Callable

PAUSE_SECONDS = 0.0025
"""How long the next request of a stranger waits. So the thread that writes to the store gets its share of the time."""
Begin = Callable[[], bool]
"""Begins a request, and says whether that was work: it is none where the connection has ended meanwhile."""


class Turns:
    """One request is begun at a time, with a pause after it.

    Between addresses it goes round: nobody waits for all the requests of another address.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Begin]] = {}
        self._pause: asyncio.TimerHandle | None = None

    def take(self, address: str, begin: Begin) -> None:
        """Calls `begin` when its turn has come."""
        self._waiting.setdefault(address, deque()).append(begin)
        if self._pause is None:
            self._go_on()

    def _go_on(self) -> None:
        self._pause = None
        while self._waiting:
            if self._next()():
                self._pause = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._go_on)
                break

    def _next(self) -> Begin:
        address = next(iter(self._waiting))
        waiting = self._waiting.pop(address)
        begin = waiting.popleft()
        if waiting:
            self._waiting[address] = waiting  # behind all the others
        return begin
