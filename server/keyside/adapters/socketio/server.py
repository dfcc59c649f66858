"""Makes the Socket.IO server, and the ASGI application at its endpoint."""

import logging
from functools import partial
from typing import Any, Literal

import socketio
from engineio.payload import Payload
from starlette.types import ASGIApp, Receive, Scope, Send

from keyside.adapters.socketio.codec import Json
from keyside.adapters.socketio.packets import REFUSED, ServerPacket, refusal
from keyside.adapters.socketio.transport import LeanServer, Manager, StockServer
from keyside.protocol.wire import MAX_PACKET

PATHS = frozenset({"/ws", "/ws/socket.io"})
"""Where clients connect (C1)."""

TransportName = Literal["lean", "stock"]
"""`lean` overrides private parts of the libraries for speed (`transport.py`); `stock` runs their own classes."""


def make_server(transport: TransportName, cors_allowed_origins: Any) -> socketio.AsyncServer:
    """A Socket.IO server with the project's limits and timings."""
    Payload.max_decode_packets = 1000  # what a polling client sends beyond it would be lost without a word
    kind = LeanServer if transport == "lean" else StockServer
    server = kind(
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
    for name, code in REFUSED.items():
        server.on(name, partial(_refuse, code))
    server.eio.logger.addFilter(_in_one_line)
    return server


class Endpoint:
    """Pure ASGI: what comes to one of `PATHS` goes to Socket.IO, everything else to the other application.

    The library's own `ASGIApp` would serve every path below `/ws`, and leave a client's malformed packet to the ASGI
    server, which logs a traceback of it.
    """

    def __init__(self, sio: socketio.AsyncServer, other: ASGIApp) -> None:
        self._sio = sio
        self._other = other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one socket, or the server's start and end."""
        if scope["type"] == "lifespan" or scope["path"].removesuffix("/") not in PATHS:
            await self._other(scope, receive, send)
            return
        try:
            await self._sio.handle_request(scope, receive, send)
        except ValueError as error:
            self._sio.eio.logger.warning("a socket was closed for what it sent: %r", error)


def _refuse(code: str, _session_id: str, *_: object) -> dict[str, Any]:
    return refusal(code)


def _in_one_line(record: logging.LogRecord) -> bool:
    """A filter for the transport's log: what clients send wrongly is no reason for a traceback."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]!r}", None
        record.exc_info = record.exc_text = None
    return True
