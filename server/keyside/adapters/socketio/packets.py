"""Socket.IO's packets, read so that a malformed one never raises: it is passed over, or is an unknown event (C4)."""

import logging
from typing import Any

from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT_ERROR, EVENT, Packet

_RESERVED = frozenset({"connect", "disconnect", "*"})
"""Names under which the library calls handlers by itself: from a client they are names like any other."""


class ServerPacket(Packet):  # type: ignore[misc]
    """A packet of a client, or for one. Nothing binary travels on this wire: its attachments are passed over."""

    packet_type: Any
    namespace: Any
    id: Any
    data: Any

    def decode(self, encoded_packet: Any) -> int:
        """See `Packet`."""
        try:
            super().decode(encoded_packet)
        except (ValueError, TypeError, IndexError, RecursionError):
            return self._pass_over()
        if self.packet_type in (EVENT, BINARY_EVENT):
            return self._as_event()
        if self.packet_type in (ACK, BINARY_ACK):
            self.packet_type = ACK
            if not isinstance(self.data, list):
                return self._pass_over()
        elif self.packet_type >= CONNECT_ERROR:
            return self._pass_over()
        return 0

    def _as_event(self) -> int:
        self.packet_type, self.data = EVENT, _named(self.data)
        return 0

    def _pass_over(self) -> int:
        """It becomes the answer to a call that nobody made."""
        self.packet_type, self.namespace, self.id, self.data = ACK, None, None, []
        return 0


def plain_event(encoded: object) -> tuple[int | None, list[Any]] | None:
    """The number and the data of an event of the default namespace, as nearly all packets are; `None`: another one."""
    if not isinstance(encoded, str) or encoded[:1] != str(EVENT):
        return None
    at = encoded.find("[", 1, 24)
    number = encoded[1:at]
    if at < 0 or (number and not (number.isascii() and number.isdigit())):
        return None
    try:
        data = ServerPacket.json.loads(encoded[at:])
    except (ValueError, RecursionError):
        return None
    return int(number) if number else None, _named(data)


def _named(data: Any) -> list[Any]:
    """An event's data: its name, which is none of the library's own, and its arguments."""
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        return [""]
    if data[0] in _RESERVED:
        return [f"{data[0]} (reserved)"]
    return data


def in_one_line(record: logging.LogRecord) -> bool:
    """A filter for the transport's log: what clients send wrongly is no reason for a traceback."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]!r}", None
        record.exc_info = record.exc_text = None
    return True
