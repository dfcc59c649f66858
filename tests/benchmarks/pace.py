"""Upstreams that produce fifty tokens a second, each at its own times."""

import asyncio
import random
from collections.abc import Sequence
from time import perf_counter

from tests.benchmarks.streams import Stream

RATE = 50
"""Tokens a second of one stream."""
_SLOTS = 20
"""The moments of 1 ms in the 20 ms between two tokens."""


class Upstreams:
    """Makes each stream's tokens; one timer for all of them."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        chance = random.Random(2)
        self._slots: list[list[Stream]] = [[] for _ in range(_SLOTS)]
        for stream in streams:
            chance.choice(self._slots).append(stream)
        self._began = 0.0
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None
        self.late = 0.0
        """The longest delay of a turn in seconds: how much of the latency this process may cause itself."""
        self.held_back = 0
        """Tokens that were not produced, because too many of their stream were in flight."""

    def start(self) -> None:
        self._began = perf_counter()
        self._turn = 0
        self.late = 0.0
        self.held_back = 0
        self._tick()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        now = perf_counter()
        turn = 1 / RATE / _SLOTS
        self.late = max(self.late, now - self._began - self._turn * turn)
        while self._began + self._turn * turn <= now:
            for stream in self._slots[self._turn % _SLOTS]:
                if stream.under_way() < stream.most:
                    stream.make()
                else:
                    self.held_back += 1
            self._turn += 1
        wait = self._began + self._turn * turn - perf_counter()
        self._timer = asyncio.get_running_loop().call_later(max(wait, 0), self._tick)


async def drained(streams: Sequence[Stream], seconds: float = 10) -> None:
    """Waits until every produced token has reached the viewers."""
    for _ in range(int(seconds / 0.02)):
        if not any(stream.under_way() for stream in streams):
            return
        await asyncio.sleep(0.02)
