"""Engine.IO over WebSockets with as little work for each message as can be: no task, no timer of its own."""

import asyncio
from collections.abc import Callable
from typing import Any

import engineio
from engineio.async_drivers.asgi import WebSocket
from engineio.exceptions import UnknownPacketError
from engineio.packet import MESSAGE, Packet


class Transport(engineio.AsyncServer):  # type: ignore[misc]
    """Engine.IO, which would otherwise let the ASGI server log a traceback for what is no packet at all."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._async: dict[str, Any] = {**vars(self)["_async"], "websocket": DirectWebSocket}

    async def handle_request(self, *args: Any, **kwargs: Any) -> Any:
        """See `engineio.AsyncServer`."""
        try:
            return await super().handle_request(*args, **kwargs)
        except ValueError as error:
            self.logger.warning("a socket was closed for what it sent: %r", error)


class DirectWebSocket(WebSocket):  # type: ignore[misc]
    """A connection that begins as a WebSocket; one that comes from polling is left to the library.

    The library makes two tasks and a timer for each message that it reads, and for each that it writes.
    """

    def __init__(self, handler: Callable[..., Any], server: Transport) -> None:
        super().__init__(handler, server)
        self._server = server

    async def __call__(self, environ: dict[str, Any]) -> str:
        """Serves the connection to its end."""
        socket = self.handler.__self__
        if socket.connected:
            return str(await super().__call__(environ))
        self.asgi_receive, self.asgi_send = environ["asgi.receive"], environ["asgi.send"]
        await self.asgi_send({"type": "websocket.accept"})
        socket.connected = socket.upgraded = True
        writer = asyncio.ensure_future(self._write_all(socket))
        try:
            await self._read_all(socket)
        except TimeoutError:
            writer.cancel()  # nobody may be there to take what it writes
        finally:
            socket.queue.put_nowait(None)
            await asyncio.wait([writer])
            await socket.close(wait=False, abort=True, reason=self._server.reason.TRANSPORT_CLOSE)
        return ""

    async def _read_all(self, socket: Any) -> None:
        """Reads until the client goes, breaks the rules, or says nothing for longer than two pings take."""
        loop = asyncio.get_running_loop()
        patience = self._server.ping_interval + self._server.ping_timeout
        handle = self._server.handlers["message"]
        async with asyncio.timeout(patience) as silence:
            while (data := await self.wait()) and len(data) <= self._server.max_http_buffer_size:
                until = loop.time() + patience
                if until > (silence.when() or 0) + 1:
                    silence.reschedule(until)
                packet = None if data[0] == "4" else Packet(encoded_packet=data)
                try:
                    if packet is None:
                        await handle(socket.sid, data[1:])
                    else:
                        await socket.receive(packet)
                except UnknownPacketError:
                    pass
                except Exception:
                    self._server.logger.exception("a message could not be handled")
                if socket.closed:
                    return

    async def wait(self) -> str | bytes | None:
        """The next message; nothing when the client has gone."""
        event = await self.asgi_receive()
        if event["type"] != "websocket.receive":
            return None
        text: str | None = event.get("text")
        return text if text is not None else event["bytes"]

    async def _write_all(self, socket: Any) -> None:
        """Writes what is queued, until `None` is."""
        queue = socket.queue
        try:
            while (packet := await queue.get()) is not None:
                queue.task_done()
                await self.asgi_send({"type": "websocket.send", "text": packet.encode()})
            queue.task_done()
        except Exception:
            self._server.logger.info("%s: a socket cannot be written to any more", socket.sid)
        await self.close()


def put(server: Transport, transport_id: str, encoded: str) -> None:
    """Queues an encoded Socket.IO packet for a socket, if it is there."""
    socket = server.sockets.get(transport_id)
    if socket is not None and not socket.closed:
        socket.queue.put_nowait(Packet(MESSAGE, encoded))
