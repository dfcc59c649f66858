"""A TCP proxy in front of the server that keeps every byte that crosses it, and can read what browsers masked."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

UPGRADE = b"upgrade: websocket"


@dataclass
class Conversation:
    """One connection: the bytes that the browser sent and received."""

    sent: bytearray = field(default_factory=bytearray)
    got: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> bytes:
        """Everything that the browser sent, with the payloads of WebSocket frames unmasked."""
        raw = bytes(self.sent)
        at = raw.lower().find(UPGRADE)
        if at < 0:
            return raw
        head_end = raw.index(b"\r\n\r\n", at) + 4
        return raw[:head_end] + payloads(raw[head_end:])


def payloads(frames: bytes) -> bytes:
    """The payloads of a client's WebSocket frames, one after the other (RFC 6455, 5.2); the last may be cut."""
    found, at = bytearray(), 0
    while at + 2 <= len(frames):
        masked, length = frames[at + 1] & 0x80, frames[at + 1] & 0x7F
        assert not frames[at] & 0x70, "a compressed frame: it cannot be searched"
        at += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(frames[at : at + size])
            at += size
        mask = frames[at : at + 4] if masked else bytes(4)
        at += 4 if masked else 0
        body = frames[at : at + length]
        found += bytes(byte ^ mask[index % 4] for index, byte in enumerate(body))
        at += length
    return bytes(found)


@dataclass
class Recorder:
    """The proxy. `target` is the server's own port, which is set later."""

    port: int = 0
    target: int = 0
    conversations: list[Conversation] = field(default_factory=list)
    cut: bool = False
    """While it is true, only connections that contain the mark `spared` get through."""
    spared: bytes | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _open: dict[asyncio.Task[None], Conversation] = field(default_factory=dict)

    @property
    def sent(self) -> bytes:
        """All that browsers sent."""
        return b"\n".join(one.text for one in self.conversations)

    @property
    def got(self) -> bytes:
        """All that browsers got."""
        return b"\n".join(bytes(one.got) for one in self.conversations)

    async def until(self, true: Callable[[], bool], seconds: float) -> None:
        """Waits until the condition holds for the bytes that were sent and received."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(true)

    async def connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection of a browser."""
        task = asyncio.current_task()
        assert task is not None
        conversation = self._open[task] = Conversation()
        self.conversations.append(conversation)
        try:
            first = await reader.read(65536)
            conversation.sent += first
            if self.cut and not self._is_spared(conversation):
                return writer.transport.abort()
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
            inner_writer.write(first)
            await asyncio.gather(
                self._pump(reader, inner_writer, conversation.sent),
                self._pump(inner_reader, writer, conversation.got),
            )
        except (OSError, asyncio.CancelledError):
            pass  # the other side is not there, or the test is over: the browser sees a closed connection
        finally:
            writer.close()
            del self._open[task]

    async def _pump(self, reader: StreamReader, writer: StreamWriter, kept: bytearray) -> None:
        try:
            while data := await reader.read(65536):
                kept += data
                writer.write(data)
                await writer.drain()
                async with self._news:
                    self._news.notify_all()
        except OSError:
            pass
        finally:
            with suppress(OSError):
                writer.close()

    async def cut_off(self) -> None:
        """Breaks every connection, and refuses new ones until `cut` is false again."""
        self.cut = True
        await self._break([task for task, one in self._open.items() if not self._is_spared(one)])

    def _is_spared(self, conversation: Conversation) -> bool:
        return self.spared is not None and self.spared in conversation.sent

    async def close(self) -> None:
        """Ends every connection."""
        await self._break(list(self._open))

    async def _break(self, connections: list[asyncio.Task[None]]) -> None:
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    """A proxy on a free port; set its `target`."""
    front = Recorder()
    server = await asyncio.start_server(front.connected, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        server.close()
        await front.close()
        await server.wait_closed()
