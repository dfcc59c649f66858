"""A Socket.IO client that reconnects after every loss; the scripted executors are built on it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import socketio
from socketio.exceptions import SocketIOError

from tests.chaos.kit.proxy import Proxy

_CONNECT_SECONDS = 2
_END_SECONDS = 1
_AGAIN_SECONDS = 0.1


class Gone(Exception):
    """The connection is gone, or nothing was answered in time."""


class Socket:
    """Connects through a proxy for as long as it runs.

    `received` gets each message of the server and returns what is called back; `opened` is awaited after each
    connect, `lost` is called when the connection is gone.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._sio: socketio.AsyncClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._before: asyncio.Task[None] | None = None
        """The life before this one, which may still be ending: two never overlap."""
        self._ended = asyncio.Event()
        self._waiting: set[asyncio.Future[Any]] = set()
        self.received: Callable[[dict[str, Any]], Any] = lambda message: None
        self.opened: Callable[[], Awaitable[None]] = _nothing
        self.lost: Callable[[], None] = lambda: None

    @property
    def session_id(self) -> str | None:
        """Its id at the server, while it is connected."""
        return self._sio.get_sid() if self._sio is not None else None

    def start(self) -> None:
        """Connects, now and after every loss."""
        if self._task is None:
            self._ended = asyncio.Event()
            self._task = asyncio.create_task(self._live(self._before))

    async def stop(self) -> None:
        """Disconnects for good."""
        task, self._task = self._task, None
        if task is not None:
            self._before = task
            self._ended.set()
            self._fail_calls()
            await task

    async def call(
        self, event: str, payload: Any, timeout: float, taken: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Emits, and returns the acknowledgement, which `taken` gets before any later message. Raises `Gone`."""
        if self._sio is None or self._ended.is_set():
            raise Gone
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)

        def acknowledged(ack: dict[str, Any]) -> None:
            if not answer.done():
                answer.set_result(ack)
                if taken is not None:
                    taken(ack)

        try:
            await self._sio.emit(event, payload, callback=acknowledged)
            return await asyncio.wait_for(answer, timeout)
        except (SocketIOError, TimeoutError) as error:
            raise Gone from error
        finally:
            self._waiting.discard(answer)

    async def emit(self, event: str, payload: Any) -> None:
        """Emits, without an acknowledgement. Raises `Gone`."""
        if self._sio is None:
            raise Gone
        try:
            await self._sio.emit(event, payload)
        except SocketIOError as error:
            raise Gone from error

    async def _live(self, before: asyncio.Task[None] | None) -> None:
        ended = self._ended
        if before is not None:
            await asyncio.wait([before])
        while not ended.is_set():
            # The client's own session would be left open where a connection fails half-way.
            async with aiohttp.ClientSession() as http:
                sio = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=http)
                gone = asyncio.Event()
                sio.on("events", lambda message: self.received(message))
                sio.on("disconnect", lambda *_, gone=gone: gone.set())
                try:
                    await self._connect(sio)
                    self._sio = sio
                    await self.opened()
                    await _first(gone, ended)
                except (SocketIOError, TimeoutError, OSError, Gone):
                    pass
                self._sio = None
                self._fail_calls()
                self.lost()
                await _end(sio)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _connect(self, sio: socketio.AsyncClient) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await sio.connect(
                    f"http://127.0.0.1:{self._proxy.port}",
                    socketio_path="/ws/socket.io",
                    transports=["websocket"],
                    wait_timeout=_CONNECT_SECONDS,
                )
        except TypeError as error:  # the client takes the code of a connection that is closed at once for a packet
            raise Gone from error

    def _fail_calls(self) -> None:
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(Gone())


async def _first(*events: asyncio.Event) -> None:
    """Waits until one of the events is set. The client's own `wait` ignores a cancellation."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _nothing() -> None:
    return None


async def _end(sio: socketio.AsyncClient) -> None:
    try:
        if sio.connected:
            await asyncio.wait_for(sio.disconnect(), _END_SECONDS)
    except (SocketIOError, TimeoutError, OSError):
        pass
