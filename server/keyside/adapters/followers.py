"""Readers in this process that follow a chat as its events are published."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from keyside.core.changes import Entry


class Followers:
    """Queues of events, one for each reader. A reader that lags has its queue, no more: it ends with the reader."""

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
        """Hands events on."""
        for entry in entries:
            for queue in self._queues.get(entry.chat_id, ()):
                queue.put_nowait(entry)


async def _drain(queue: asyncio.Queue[Entry]) -> AsyncIterator[Entry]:
    while True:
        yield await queue.get()
