"""The hub over Socket.IO rooms."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import socketio
from engineio.packet import MESSAGE
from engineio.packet import Packet as TransportPacket
from socketio.packet import EVENT

from keyside.adapters.followers import Followers
from keyside.adapters.socketio.server import Json
from keyside.core.changes import Entry
from keyside.protocol import wire
from keyside.services.ports import Gone, chat_room

MAX_BACKLOG = 1024 * 1024
"""Bytes that may wait for one socket before it is told to open its chat again (V5)."""
_FEW = 4
"""Packets that are not worth being measured."""


class SocketHub:
    """`Hub` on a Socket.IO server.

    What is said is encoded once and put into each socket's own queue at once, so it leaves in the order of the
    commits. `AsyncServer.emit` would start a task for every recipient.
    """

    def __init__(self, sio: socketio.AsyncServer) -> None:
        self._sio = sio
        self._followers = Followers()

    def publish(self, entries: Sequence[Entry]) -> None:
        """See `Hub`."""
        self._followers.publish(entries)
        for entry in entries:
            self._publish_one(entry)

    def _publish_one(self, entry: Entry) -> None:
        room = chat_room(entry.chat_id)
        sockets = self._sockets_in(room)
        if not sockets:
            return
        packet = self._packet({"type": "chat:event", "data": entry.payload})
        for session_id, socket in sockets:
            if _backlog(socket) > MAX_BACKLOG:
                self._sio.manager.basic_leave_room(session_id, "/", room)
                self.tell(session_id, wire.ChatReopen(data=wire.ChatRef(chat_id=entry.chat_id)).model_dump())
            else:
                socket.queue.put_nowait(packet)

    def tell(self, room: str, message: dict[str, Any]) -> None:
        """See `Hub`."""
        sockets = self._sockets_in(room)
        if sockets:
            packet = self._packet(message)
            for _, socket in sockets:
                socket.queue.put_nowait(packet)

    def _sockets_in(self, room: str) -> list[tuple[str, Any]]:
        """The session ids and the transport's sockets of a room, without those that are closing."""
        if room not in self._sio.manager.rooms.get("/", {}):
            return []
        pairs = self._sio.manager.get_participants("/", room)
        found = [(session_id, self._sio.eio.sockets.get(transport_id)) for session_id, transport_id in pairs]
        return [(session_id, socket) for session_id, socket in found if socket is not None and not socket.closed]

    @staticmethod
    def _packet(message: dict[str, Any]) -> TransportPacket:
        return TransportPacket(MESSAGE, f"{EVENT}{Json.dumps(['events', message])}")

    def follow(self, chat_id: int) -> AbstractContextManager[AsyncIterator[Entry]]:
        """See `Hub`."""
        return self._followers.follow(chat_id)

    async def join(self, session_id: str, room: str) -> None:
        """See `Hub`."""
        try:
            await self._sio.enter_room(session_id, room)
        except (KeyError, ValueError) as error:  # the manager has forgotten it
            raise Gone(session_id) from error

    async def leave(self, session_id: str, room: str) -> None:
        """See `Hub`."""
        await self._sio.leave_room(session_id, room)


def _backlog(socket: Any) -> int:
    """Bytes that wait in a socket's queue; 0 where it holds only a few packets."""
    waiting = socket.queue
    if waiting.qsize() <= _FEW:
        return 0
    return sum(len(packet.data) for packet in waiting._queue if packet is not None and packet.data)
