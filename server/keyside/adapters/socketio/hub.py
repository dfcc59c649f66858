"""The hub over Socket.IO rooms."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import socketio

from keyside.adapters.socketio import packets
from keyside.adapters.socketio.backlog import MAX_BACKLOG
from keyside.adapters.subscriptions import Subscriptions
from keyside.core.changes import Entry
from keyside.protocol import wire
from keyside.services.ports import Gone, chat_room


class SocketHub:
    """`Hub` on a Socket.IO server.

    What is said is encoded once and put into each socket's own queue at once, so it leaves in the order of the
    commits. `AsyncServer.emit` would start a task for every recipient.
    """

    def __init__(self, sio: socketio.AsyncServer) -> None:
        self._sio = sio
        self._subscriptions = Subscriptions()

    def publish(self, entries: Sequence[Entry]) -> None:
        """See `Hub`."""
        self._subscriptions.publish(entries)
        for entry in entries:
            self._publish_one(entry)

    def _publish_one(self, entry: Entry) -> None:
        room = chat_room(entry.chat_id)
        sockets = self._sockets_in(room)
        if not sockets:
            return
        packet = packets.event(_event(entry))
        for session_id, socket in sockets:
            if socket.queue.waiting > MAX_BACKLOG:
                self._sio.manager.basic_leave_room(session_id, "/", room)
                self.tell(session_id, _reopen(entry))
            else:
                socket.queue.put_nowait(packet)

    def tell(self, room: str, message: dict[str, Any]) -> None:
        """See `Hub`."""
        sockets = self._sockets_in(room)
        if sockets:
            packet = packets.event(message)
            for _, socket in sockets:
                socket.queue.put_nowait(packet)

    def _sockets_in(self, room: str) -> list[tuple[str, Any]]:
        """The session ids and the transport's sockets of a room, without those that are closing."""
        members = self._sio.manager.rooms.get("/", {}).get(room)
        if not members:
            return []
        sockets = self._sio.eio.sockets
        found = ((session_id, sockets.get(transport_id)) for session_id, transport_id in members.items())
        return [(session_id, socket) for session_id, socket in found if socket is not None and not socket.closed]

    def follow(self, chat_id: int) -> AbstractContextManager[AsyncIterator[Entry]]:
        """See `Hub`."""
        return self._subscriptions.follow(chat_id)

    async def join(self, session_id: str, room: str) -> None:
        """See `Hub`."""
        # The manager would make a room for a session that it has forgotten, and keep that room for ever.
        if session_id not in self._sio.manager.rooms.get("/", {}).get(None, {}):
            raise Gone(session_id)
        await self._sio.enter_room(session_id, room)

    async def leave(self, session_id: str, room: str) -> None:
        """See `Hub`."""
        await self._sio.leave_room(session_id, room)


class StockHub(SocketHub):
    """`Hub` by the library's own `emit`.

    Each `emit` takes the same two turns of the event loop until its packet is in the sockets' queues. So what was said
    first leaves first, though each is said by a task of its own.
    """

    def __init__(self, sio: socketio.AsyncServer) -> None:
        super().__init__(sio)
        self._saying: set[asyncio.Task[None]] = set()

    def _publish_one(self, entry: Entry) -> None:
        room = chat_room(entry.chat_id)
        for session_id, socket in self._sockets_in(room):
            if socket.queue.waiting > MAX_BACKLOG:
                self._sio.manager.basic_leave_room(session_id, "/", room)
                self.tell(session_id, _reopen(entry))
        self.tell(room, _event(entry))

    def tell(self, room: str, message: dict[str, Any]) -> None:
        """See `Hub`."""
        if room in self._sio.manager.rooms.get("/", {}):
            task = asyncio.ensure_future(self._sio.emit("events", message, room=room))
            self._saying.add(task)
            task.add_done_callback(self._saying.discard)


def _event(entry: Entry) -> dict[str, Any]:
    return {"type": "chat:event", "data": entry.payload}


def _reopen(entry: Entry) -> dict[str, Any]:
    return wire.ChatReopen(data=wire.ChatRef(chat_id=entry.chat_id)).model_dump()
