"""Limits failed sign-ins by client address, so that codes cannot be guessed quickly."""

from collections import deque

from keyside.protocol.errors import KeysideError
from keyside.services.ports import Clock

MAX_ADDRESSES = 10_000
"""How many addresses are remembered. The one whose last failure is oldest is forgotten first."""


class SignInThrottle:
    """Allows `limit` failures in `window` seconds from one address. The counts are in memory, for one process.

    It is asked after a failure only: many may share an address, and somebody else's failures must not lock them out.
    """

    def __init__(self, clock: Clock, *, limit: int = 10, window: float = 60) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._failures: dict[str, deque[float]] = {}

    def failed(self, address: str) -> None:
        """Counts one failure. Raises `too_many_attempts` if the address has reached its limit before."""
        times = self._failures.pop(address, deque())
        while times and times[0] <= self._clock.now() - self._window:
            times.popleft()
        self._failures[address] = times
        if len(times) >= self._limit:
            raise KeysideError("too_many_attempts")
        times.append(self._clock.now())
        if len(self._failures) > MAX_ADDRESSES:
            del self._failures[next(iter(self._failures))]
