"""Notices a client that reads nothing of what waits for it."""

import asyncio
from collections.abc import Callable
from typing import Any

STALLED_SECONDS = 60
"""How long a client may read nothing of what waits for it. Then it is cut off."""
_LOOKS = 6
"""How often it is looked in the time after which a client is cut off."""


class Stall:
    """Watches a transport while bytes wait in it. Who reads slowly gets everything; who reads nothing is cut off.

    `cut_off` is called when in so many `seconds` it was never seen that fewer bytes waited than at the look before.
    """

    def __init__(self, transport: Any, seconds: float, cut_off: Callable[[], None]) -> None:
        self._transport = transport
        self._pause = seconds / _LOOKS
        self._cut_off = cut_off
        self._looks = 0
        self._waited = self._waiting
        self._timer = self._look_later()

    def end(self) -> None:
        """Little waits any more, or the connection has ended."""
        self._timer.cancel()

    @property
    def _waiting(self) -> int:
        return int(self._transport.get_write_buffer_size())

    def _look_later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._pause, self._look)

    def _look(self) -> None:
        before, self._waited = self._waited, self._waiting
        self._looks = 0 if self._waited < before else self._looks + 1
        if self._looks >= _LOOKS:
            self._cut_off()
        else:
            self._timer = self._look_later()
