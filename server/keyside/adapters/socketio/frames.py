"""The frames of a WebSocket (RFC 6455), as far as they are made here."""

import struct


def text_frame(payload: bytes) -> bytes:
    """A text message of a server in one frame. Servers mask nothing, so it is the same for every recipient."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload
