"""Engine.IO over WebSockets with little work for each message; see `private_parts.py`."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import engineio
from engineio.async_drivers.asgi import WebSocket
from engineio.exceptions import UnknownPacketError
from engineio.packet import CLOSE, NOOP, Packet

from keyside.adapters.log_lines import bounded
from keyside.adapters.socketio.backlog import DEAF_BACKLOG
from keyside.adapters.socketio.connection import DIRECT, Connection
from keyside.adapters.socketio.frames import text_frame
from keyside.adapters.socketio.in_hand import in_hand_of
from keyside.adapters.socketio.packets import Said

log = bounded(__name__)

_CLOSE_SECONDS = 2
"""How long a client that does not read may delay the end of its connection."""


class LeanTransport(engineio.AsyncServer):  # type: ignore[misc]
    """Engine.IO over WebSockets with as little work for each message as can be: no task, no timer of its own."""

    def __init__(self, *, take_event: Callable[[Any, bytes], bool], **options: Any) -> None:
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
            socket.queue = self._server.create_queue()  # the one before refers to the socket
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
        self._hand = in_hand_of(socket)
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
        elif self._is_full or not self._take_event(message):
            self._early = deque((message,))
            self._connection.read_on(False)
            self._working = asyncio.ensure_future(self._take_in_turn(self._early))

    @property
    def _is_full(self) -> bool:
        return self._hand.full or self._connection.waiting > DEAF_BACKLOG

    def _take_event(self, message: bytes) -> bool:
        return message[:1] == b"4" and self._server.take_event(self._socket, message[1:])

    async def _take_in_turn(self, early: deque[bytes]) -> None:
        while early and not self._socket.closed:
            message = early.popleft()
            while self._is_full and not self._socket.closed:
                await self._room()
            if not self._take_event(message):
                await _begun()
                await self._take_other(message.decode(errors="replace"))
        self._early = None
        self._connection.read_on(True)  # also where it is closed: the client's close frame may be still to come
        if self._socket.closed:
            self._connection.end()

    async def _room(self) -> None:
        """Waits until there may be room, but not longer than half of what a ping may take.

        The pongs of a socket that is not read do not arrive, so its ping limit stands still. That of a client which
        does not read what it asked for goes on.
        """
        await _begun()
        self._connection.flush()
        half = self._server.ping_timeout / 2
        waiting = self._hand.room() if self._hand.full else self._connection.writable.wait()
        stands_still = self._hand.full
        try:
            async with asyncio.timeout(half):
                await waiting
        except TimeoutError:
            pass
        if stands_still:
            self._heard = self._loop.time()
            if self._socket.last_ping:
                self._socket.last_ping = time.time()

    async def _take_other(self, message: str) -> None:
        try:
            packet = None if message[:1] == "4" else Packet(encoded_packet=message)
        except ValueError as error:
            log.warning("a socket was closed for what it sent: %r", error)
            self._connection.end()
            return
        try:
            if packet is None:
                await self._server.handlers["message"](self._socket.sid, message[1:])
            elif packet.packet_type <= NOOP:  # those of other types are passed over
                await self._socket.receive(packet)
        except UnknownPacketError:
            pass
        except Exception:
            self._server.logger.exception("a message could not be handled")


async def _begun() -> None:
    """Returns when the tasks of all events that came before have taken their first step: so nothing overtakes them."""
    await asyncio.sleep(0)
