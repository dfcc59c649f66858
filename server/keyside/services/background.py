"""The server's endless tasks."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from keyside.services.ports import Clock

log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]
_PAUSE = 1.0
"""Seconds after which a task begins again that failed."""


class Background:
    """Runs endless tasks between `start` and `stop`."""

    def __init__(self, clock: Clock, works: Sequence[Work]) -> None:
        self._clock = clock
        self._works = tuple(works)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins all of them."""
        self._tasks = [asyncio.create_task(self._keep_up(work)) for work in self._works]

    async def stop(self) -> None:
        """Ends all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _keep_up(self, work: Work) -> None:
        """A task that fails is a bug: it is logged, and the task begins again."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("a task of the server failed and begins again")
            await self._clock.sleep(_PAUSE)
