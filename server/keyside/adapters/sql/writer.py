"""One writer for the process: whatever arrives while a transaction runs goes into the next one (D3)."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

PAUSE = 0.001
"""Seconds that the next group waits for each item of this one: under load the groups grow, and not their number."""
LONGEST_PAUSE = 0.004


class GroupWriter(Generic[Item, Result]):
    """Stores items in groups, in their order, on a thread of its own.

    `prepare` is called in the event loop and returns what the thread has to do: it stores the group in one
    transaction and returns a result for each item. When either raises, each item of the group is tried alone and
    only the failing one is refused. `landed` is called in the event loop with the results of a group that is
    stored, before anyone who waits for them goes on.
    """

    def __init__(
        self, prepare: Callable[[list[Item]], Callable[[], list[Result]]], landed: Callable[[list[Result]], None]
    ) -> None:
        self._prepare = prepare
        self._landed = landed
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Done when the item is stored; raises what was raised for it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        return future

    async def close(self) -> None:
        """Stores what waits, then ends the thread."""
        if self._task is not None:
            await self._task
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    async def _drain(self) -> None:
        while self._waiting:
            pause = self._not_before - monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            group, self._waiting = self._waiting, []
            self._not_before = monotonic() + min(len(group) * PAUSE, LONGEST_PAUSE)
            await self._write(group)
        self._task = None

    async def _write(self, group: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._in_thread(self._prepare([item for item, _ in group]))
        except Exception as error:
            await self._write_singly(group, error)
            return
        try:
            self._landed(results)
        except Exception as error:  # a bug: whoever waits learns of it, and the next group is written
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def _write_singly(self, group: list[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
        if len(group) > 1:
            for one in group:
                await self._write([one])
        elif not group[0][1].done():
            group[0][1].set_exception(error)

    # --- the thread ------------------------------------------------------------------------------

    def _in_thread(self, store: Callable[[], list[Result]]) -> asyncio.Future[list[Result]]:
        """What `run_in_executor` does, at a third of its cost."""
        loop = asyncio.get_running_loop()
        applied: asyncio.Future[list[Result]] = loop.create_future()

        def tell(settle: Callable[[], None]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(lambda: None if applied.done() else settle())

        def work() -> None:
            try:
                results = store()
            except Exception as error:
                tell(partial(applied.set_exception, error))
            else:
                tell(partial(applied.set_result, results))

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="keyside-writer", daemon=True)
            self._thread.start()
        self._jobs.put(work)
        return applied

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
