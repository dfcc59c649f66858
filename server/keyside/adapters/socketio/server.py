"""Calls to a socket that end at once when the socket goes, and the Socket.IO server they run on."""

import asyncio
import itertools
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import socketio
from engineio.payload import Payload
from socketio.packet import ACK

from keyside.adapters.socketio.packets import ServerPacket, in_one_line, plain_event
from keyside.adapters.socketio.transport import Transport, put
from keyside.protocol.wire import MAX_PACKET
from keyside.services.ports import Gone


class Manager(socketio.AsyncManager):  # type: ignore[misc]
    """Numbers callbacks over the whole process, so that a late one can never answer another call (C8)."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(secrets.randbits(48))

    def _generate_ack_id(self, sid: str, callback: Callable[..., Any]) -> int:
        id = next(self._numbers)
        self.callbacks.setdefault(sid, {})[id] = callback
        return id


class Server(socketio.AsyncServer):  # type: ignore[misc]
    """Socket.IO on the lean transport: an event goes straight to its handler, its answer into the socket's queue."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._answering: set[asyncio.Task[None]] = set()

    def _engineio_server_class(self) -> type[Transport]:
        return Transport

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        event = plain_event(data)
        session_id = self.manager.sid_from_eio_sid(eio_sid, "/") if event else None
        if event is None or not self.manager.is_connected(session_id, "/"):
            await super()._handle_eio_message(eio_sid, data)
            return
        number, (name, *arguments) = event
        handlers = self.handlers["/"]
        handler = handlers.get(name)
        answer = handler(session_id, *arguments) if handler else handlers["*"](name, session_id, *arguments)
        task = asyncio.ensure_future(self._send_answer(eio_sid, number, answer))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _send_answer(self, eio_sid: str, number: int | None, answer: Awaitable[Any]) -> None:
        said = await answer
        if number is not None:
            put(self.eio, eio_sid, f"{ACK}{number}{Json.dumps([said])}")


class Json:
    """orjson in the shape that Socket.IO wants; text that is not well formed is mended, not refused."""

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        """JSON text."""
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        """The value; lone surrogates become U+FFFD."""
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return _mended(json.loads(text))


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(item) for name, item in value.items()}
    return value


def make_server(cors_allowed_origins: Any) -> socketio.AsyncServer:
    """A Socket.IO server with the project's limits and timings."""
    Payload.max_decode_packets = 1000  # what a polling client sends beyond it would be lost without a word
    server = Server(
        async_mode="asgi",
        client_manager=Manager(),
        json=Json,
        serializer=ServerPacket,
        cors_allowed_origins=cors_allowed_origins,
        max_http_buffer_size=MAX_PACKET,
        ping_interval=10,
        ping_timeout=10,
        http_compression=False,
        async_handlers=True,
    )
    server.eio.logger.addFilter(in_one_line)
    return server


class SocketCalls:
    """`Calls` on a Socket.IO server. `gone` must be told of every disconnect."""

    def __init__(self, sio: socketio.AsyncServer) -> None:
        self._sio = sio
        self._waiting: dict[str, set[asyncio.Future[Any]]] = {}
        self._tells: set[asyncio.Task[None]] = set()

    async def call(self, session_id: str, message: dict[str, Any]) -> Any:
        """See `Calls`. `sio.call` would wait out its timeout when the socket goes."""
        if not self._sio.manager.is_connected(session_id, "/"):
            raise Gone(session_id)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(session_id, set())
        waiting.add(answer)
        try:
            await self._sio.emit("events", message, to=session_id, callback=_into(answer))
            return await answer
        finally:
            waiting.discard(answer)

    def tell(self, session_id: str, message: dict[str, Any]) -> None:
        """See `Calls`."""
        task = asyncio.ensure_future(self._sio.emit("events", message, to=session_id))
        self._tells.add(task)
        task.add_done_callback(self._tells.discard)

    def gone(self, session_id: str) -> None:
        """Fails the calls that wait for a socket that is gone."""
        for answer in self._waiting.pop(session_id, set()):
            if not answer.done():
                answer.set_exception(Gone(session_id))


def _into(answer: asyncio.Future[Any]) -> Callable[..., None]:
    def callback(*args: Any) -> None:
        if not answer.done():
            answer.set_result(args[0] if args else None)

    return callback
