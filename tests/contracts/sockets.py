"""A hub and calls with sessions to reach: in memory, and over a real server on loopback with real clients."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, Protocol

import httpx
import uvicorn
from starlette.applications import Starlette

from keyside.adapters.listener.websocket import GuardedWebSocket
from keyside.adapters.memory.calls import MemoryCalls
from keyside.adapters.memory.hub import MemoryHub
from keyside.adapters.socketio.calls import SocketCalls, StockCalls
from keyside.adapters.socketio.connection import Connection
from keyside.adapters.socketio.hub import SocketHub, StockHub
from keyside.adapters.socketio.server import Endpoint, make_server
from keyside.protocol.wire import MAX_PACKET
from keyside.services.ports import Calls, Hub
from tests.edge.live import SECONDS, SHORT_PATH, Client

Kind = Literal["memory", "lean", "stock", "stock with callbacks"]
CALL = "request:chat:completion"


class Session(Protocol):
    """Somebody who is connected."""

    session_id: str

    def answers(self, answer: Callable[[Any], Any]) -> None:
        """Answers every call from now on."""

    async def next(self, *types: str) -> dict[str, Any]:
        """The next message of one of these types."""

    async def close(self) -> None:
        """Goes away."""


class World(Protocol):
    """A hub, the calls beside it, and sessions."""

    @property
    def hub(self) -> Hub: ...

    @property
    def calls(self) -> Calls: ...

    async def session(self) -> Session: ...


class MemoryWorld:
    """Sessions that the calls in memory reach."""

    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.calls = MemoryCalls()
        self._count = 0

    async def session(self) -> Session:
        self._count += 1
        return MemorySession(self.calls, f"session-{self._count}")


class MemorySession:
    """One of them."""

    def __init__(self, calls: MemoryCalls, session_id: str) -> None:
        self.session_id = session_id
        self._calls = calls
        self._told = calls.sessions[session_id] = asyncio.Queue()

    def answers(self, answer: Callable[[Any], Any]) -> None:
        self._calls.answers[self.session_id] = answer

    async def next(self, *types: str) -> dict[str, Any]:
        while (message := await asyncio.wait_for(self._told.get(), SECONDS))["type"] not in types:
            pass
        return message

    async def close(self) -> None:
        self._calls.gone(self.session_id)


def made(message: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    """What makes this message when there is room for it."""

    async def make() -> dict[str, Any]:
        return message

    return make


class SocketSession:
    """A client of the library."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.session_id = client.session_id
        client.on_call = lambda data: asyncio.get_running_loop().create_future()  # says nothing

    def answers(self, answer: Callable[[Any], Any]) -> None:
        async def say(data: Any) -> Any:
            return answer(data)

        self.client.on_call = say

    async def next(self, *types: str) -> dict[str, Any]:
        return await self.client.next(*types)

    async def close(self) -> None:
        await self.client.close()


class SocketWorld:
    """A server of this process, and clients of it."""

    def __init__(self, kind: Kind) -> None:
        self.sio = make_server("lean" if kind == "lean" else "stock")
        self.hub = SocketHub(self.sio) if kind == "lean" else StockHub(self.sio)
        self.calls = StockCalls(self.sio) if kind == "stock" else SocketCalls(self.sio)
        self.sio.on("connect", lambda session_id, environ, auth=None: None)
        self.sio.on("disconnect", lambda session_id, reason="": self.calls.gone(session_id))
        self.clients = AsyncExitStack()
        self.url = ""
        self._lean = kind == "lean"
        self._server: _Server | None = None

    async def session(self) -> SocketSession:
        client = Client()
        await client.connect(self.url)
        self.clients.push_async_callback(client.close)
        return SocketSession(client)

    def connections(self) -> set[Any]:
        """Those that are open."""
        assert self._server is not None
        return set(self._server.server_state.connections)

    @asynccontextmanager
    async def served(self) -> AsyncIterator["SocketWorld"]:
        """Serves until the end of the block."""
        config = uvicorn.Config(
            Endpoint(self.sio, Starlette()),
            ws=Connection if self._lean else GuardedWebSocket,
            ws_max_size=MAX_PACKET + 1024,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        server = self._server = _Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                await asyncio.wait_for(server.ready.wait(), SECONDS)
                async with self.clients:
                    yield self
            finally:
                server.should_exit = True
                await asyncio.wait_for(serving, SECONDS)
                await self.sio.shutdown()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@asynccontextmanager
async def world(kind: Kind) -> AsyncIterator[World]:
    """A world of that kind."""
    if kind == "memory":
        yield MemoryWorld()
    else:
        async with SocketWorld(kind).served() as served:
            yield served


@asynccontextmanager
async def polling(here: SocketWorld) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A session by polling without a CONNECT, and where it goes on."""
    async with httpx.AsyncClient(base_url=here.url, timeout=SECONDS) as http:
        begin = f"{SHORT_PATH}/?EIO=4&transport=polling"
        opened = await http.get(begin)
        yield http, f"{begin}&sid={json.loads(opened.text[1:])['sid']}"
