"""A very cheap WebSocket client, so that the load generator does not limit the measurement.

It speaks just enough of RFC 6455 for the servers here: text, ping and close. Its masking key is zero, so a payload goes
out as it is; the server unmasks it like any other.
"""

import asyncio
import base64
import os
from typing import cast


class Socket(asyncio.Protocol):
    """One connection. Subclasses take what comes in `on_text`."""

    def __init__(self) -> None:
        self.closed = False
        self.sent_bytes = 0
        """Payload bytes of all messages that were sent."""
        self.got_bytes = 0
        """All bytes that came."""
        self._transport: asyncio.Transport | None = None
        self._upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""

    async def open(self, port: int, path: str) -> None:
        """Connects, and returns when the server has agreed."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, "127.0.0.1", port)
        assert self._transport is not None
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await self._upgraded

    def send(self, payload: bytes) -> None:
        """Sends a text message."""
        size = len(payload)
        self.sent_bytes += size
        if size < 126:
            header = bytes((0x81, 0x80 | size, 0, 0, 0, 0))
        elif size < 65536:
            header = bytes((0x81, 0xFE, size >> 8, size & 0xFF, 0, 0, 0, 0))
        else:
            header = b"\x81\xff" + size.to_bytes(8, "big") + b"\0\0\0\0"
        if self._transport is not None and not self.closed:
            self._transport.write(header + payload)

    def on_text(self, payload: bytes) -> None:
        """A text message came."""

    def on_gone(self) -> None:
        """The connection is over."""

    def close(self) -> None:
        """Ends it, without the closing handshake."""
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self._upgraded.done():
            self._upgraded.set_exception(ConnectionError("the server closed the connection"))
        self.on_gone()

    def data_received(self, data: bytes) -> None:
        self.got_bytes += len(data)
        if self._buffer:
            data = self._buffer + data
        if not self._upgraded.done():
            head, found, rest = data.partition(b"\r\n\r\n")
            if not found:
                self._buffer = data
                return
            if b" 101 " in head.partition(b"\r\n")[0]:
                self._upgraded.set_result(None)
            else:
                self._upgraded.set_exception(ConnectionError(head.decode(errors="replace")))
            data = rest
        self._buffer = self._take_messages(data)

    def _take_messages(self, data: bytes) -> bytes:
        """Takes every whole message; returns the rest."""
        at, end = 0, len(data)
        while end - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if end < start + size or end < start:
                break
            opcode = data[at] & 0x0F
            if opcode == 1:
                self.on_text(data[start : start + size])
            elif opcode == 8:
                self.close()
            elif opcode == 9 and self._transport is not None:
                self._transport.write(bytes((0x8A, 0x80 | size, 0, 0, 0, 0)) + data[start : start + size])
            at = start + size
        return data[at:]


class SocketIo(Socket):
    """A Socket.IO connection by its raw packets. `on_event` takes events, `on_ack` what nobody awaits."""

    token = ""
    """What it signs in with, where that is needed."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._answers: dict[bytes, asyncio.Future[bytes]] = {}
        self._connected: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def connect(self, port: int, path: str) -> None:
        """Connects to the default namespace."""
        await self.open(port, f"{path}/?EIO=4&transport=websocket")
        await self._connected

    async def call(self, event: str, payload: bytes) -> bytes:
        """Emits an event with a JSON payload, and returns its acknowledgement: a JSON list."""
        number = self.emit(event.encode(), payload)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[b"%d" % number] = answer
        return await answer

    def emit(self, event: bytes, payload: bytes) -> int:
        """Emits an event that wants an acknowledgement; returns its number."""
        self._number += 1
        self.send(b'42%d["%s",%s]' % (self._number, event, payload))
        return self._number

    def on_event(self, packet: bytes) -> None:
        """`42`, an id where an answer is wanted, and the JSON list."""

    def on_ack(self, packet: bytes) -> None:
        """`43`, an id, and the JSON list."""

    def on_text(self, payload: bytes) -> None:
        kind = payload[:2]
        if kind == b"42":
            self.on_event(payload)
        elif kind == b"43":
            at = payload.index(b"[")
            answer = self._answers.pop(payload[2:at], None) if self._answers else None
            if answer is not None:
                answer.set_result(payload[at:])
            else:
                self.on_ack(payload)
        elif kind == b"2":
            self.send(b"3")
        elif kind[:1] == b"0":
            self.send(b"40" + (b'{"token":"%s"}' % self.token.encode() if self.token else b""))
        elif kind == b"40" and not self._connected.done():
            self._connected.set_result(payload)
        elif kind == b"44" and not self._connected.done():
            self._connected.set_exception(ConnectionError(payload.decode()))

    def on_gone(self) -> None:
        for waiting in (self._connected, *self._answers.values()):
            if not waiting.done():
                waiting.set_exception(ConnectionError("the server closed the connection"))
        self._answers.clear()
