"""Limits failed sign-ins by client address, so that codes cannot be guessed quickly."""

from collections import deque

from keyside.protocol.errors import KeysideError
from keyside.services.ports import Clock

MAX_ADDRESSES = 10_000
"""How many addresses are remembered. The one whose last failure is oldest is forgotten first."""


class SignInThrottle:
    """Allows `limit` failures in `window` seconds from one address. The counts are in memory, for one process."""

    def __init__(self, clock: Clock, *, limit: int = 10, window: float = 60) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._failures: dict[str, deque[float]] = {}

    def check(self, address: str) -> None:
        """Raises `too_many_attempts` if the address has reached its limit of failures."""
        if len(self._recent(address)) >= self._limit:
            raise KeysideError("too_many_attempts")

    def failed(self, address: str) -> None:
        """Counts one failure."""
        times = self._recent(address)
        times.append(self._clock.now())
        self._failures.pop(address, None)
        self._failures[address] = times
        if len(self._failures) > MAX_ADDRESSES:
            del self._failures[next(iter(self._failures))]

    def _recent(self, address: str) -> deque[float]:
        times = self._failures.get(address, deque())
        while times and times[0] <= self._clock.now() - self._window:
            times.popleft()
        return times
