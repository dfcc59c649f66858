"""Messages of WebSockets that have come in part. All of them together take only so much memory."""

from typing import Protocol

from keyside.adapters.listener.fullest import turned_out


class Sender(Protocol):
    """A WebSocket on which a message may be under way."""

    @property
    def owner(self) -> object:
        """The account that it belongs to."""

    def cut_off(self) -> None:
        """Ends it."""


class Unfinished:
    """When they are too much, those of the account that has the most are cut off, the largest first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._parts: dict[Sender, int] = {}
        self._bytes = 0

    def grow(self, sender: Sender, size: int) -> None:
        """So many more bytes of a message have come."""
        self._parts[sender] = self._parts.get(sender, 0) + size
        self._bytes += size
        if self._bytes > self._most_bytes:
            shares = [(sender.owner, size, sender) for sender, size in self._parts.items()]
            for sender in turned_out(shares, self._most_bytes):
                self.done(sender)
                sender.cut_off()

    def done(self, sender: Sender) -> None:
        """The message is whole, or its socket has gone."""
        self._bytes -= self._parts.pop(sender, 0)
