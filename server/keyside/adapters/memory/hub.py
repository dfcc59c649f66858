"""The hub in memory: it reaches readers in this process, and remembers what it told the rooms."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from keyside.adapters.subscriptions import Subscriptions
from keyside.core.changes import Entry


class MemoryHub:
    """`Hub` without sockets. `told` is what was said, and where; `rooms` who is in which."""

    def __init__(self) -> None:
        self._subscriptions = Subscriptions()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.rooms: dict[str, set[str]] = {}

    def publish(self, entries: Sequence[Entry]) -> None:
        """See `Hub`."""
        self._subscriptions.publish(entries)

    def follow(self, chat_id: int) -> AbstractContextManager[AsyncIterator[Entry]]:
        """See `Hub`."""
        return self._subscriptions.follow(chat_id)

    def tell(self, room: str, message: dict[str, Any]) -> None:
        """See `Hub`."""
        self.told.append((room, message))

    async def join(self, session_id: str, room: str) -> None:
        """See `Hub`."""
        self.rooms.setdefault(room, set()).add(session_id)

    async def leave(self, session_id: str, room: str) -> None:
        """See `Hub`."""
        self.rooms.get(room, set()).discard(session_id)
