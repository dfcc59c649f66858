"""The frames of a WebSocket (RFC 6455), as far as they are made and read here."""

import struct

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # the library's own, in C

_TEXT = 0x81
"""The first byte of a text message in one frame, without extensions."""
_MASKED = 0x80


def text_frame(payload: bytes) -> bytes:
    """A text message of a server in one frame. Servers mask nothing, so it is the same for every recipient."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


def read_text(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The payload of the frame that begins at `at`, and where the next one begins.

    `None` where it is not a client's text message in one frame of at most 64 KiB, or is not whole.
    """
    if len(data) < at + 6 or data[at] != _TEXT:
        return None
    size = data[at + 1] - _MASKED
    at += 2
    if size == 126:
        size = data[at] << 8 | data[at + 1]
        at += 2
    elif not 0 <= size < 126:
        return None
    start = at + 4
    end = start + size
    if len(data) < end:
        return None
    return apply_mask(data[start:end], data[at:start]), end


def frame_size(data: bytes, at: int) -> int | None:
    """How many bytes the frame that begins at `at` has with its header; `None` where the header is not whole."""
    if len(data) < at + 2:
        return None
    masked, size = data[at + 1] & _MASKED, data[at + 1] & 0x7F
    head = 2 + (4 if masked else 0) + {126: 2, 127: 8}.get(size, 0)
    if len(data) < at + head:
        return None
    if size == 126:
        (size,) = struct.unpack_from("!H", data, at + 2)
    elif size == 127:
        (size,) = struct.unpack_from("!Q", data, at + 2)
    return head + size


def may_become_text(data: bytes, at: int) -> bool:
    """Whether `read_text` may take the frame when it is whole."""
    return data[at] == _TEXT and (len(data) < at + 2 or _MASKED <= data[at + 1] < _MASKED + 127)


def stays_open(first_byte: int, open: bool) -> bool:
    """Whether a message in several frames is under way after a frame with this first byte; `open`: as it was before."""
    is_control = first_byte & 0x08  # those may stand between the frames of a message
    return open if is_control else not first_byte & 0x80
