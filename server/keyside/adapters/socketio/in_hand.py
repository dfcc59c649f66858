"""What of one socket's messages is being worked on, so that no more is read of it than can be held."""

import asyncio
from typing import Any

MOST_EVENTS = 16
"""Events of one socket that are handled at the same time. Frames of runs do not count here."""
MOST_EVENT_BYTES = 512 * 1024
"""Bytes of these events, which can take much more memory when they are parsed. One event may be larger."""
MOST_FRAME_BYTES = 8 * 1024 * 1024
"""Bytes of one socket's frames that wait to be stored."""
_FRAME_COST = 2048
"""What a frame takes in memory besides its bytes, which may be few."""


class InHand:
    """The events and frames of one socket that are not answered yet."""

    def __init__(self) -> None:
        self._events = 0
        self._event_bytes = 0
        self._frame_bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    @property
    def full(self) -> bool:
        """Whether nothing more may be read of the socket for now."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Returns when the socket may be read."""
        await self._room.wait()

    def begin_event(self, size: int) -> None:
        """An event of so many bytes is handled from now on."""
        self._events += 1
        self._event_bytes += size
        self._look()

    def end_event(self, size: int) -> None:
        """The event was answered."""
        self._events -= 1
        self._event_bytes -= size
        self._look()

    def begin_frame(self, size: int) -> None:
        """A frame of so many bytes is handled from now on."""
        self._frame_bytes += size + _FRAME_COST
        if self._frame_bytes >= MOST_FRAME_BYTES:
            self._look()

    def end_frame(self, size: int) -> None:
        """The frame was answered."""
        self._frame_bytes -= size + _FRAME_COST
        if self.full:
            self._look()

    def _look(self) -> None:
        has_room = self._events < MOST_EVENTS and self._event_bytes < MOST_EVENT_BYTES
        if has_room and self._frame_bytes < MOST_FRAME_BYTES:
            self._room.set()
        else:
            self._room.clear()


def in_hand_of(socket: Any) -> InHand:
    """That of an Engine.IO socket, which keeps it as an attribute: so it goes with the socket."""
    found: InHand | None = vars(socket).get("in_hand")
    if found is None:
        found = socket.in_hand = InHand()
    return found
