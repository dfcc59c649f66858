"""Readers in this process that subscribe to the events of a chat as they are published."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from keyside.core.changes import Entry
from keyside.core.fitting import weight

MOST_WAITING = 1024 * 1024
"""What the events weigh that wait for one reader. One that lags further gets the newest only, and reads the others
from the log."""


class Waiting:
    """The events that wait for one reader."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._weight = 0
        self._came = asyncio.Event()

    def put(self, entry: Entry) -> None:
        """Adds the newest event; where too much waits already, it is the only one then."""
        if self._weight >= MOST_WAITING:
            self._entries.clear()
            self._weight = 0
        self._entries.append(entry)
        self._weight += weight(entry.change)
        self._came.set()

    async def __aiter__(self) -> AsyncIterator[Entry]:
        while True:
            while self._entries:
                entry = self._entries.popleft()
                self._weight -= weight(entry.change)
                yield entry
            self._came.clear()
            await self._came.wait()


class Subscriptions:
    """What waits for each reader, for as long as it reads."""

    def __init__(self) -> None:
        self._readers: dict[int, set[Waiting]] = {}

    @contextmanager
    def follow(self, chat_id: int) -> Iterator[AsyncIterator[Entry]]:
        """The chat's events from now on."""
        waiting = Waiting()
        self._readers.setdefault(chat_id, set()).add(waiting)
        try:
            yield aiter(waiting)
        finally:
            self._readers[chat_id].discard(waiting)
            if not self._readers[chat_id]:
                del self._readers[chat_id]

    def publish(self, entries: Sequence[Entry]) -> None:
        """Hands events to the readers of their chats."""
        if not self._readers:
            return
        for entry in entries:
            for waiting in self._readers.get(entry.chat_id, ()):
                waiting.put(entry)
