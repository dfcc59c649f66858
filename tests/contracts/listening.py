"""A listener of this process with limits of its own, in front of any ASGI application, and raw connections to it."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from keyside.adapters.listener.http import Guard, GuardedHttp
from keyside.adapters.listener.server import GuardedServer
from keyside.adapters.listener.strangers import Strangers
from keyside.adapters.listener.turns import Turns
from keyside.adapters.listener.unfinished import Unfinished
from keyside.adapters.listener.unread import Unread
from keyside.adapters.listener.websocket import GuardedWebSocket
from tests.edge.live import SECONDS

HEAD = 2048
"""The most bytes of a request's head here."""
CONNECT = 1024
"""The most bytes that a stranger may send on a WebSocket here."""
UNFINISHED = 300_000
"""The most bytes that messages of WebSockets may have together which are not whole yet."""


@dataclass(frozen=True)
class Answer:
    """What a server has answered."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """The bytes of one connection, as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes, *, piece: int = 0) -> bool:
        """Sends bytes, each so many on their way by themselves, and says whether all of them were taken."""
        piece = piece or len(data) or 1
        try:
            for at in range(0, len(data), piece):
                self._writer.write(data[at : at + piece])
                await self._writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            return False
        return True

    async def answer(self) -> Answer:
        """The next answer, which says how long it is."""
        async with asyncio.timeout(SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status = re.match(r"HTTP/1\.1 (\d+) ", head)
            assert status, head
            lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
            headers = {name.lower(): value for name, _, value in lines}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
            return Answer(int(status[1]), headers, body)

    async def end(self) -> bytes:
        """What comes until the server closes the connection."""
        said = b""
        try:
            async with asyncio.timeout(SECONDS):
                while piece := await self._reader.read(65536):
                    said += piece
        except ConnectionError:
            pass
        return said

    async def read(self, size: int) -> bytes:
        """So many bytes."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.readexactly(size)

    async def read_until(self, end: bytes) -> bytes:
        """What comes until these bytes have come."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.readuntil(end)

    def close(self) -> None:
        """Goes away without another word."""
        self._writer.transport.abort()


@dataclass
class Listener:
    """It listens on loopback until the end of the block."""

    port: int
    strangers: Strangers
    server: GuardedServer
    _wires: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def wire(self, *, receive_buffer: int = 0) -> Wire:
        """A connection; with a small buffer its client takes little of what it does not read."""
        plug = socket.socket()
        plug.setblocking(False)
        if receive_buffer:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(plug, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=plug, limit=receive_buffer or 2**16)
        wire = Wire(reader, writer)
        self._wires.callback(wire.close)
        return wire

    async def upgraded(self, **headers: str) -> Wire:
        """A WebSocket that is open."""
        wire = await self.wire()
        await wire.send(upgrade(**headers))
        assert (await wire.answer()).status == 101
        return wire


class _Server(GuardedServer):
    def __init__(self, config: uvicorn.Config, guard: Guard) -> None:
        super().__init__(config, guard)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@asynccontextmanager
async def listening(
    app: Any,
    *,
    seconds: float = 1000,
    per_address: int = 100,
    websocket: type[GuardedWebSocket] = GuardedWebSocket,
    is_proxy: Callable[[str], bool] = lambda address: False,
    certificate: str | None = None,
    unread: int = 2**30,
) -> AsyncIterator[Listener]:
    """Serves the application until the end of the block."""
    strangers = Strangers(per_address=per_address, in_all=1000)
    unfinished = Unfinished(UNFINISHED)
    guard = Guard(
        strangers,
        Turns(),
        header_bytes=HEAD,
        header_seconds=seconds,
        connect_bytes=CONNECT,
        unfinished=unfinished,
        unread=Unread(unread),
        is_proxy=is_proxy,
        address_of=lambda scope: scope["client"][0],
        is_known=lambda scope: (b"cookie", b"signed") in scope["headers"],
    )
    config = uvicorn.Config(
        app,
        http=GuardedHttp,
        ws=websocket,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        ssl_certfile=certificate,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config, guard)
    with socket.create_server(("127.0.0.1", 0)) as port:
        serving = asyncio.create_task(server.serve(sockets=[port]))
        listener = Listener(port.getsockname()[1], strangers, server)
        try:
            await asyncio.wait_for(server.ready.wait(), SECONDS)
            async with listener._wires:
                yield listener
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, SECONDS)


async def until(condition: Callable[[], object]) -> None:
    """Returns when it holds."""
    async with asyncio.timeout(SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


def request(method: str = "GET", path: str = "/", body: bytes = b"", /, **headers: str) -> bytes:
    """A request; a body comes with its length unless the headers say something else."""
    if body and "transfer_encoding" not in headers and "content_length" not in headers:
        headers["content_length"] = str(len(body))
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"host": "here", **headers}.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body


def upgrade(**headers: str) -> bytes:
    """A request for a WebSocket."""
    asked = {
        "upgrade": "websocket",
        "connection": "upgrade",
        "sec_websocket_key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        "sec_websocket_version": "13",
    }
    return request(**{**asked, **headers})
