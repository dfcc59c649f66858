"""Packets of Socket.IO: a malformed one of a client never raises (C4), and an event for many is encoded once."""

import logging
from typing import Any

import engineio.packet
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT_ERROR, EVENT, Packet

from keyside.adapters.socketio.codec import Json, TooManyParts, encoded
from keyside.adapters.socketio.frames import text_frame
from keyside.protocol.errors import failure
from keyside.protocol.wire import Refusal

log = logging.getLogger(__name__)

_RESERVED = frozenset({"connect", "disconnect", "*"})
"""Names under which the library calls handlers by itself: from a client they are names like any other."""
_EVENT = b"%d" % EVENT

REFUSED = {"(unreadable)": "bad_request", "(too large)": "too_large"}
"""The names that events get which cannot be read, and the errors with which they are answered."""
_UNREADABLE, _TOO_LARGE = REFUSED


class ServerPacket(Packet):  # type: ignore[misc]
    """A packet of a client, or for one. A malformed one is passed over, or becomes an unknown event.

    Nothing binary travels on this wire: the attachments of a binary packet are passed over.
    """

    packet_type: Any
    namespace: Any
    id: Any
    data: Any

    def __init__(self, *args: Any, encoded_packet: Any = None, **options: Any) -> None:
        super().__init__(*args, encoded_packet=encoded_packet, **options)
        if encoded_packet in ("", b""):  # it is not decoded, and would be an event without data
            self._pass_over()

    def decode(self, encoded_packet: Any) -> int:
        """See `Packet`."""
        try:
            super().decode(encoded_packet)
        except (ValueError, TypeError, IndexError, RecursionError) as error:
            if self.id is None or self.packet_type not in (EVENT, BINARY_EVENT):
                return self._pass_over()
            self.data = _unread(error)
        if self.packet_type in (EVENT, BINARY_EVENT):
            return self._as_event()
        if self.packet_type in (ACK, BINARY_ACK):
            self.packet_type = ACK
            if not isinstance(self.data, list):
                return self._pass_over()
        elif self.packet_type >= CONNECT_ERROR:
            return self._pass_over()
        return 0

    def encode(self) -> Any:
        """See `Packet`."""
        try:
            return super().encode()
        except TypeError:
            if self.packet_type != ACK:
                raise
            log.exception("an answer could not be written")
            self.data = [refusal("internal")]
            return super().encode()

    def _as_event(self) -> int:
        self.packet_type, self.data = EVENT, _named(self.data)
        return 0

    def _pass_over(self) -> int:
        """It becomes the answer to a call that nobody made."""
        self.packet_type, self.namespace, self.id, self.data = ACK, None, None, []
        return 0


class Said(engineio.packet.Packet):  # type: ignore[misc]
    """A packet for any number of sockets. It is encoded once: `frame` is its WebSocket frame."""

    packet_type = engineio.packet.MESSAGE
    data = None
    binary = False

    def __init__(self, packet: bytes) -> None:
        self._text = b"4" + packet
        self.frame = text_frame(self._text)

    def encode(self, b64: bool = False) -> str:
        """See `Packet`."""
        return self._text.decode()


def event(message: dict[str, Any]) -> Said:
    """The event `events` with this message (C6)."""
    return Said(b'2["events",%s]' % encoded(message))


def answer(number: int, value: Any) -> Said:
    """The acknowledgement of a client's event. There is always one (C4)."""
    try:
        written = encoded(value)
    except TypeError:
        log.exception("an answer could not be written")
        written = encoded(refusal("internal"))
    return Said(b"3%d[%s]" % (number, written))


def refusal(code: str) -> dict[str, Any]:
    """The acknowledgement of an event that is refused here (C4)."""
    return Refusal(error=failure(code)).model_dump()


def plain_event(packet: bytes) -> tuple[int | None, list[Any]] | None:
    """The number and the data of an event of the default namespace, as nearly all packets are; `None`: another one."""
    if packet[:1] != _EVENT:
        return None
    at = packet.find(b"[", 1, 24)
    number = packet[1:at]
    if at < 0 or (number and not number.isdigit()):
        return None
    try:
        data = Json.loads(packet[at:])
    except (ValueError, RecursionError) as error:
        data = _unread(error)
    return int(number) if number else None, _named(data)


def _unread(error: Exception) -> list[str]:
    """The data of an event that cannot be read: a name under which it is refused."""
    return [_TOO_LARGE if isinstance(error, TooManyParts) else _UNREADABLE]


def _named(data: Any) -> list[Any]:
    """An event's data: its name, which is none of the library's own, and its arguments."""
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        return [""]
    if data[0] in _RESERVED:
        return [f"{data[0]} (reserved)"]
    return data
