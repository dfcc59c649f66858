"""Messages of WebSockets that have come in part. All of them together take only so much memory."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Part:
    bytes: int
    close: Callable[[], None]


class Unfinished:
    """When they are too much, the one that began first is closed: whoever means to finish a message does so at once."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._parts: dict[object, _Part] = {}
        self._bytes = 0

    def grow(self, socket: object, size: int, close: Callable[[], None]) -> None:
        """So many more bytes of a message have come. `close` is called if others need their place."""
        self._parts.setdefault(socket, _Part(0, close)).bytes += size
        self._bytes += size
        while self._bytes > self._most_bytes:
            first = next(iter(self._parts))
            turned_out = self._parts[first]
            self.done(first)
            turned_out.close()

    def done(self, socket: object) -> None:
        """The message is whole, or its socket has gone."""
        part = self._parts.pop(socket, None)
        if part is not None:
            self._bytes -= part.bytes
