"""Readers in this process that subscribe to the events of a chat as they are published."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from keyside.core.changes import Entry

MOST_WAITING = 1000
"""Events that wait for one reader. One that lags further gets the newest only, and reads the others from the log."""


class Subscriptions:
    """A queue of events for each reader, for as long as it reads."""

    def __init__(self) -> None:
        self._queues: dict[int, set[asyncio.Queue[Entry]]] = {}

    @contextmanager
    def follow(self, chat_id: int) -> Iterator[AsyncIterator[Entry]]:
        """The chat's events from now on."""
        queue: asyncio.Queue[Entry] = asyncio.Queue()
        self._queues.setdefault(chat_id, set()).add(queue)
        try:
            yield _drain(queue)
        finally:
            self._queues[chat_id].discard(queue)
            if not self._queues[chat_id]:
                del self._queues[chat_id]

    def publish(self, entries: Sequence[Entry]) -> None:
        """Hands events to the readers of their chats."""
        if not self._queues:
            return
        for entry in entries:
            for queue in self._queues.get(entry.chat_id, ()):
                if queue.qsize() >= MOST_WAITING:
                    while not queue.empty():
                        queue.get_nowait()
                queue.put_nowait(entry)


async def _drain(queue: asyncio.Queue[Entry]) -> AsyncIterator[Entry]:
    while True:
        yield await queue.get()
