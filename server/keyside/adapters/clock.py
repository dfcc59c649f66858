"""The real clock, and real randomness."""

import asyncio
import secrets
import time


class SystemClock:
    """`Clock` of this machine."""

    def now(self) -> float:
        """See `Clock`."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


class RandomIds:
    """`Ids` of 128 random bits."""

    def new(self) -> str:
        """See `Ids`."""
        return secrets.token_hex(16)
