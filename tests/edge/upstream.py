"""A small model server. It sends each part of an answer that a test gives it as one HTTP chunk."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any


class Upstream:
    """The server. `streamed` is a streaming answer, as the parts to send; `whole` is the answer without streaming."""

    def __init__(self, streamed: Sequence[bytes] = (), whole: Any = None, status: int = 200) -> None:
        self.streamed = streamed
        self.whole = whole
        self.status = status
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.requests.append((headers, body))
        writer.write(b"HTTP/1.1 %d X\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n" % self.status)
        if body.get("stream"):
            writer.write(b"Content-Type: text/event-stream\r\n\r\n")
            pieces = self.streamed
        else:
            writer.write(b"Content-Type: application/json\r\n\r\n")
            pieces = [json.dumps(self.whole).encode()]
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def serving(upstream: Upstream) -> AsyncIterator[Upstream]:
    """The model server for as long as the block lasts."""
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    async with server:
        upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield upstream
