"""The events of a run as server-sent events."""

from collections import deque
from collections.abc import AsyncIterator

import orjson

from keyside.core.changes import Entry

_PIECE = 64 * 1024
"""Bytes that are sent at once, so that no more than this waits for a reader that does not read."""
_RECENT = 4
"""How many events are kept as they were sent."""


class EventStreams:
    """An event is encoded once for all readers that get it at about the same time."""

    def __init__(self) -> None:
        self._recent: deque[tuple[Entry, bytes]] = deque(maxlen=_RECENT)

    async def of(self, entries: AsyncIterator[Entry]) -> AsyncIterator[bytes]:
        """The events as a `text/event-stream`, in pieces; `id:` is the seq."""
        async for entry in entries:
            data = self._encoded(entry)
            for at in range(0, len(data), _PIECE):
                yield data[at : at + _PIECE]

    def _encoded(self, entry: Entry) -> bytes:
        for known, data in self._recent:
            if known is entry:
                return data
        data = b"id: %d\ndata: %s\n\n" % (entry.seq, orjson.dumps(entry.payload))
        self._recent.append((entry, data))
        return data
