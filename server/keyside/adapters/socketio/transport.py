"""The servers of Engine.IO and Socket.IO, and what they do otherwise than the libraries; see `private_parts.py`."""

import asyncio
import inspect
import itertools
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from typing import Any
from weakref import WeakKeyDictionary

import engineio
import socketio
from engineio.async_drivers.asgi import WebSocket
from engineio.exceptions import UnknownPacketError
from engineio.packet import CLOSE, Packet

from keyside.adapters.socketio.backlog import DEAF_BACKLOG, Backlog
from keyside.adapters.socketio.connection import DIRECT, Connection
from keyside.adapters.socketio.frames import text_frame
from keyside.adapters.socketio.packets import Said, answer, plain_event, refusal
from keyside.services.later import Later

_CLOSE_SECONDS = 2
"""How long a client that does not read may delay the end of its connection."""


class Manager(socketio.AsyncManager):  # type: ignore[misc]
    """Numbers callbacks over the whole process, so that a late one can never answer another call (C8)."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(secrets.randbits(48))
        self._number_of: WeakKeyDictionary[Callable[..., Any], int] = WeakKeyDictionary()

    def _generate_ack_id(self, sid: str, callback: Callable[..., Any]) -> int:
        id = self._number_of[callback] = next(self._numbers)
        self.callbacks.setdefault(sid, {})[id] = callback
        return id

    def forget_callback(self, sid: str, callback: Callable[..., Any]) -> None:
        """Frees a callback whose answer nobody waits for any more. The library keeps it as long as the socket."""
        self.callbacks.get(sid, {}).pop(self._number_of.pop(callback, None), None)


class StockServer(socketio.AsyncServer):  # type: ignore[misc]
    """The library's server. Handlers may return what can be awaited, as they may in `LeanServer`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.eio.create_queue = Backlog

    def on(self, event: str, handler: Callable[..., Any] | None = None, namespace: str | None = None) -> Any:
        """See `AsyncServer`."""
        if handler is None:
            return partial(self.on, event, namespace=namespace)
        awaiting = _awaiting(handler)
        super().on(event, awaiting if event in ("connect", "disconnect") else self._acknowledged(awaiting), namespace)
        return handler

    def _acknowledged(self, handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The handler of an event that is acknowledged also if it fails (C4)."""

        @wraps(handler)
        async def handle(*arguments: Any) -> Any:
            try:
                return await handler(*arguments)
            except Exception:
                self.logger.exception("an event could not be handled")
                return refusal("internal")

        return handle


class LeanServer(StockServer):
    """Socket.IO that hands an event straight to its handler and writes the acknowledgement straight to the socket.

    A handler may be a coroutine function: then a task runs it. It may also be a plain function that returns the answer,
    or it as `Later`: then there is no task, and the acknowledgement is written when the answer is there. That holds for
    `sio.on("*", handler)`, too, which takes all other events and is called with the event's name first.
    """

    def __init__(self, **options: Any) -> None:
        self._direct: dict[str, Callable[..., Any]] = {}
        self._answering: set[asyncio.Task[Any]] = set()
        super().__init__(take_event=self.take_event, **options)

    def _engineio_server_class(self) -> type["LeanTransport"]:
        return LeanTransport

    def on(self, event: str, handler: Callable[..., Any] | None = None, namespace: str | None = None) -> Any:
        """See `AsyncServer`."""
        if handler is not None and namespace in (None, "/"):
            self._direct[event] = handler
        return super().on(event, handler, namespace)

    def take_event(self, transport_id: str, packet: bytes) -> bool:
        """Hands an ordinary event to its handler. Returns `False` for every other packet, and does nothing then."""
        event = plain_event(packet)
        if event is None:
            return False
        session_id = self.manager.sid_from_eio_sid(transport_id, "/")
        if not self.manager.is_connected(session_id, "/"):
            return False
        number, (name, *arguments) = event
        try:
            said = self._handle(name, session_id, arguments)
            if type(said) is Later:
                if number is not None:
                    said.tell(partial(self._answer, transport_id, number))
            elif inspect.iscoroutine(said):
                self._answer_when_done(transport_id, number, said)
            elif number is not None:
                self._answer(transport_id, number, said)
        except Exception:
            self._failed(transport_id, number)
        return True

    def _handle(self, name: str, session_id: str, arguments: list[Any]) -> Any:
        handler = self._direct.get(name)
        if handler is not None:
            return handler(session_id, *arguments)
        return self._direct["*"](name, session_id, *arguments)

    def _answer_when_done(self, transport_id: str, number: int | None, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._answering.add(task)

        def done(task: asyncio.Task[Any]) -> None:
            self._answering.discard(task)
            if task.cancelled():
                return
            try:
                value = task.result()
                if number is not None:
                    self._answer(transport_id, number, value)
            except Exception:
                self._failed(transport_id, number)

        task.add_done_callback(done)

    def _failed(self, transport_id: str, number: int | None) -> None:
        """Logs the exception that is being handled, and acknowledges the event all the same (C4)."""
        self.logger.exception("an event could not be handled")
        if number is not None:
            self._answer(transport_id, number, refusal("internal"))

    def _answer(self, transport_id: str, number: int, value: Any) -> None:
        """Acknowledges an event, if the socket that sent it is still there."""
        socket = self.eio.sockets.get(transport_id)
        if socket is not None and not socket.closed:
            socket.queue.put_nowait(answer(number, value))

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        """What came by polling, and what is no ordinary event."""
        if not isinstance(data, str) or not self.take_event(eio_sid, data.encode(errors="replace")):
            await super()._handle_eio_message(eio_sid, data)


class LeanTransport(engineio.AsyncServer):  # type: ignore[misc]
    """Engine.IO over WebSockets with as little work for each message as can be: no task, no timer of its own."""

    def __init__(self, *, take_event: Callable[[str, bytes], bool], **options: Any) -> None:
        super().__init__(**options)
        self.take_event = take_event
        self._async: dict[str, Any] = {**vars(self)["_async"], "websocket": DirectWebSocket}


class DirectWebSocket(WebSocket):  # type: ignore[misc]
    """A connection that begins as a WebSocket of our own ASGI server; any other is left to the library.

    The library makes two tasks and a timer for each message that it reads, and for each that it writes.
    """

    def __init__(self, handler: Callable[..., Any], server: LeanTransport) -> None:
        super().__init__(handler, server)
        self._server = server

    async def __call__(self, environ: dict[str, Any]) -> str:
        """Serves the connection to its end."""
        socket = self.handler.__self__
        connection = environ["asgi.scope"].get("extensions", {}).get(DIRECT)
        if socket.connected or connection is None:
            return str(await super().__call__(environ))
        receive, send = environ["asgi.receive"], environ["asgi.send"]
        await send({"type": "websocket.accept"})
        socket.connected = socket.upgraded = True
        queue = DirectQueue(self._server, socket, connection)
        try:
            await queue.until_end(receive)
            await queue.caught_up()
        finally:
            await socket.close(wait=False, abort=True, reason=self._server.reason.TRANSPORT_CLOSE)
            await _closed(connection, send)
        return ""


async def _closed(connection: Connection, send: Callable[[dict[str, str]], Awaitable[None]]) -> None:
    """Closes a connection that the client has not closed. One that takes no bytes is cut off."""
    connection.flush()
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await send({"type": "websocket.close"})
    except TimeoutError:
        connection.transport.abort()
    except Exception:  # noqa: S110 - it is closed already, which ASGI servers tell in several ways
        pass


class DirectQueue:
    """One WebSocket. It takes the place of the socket's queue, and writes what is put into it without a task."""

    def __init__(self, server: LeanTransport, socket: Any, connection: Connection) -> None:
        self._server = server
        self._socket = socket
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._early: deque[bytes] | None = None
        """What came while a packet was under way that takes its time, and that packet; `None` where there is none."""
        self._working: asyncio.Task[None] | None = None
        early, socket.queue = socket.queue, self
        while not early.empty():
            self.put_nowait(early.get_nowait())
        connection.read_with(self._take)

    # --- in place of a queue ---------------------------------------------------------------------

    async def put(self, packet: Packet | None) -> None:
        """See `asyncio.Queue`."""
        self.put_nowait(packet)

    def put_nowait(self, packet: Packet | None) -> None:
        """See `asyncio.Queue`. After the packet that closes, the connection ends."""
        if packet is None:
            return
        self._connection.write(packet.frame if type(packet) is Said else text_frame(packet.encode().encode()))
        if packet.packet_type == CLOSE:
            self._connection.end()

    async def join(self) -> None:
        """See `asyncio.Queue`."""

    @property
    def waiting(self) -> int:
        """Bytes that have not left yet."""
        return self._connection.waiting

    # --- reading ---------------------------------------------------------------------------------

    async def until_end(self, receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """Returns when the client has gone, or says nothing for longer than two pings take."""
        patience = self._server.ping_interval + self._server.ping_timeout
        while self._heard + patience > self._loop.time():
            try:
                async with asyncio.timeout_at(self._heard + patience):
                    event = await receive()
                    if event["type"] == "websocket.disconnect":
                        return
                    if event.get("text"):  # it came before `read_with`
                        self._take(event["text"].encode())
            except TimeoutError:
                pass

    async def caught_up(self) -> None:
        """Returns when everything is handled that the client sent before it went, unless that takes too long."""
        if self._working is not None:
            await asyncio.wait((self._working,), timeout=_CLOSE_SECONDS)
        await _begun()

    def _take(self, message: bytes) -> None:
        """A message came. An ordinary event is handled here, any other packet in a task.

        What comes next waits for that task. So does all that a client sends which does not read its answers.
        """
        self._heard = self._loop.time()
        if self._socket.closed:
            return
        if len(message) > self._server.max_http_buffer_size:
            self._connection.end()
        elif self._early is not None:
            self._early.append(message)
        elif message == b"3":
            self._socket.schedule_ping()
        elif self._connection.waiting > DEAF_BACKLOG or not self._take_event(message):
            self._early = deque((message,))
            self._connection.read_on(False)
            self._working = asyncio.ensure_future(self._take_in_turn(self._early))

    def _take_event(self, message: bytes) -> bool:
        return message[:1] == b"4" and self._server.take_event(self._socket.sid, message[1:])

    async def _take_in_turn(self, early: deque[bytes]) -> None:
        while early and not self._socket.closed:
            message = early.popleft()
            if self._connection.waiting > DEAF_BACKLOG:
                self._connection.flush()
                await self._connection.writable.wait()
            if not self._take_event(message):
                await _begun()
                await self._take_other(message.decode(errors="replace"))
        self._early = None
        self._connection.read_on(True)  # also where it is closed: the client's close frame may be still to come
        if self._socket.closed:
            self._connection.end()

    async def _take_other(self, message: str) -> None:
        try:
            packet = None if message[:1] == "4" else Packet(encoded_packet=message)
        except ValueError as error:
            self._server.logger.warning("a socket was closed for what it sent: %r", error)
            self._connection.end()
            return
        try:
            if packet is None:
                await self._server.handlers["message"](self._socket.sid, message[1:])
            else:
                await self._socket.receive(packet)
        except UnknownPacketError:
            pass
        except Exception:
            self._server.logger.exception("a message could not be handled")


async def _begun() -> None:
    """Returns when the tasks of all events that came before have taken their first step: so nothing overtakes them."""
    await asyncio.sleep(0)


def _awaiting(handler: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The handler as a coroutine function, whatever it returns."""
    if inspect.iscoroutinefunction(handler):
        return handler

    @wraps(handler)
    async def awaited(*arguments: Any) -> Any:
        said = handler(*arguments)
        return await said if inspect.isawaitable(said) else said

    return awaited
