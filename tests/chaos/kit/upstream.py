"""The upstream: an OpenAI-compatible server with known text, which counts who asked for what."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator

from tests.chaos.kit.text import script

_BEAT = 0.01
"""Seconds between two bursts."""
_CORS = (
    "Access-Control-Allow-Origin: *\r\n"
    "Access-Control-Allow-Headers: authorization, content-type\r\n"
    "Access-Control-Max-Age: 600\r\n"
)
"""The CORS headers that let pages call."""


class Upstream:
    """Answers on a port of its own. A request's `user` is the key of its answer, its API key says who asks."""

    def __init__(self) -> None:
        self.calls: dict[str, list[str]] = defaultdict(list)
        """For each key: the name of every caller, in order."""
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """What is entered as base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        """Takes any free port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Ends every answer."""
        assert self._server is not None
        self._server.close()
        for task in self._busy:
            task.cancel()

    async def answer(self, key: str, who: str) -> AsyncIterator[list[str]]:
        """The lines of an answer in bursts, at its own pace; counted as one call."""
        self.calls[key].append(who)
        told = script(key)
        beats = max(1, int(told.seconds / _BEAT))
        burst = -(-len(told.lines) // beats)
        pause = told.seconds * burst / len(told.lines)
        for start in range(0, len(told.lines), burst):
            yield list(told.lines[start : start + burst])
            await asyncio.sleep(pause)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            await self._handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._busy.discard(task)
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        if head[0].startswith("OPTIONS"):
            writer.write(_head("text/plain", "Content-Length: 0\r\n"))
            await writer.drain()
            return
        if "/models" in head[0]:
            models = json.dumps({"data": [{"id": "m"}]})
            writer.write(_head("application/json", f"Content-Length: {len(models)}\r\n") + models.encode())
            await writer.drain()
            return
        who = fields.get("authorization", "").removeprefix("Bearer ")
        writer.write(_head("text/event-stream"))
        async for lines in self.answer(json.loads(body)["user"], who):
            writer.write("".join(f"{line}\n\n" for line in lines).encode())
            await writer.drain()


def _head(kind: str, more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n{_CORS}{more}\r\n".encode()
