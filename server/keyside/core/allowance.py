"""How much somebody may do in a while: a token bucket."""


class Allowance:
    """So many units a second, and so many at once after a pause. Times are in seconds."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, cost: float, now: float) -> bool:
        """Takes units, and says whether there were enough. What is refused makes a debt."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        self._left -= cost
        return self._left >= 0

    @property
    def overdrawn(self) -> bool:
        """Whether the debt has grown as large as all that may be done at once."""
        return self._left < -self._burst
