"""Counts failed attempts by where they come from, so that guessing stays slow."""

from collections import deque

from keyside.protocol.errors import KeysideError
from keyside.services.ports import Clock

MAX_PLACES = 10_000
"""Addresses remembered at once; the one that failed longest ago is forgotten first."""


class SignInThrottle:
    """At most `limit` failures in `window` seconds from one place; in memory, for one process."""

    def __init__(self, clock: Clock, *, limit: int = 10, window: float = 60) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._failures: dict[str, deque[float]] = {}

    def check(self, place: str) -> None:
        """Raises `too_many_attempts` where the place has used up its failures."""
        if len(self._recent(place)) >= self._limit:
            raise KeysideError("too_many_attempts")

    def failed(self, place: str) -> None:
        """Counts one failure."""
        times = self._recent(place)
        times.append(self._clock.now())
        self._failures.pop(place, None)
        self._failures[place] = times
        if len(self._failures) > MAX_PLACES:
            del self._failures[next(iter(self._failures))]

    def _recent(self, place: str) -> deque[float]:
        times = self._failures.get(place, deque())
        while times and times[0] <= self._clock.now() - self._window:
            times.popleft()
        return times
