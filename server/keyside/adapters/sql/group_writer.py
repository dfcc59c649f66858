"""Writes in groups on a thread: whatever arrives while a transaction runs goes into the next one (D3)."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import sqrt
from queue import SimpleQueue
from time import monotonic
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Done = Callable[[Any], None]
"""Called in the event loop with the result of an item, or with the exception that refused it."""
Land = Callable[[], Sequence[Any]]
"""Takes over what a group has stored, in the event loop, and returns a result for each item."""
WriteGroup = Callable[[Callable[[Land], None]], None]
"""Stores a group, in the thread, and gives its `Land` to the function that it is called with."""

PAUSE = 0.0018
"""Seconds between the beginnings of two groups, times the square root of the items in the first.

So the time between groups settles in proportion to the rate of the items: `PAUSE` squared times the items a second.
Under load the groups grow, and not their number.
"""
LONGEST_PAUSE = 0.008

log = logging.getLogger(__name__)


class GroupWriter(Generic[Item]):
    """Stores items in groups, in their order, on a thread of its own.

    `prepare` is called in the event loop and returns what the thread has to do. When a group is stored, one callback
    in the event loop takes it over and calls each item's `done`, with nothing in between. When `prepare` or the
    thread raises, each item of the group is tried alone, and only the failing one is refused.
    """

    def __init__(self, prepare: Callable[[Sequence[tuple[Item, Done]]], WriteGroup]) -> None:
        self._prepare = prepare
        self._waiting: list[tuple[Item, Done]] = []
        self._alone: deque[tuple[Item, Done]] = deque()
        self._busy = False
        self._not_before = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: asyncio.Event | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, item: Item, done: Done) -> None:
        """Stores the item with the next group. To be called in the event loop."""
        self._waiting.append((item, done))
        if not self._busy:
            self._busy = True
            self._loop = asyncio.get_running_loop()
            self._begin_soon()

    async def close(self) -> None:
        """Stores what waits, then ends the thread."""
        if self._busy:
            self._idle = asyncio.Event()
            await self._idle.wait()
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """Ends the thread, where nothing waits any more."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    # --- in the event loop -----------------------------------------------------------------------

    def _begin_soon(self) -> None:
        assert self._loop is not None
        pause = self._not_before - monotonic()
        if pause > 0:
            self._loop.call_later(pause, self._begin)
        else:
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        group, self._waiting = self._waiting, []
        self._not_before = monotonic() + min(PAUSE * sqrt(len(group)), LONGEST_PAUSE)
        self._write(group)

    def _write(self, group: Sequence[tuple[Item, Done]]) -> None:
        try:
            store = self._prepare(group)
        except Exception as error:
            self._refused(group, error)
        else:
            self._in_thread(group, store)

    def _landed(self, group: Sequence[tuple[Item, Done]], land: Land) -> None:
        try:
            results = land()
        except Exception as error:  # a bug: whoever waits learns of it, and the next group is written
            log.exception("what is stored could not be taken over")
            results = [error] * len(group)
        for (_, done), result in zip(group, results, strict=True):
            _tell(done, result)
        self._go_on()

    def _refused(self, group: Sequence[tuple[Item, Done]], error: Exception) -> None:
        if len(group) > 1:
            self._alone.extend(group)
        else:
            _tell(group[0][1], error)
        self._go_on()

    def _go_on(self) -> None:
        assert self._loop is not None
        if self._alone:
            self._loop.call_soon(self._write, [self._alone.popleft()])
        elif self._waiting:
            self._begin_soon()
        else:
            self._busy = False
            if self._idle is not None:
                self._idle.set()

    # --- the thread ------------------------------------------------------------------------------

    def _in_thread(self, group: Sequence[tuple[Item, Done]], store: WriteGroup) -> None:
        """What `run_in_executor` does, at a fraction of its cost."""
        loop = self._loop
        assert loop is not None

        def work() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                try:
                    store(lambda land: _call(loop, partial(self._landed, group, land)))
                except Exception as error:
                    _call(loop, partial(self._refused, group, error))

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="keyside-writer", daemon=True)
            self._thread.start()
        self._jobs.put(work)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(callback)


def _tell(done: Done, result: Any) -> None:
    try:
        done(result)
    except Exception:
        log.exception("whoever was told of a write failed")
