"""Makes the Socket.IO server, and the ASGI application at its endpoint."""

import logging
from functools import partial
from typing import Any, Literal
from urllib.parse import parse_qs

from engineio.packet import NOOP, UPGRADE, packet_names
from engineio.payload import Payload
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyside.adapters.listener.unread import Unread
from keyside.adapters.log_lines import bounded
from keyside.adapters.socketio.codec import Json
from keyside.adapters.socketio.lean import LeanServer
from keyside.adapters.socketio.packets import REFUSED, ServerPacket, refusal
from keyside.adapters.socketio.stock import Manager, StockServer
from keyside.adapters.socketio.unconnected import ConnectLimits
from keyside.protocol.wire import MAX_PACKET

_UPGRADE = str(UPGRADE)
"""The packet with which a client goes over from polling to a WebSocket."""
PATHS = frozenset({"/ws", "/ws/socket.io"})
"""Where clients connect (C1)."""

TransportName = Literal["lean", "stock"]
"""`lean` overrides private parts of the libraries for speed (`transport.py`); `stock` runs their own classes."""

_FAULT_OF_A_CLIENT = "(further occurrences of this error"
"""Stands in what Engine.IO logs of a request that it refuses."""
log = bounded(__name__)


def _in_one_line(record: logging.LogRecord) -> bool:
    """A filter for the libraries' log: what clients send wrongly is no reason for a traceback, and no error."""
    if _FAULT_OF_A_CLIENT in str(record.msg):
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]!r}", None
        record.exc_info = record.exc_text = None
    return True


_libraries_log = logging.getLogger("keyside.transport")
"""In the place of the libraries' own loggers, which write to stderr by themselves."""
_libraries_log.setLevel(logging.ERROR)  # below that they show every packet
_libraries_log.addFilter(_in_one_line)
bounded(_libraries_log.name)


def make_server(
    transport: TransportName, connect_limits: ConnectLimits | None = None, unread: Unread | None = None
) -> StockServer:
    """A Socket.IO server with the project's limits and timings. Which origins may connect is not its business."""
    Payload.max_decode_packets = 1000  # what a polling client sends beyond it would be lost without a word
    packet_names[NOOP + 1 :] = ["unknown"] * 3  # of a digit without a name the library would log an error
    kind = LeanServer if transport == "lean" else StockServer
    server = kind(
        connect_limits or ConnectLimits(),
        unread or Unread(),
        async_mode="asgi",
        client_manager=Manager(),
        json=Json,
        serializer=ServerPacket,
        cors_allowed_origins=[],  # the library neither checks an Origin then, nor sends one back
        max_http_buffer_size=MAX_PACKET,
        ping_interval=10,
        ping_timeout=10,
        http_compression=False,
        async_handlers=True,
        logger=_libraries_log,
        engineio_logger=_libraries_log,
    )
    for name, code in REFUSED.items():
        server.on(name, partial(_refuse, code))
    return server


class Endpoint:
    """Pure ASGI: what comes to one of `PATHS` goes to Socket.IO, everything else to the other application.

    The library's own `ASGIApp` would serve every path below `/ws`, and leave a client's malformed packet to the ASGI
    server, which logs a traceback of it.
    """

    def __init__(self, sio: StockServer, other: ASGIApp) -> None:
        self._sio = sio
        self._other = other

    def takes(self, scope: Scope) -> bool:
        """Whether a request goes to Socket.IO."""
        return scope["type"] != "lifespan" and scope["path"].removesuffix("/") in PATHS

    def session_of(self, scope: Scope) -> str:
        """The id of the session that a request of a polling client names; empty where there is none."""
        return self._sio.manager.sid_from_eio_sid(_transport_id(scope), "/") or ""

    def most_bytes(self, scope: Scope) -> int:
        """The most bytes that a request of a polling client may have."""
        is_signed_in = self._sio.is_signed_in(_transport_id(scope))
        return MAX_PACKET if is_signed_in else self._sio.connect_limits.bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one socket, or the server's start and end."""
        if not self.takes(scope):
            await self._other(scope, receive, send)
            return
        incoming = _Incoming(self._sio, scope, receive)
        self._sio.forget_if_closed(_transport_id(scope))
        try:
            await self._sio.handle_request(scope, incoming.receive, send)
        except ValueError as error:
            log.warning("a socket was closed for what it sent: %r", error)
        finally:
            incoming.let_go()


class _Incoming:
    """What comes of one request or socket."""

    def __init__(self, sio: StockServer, scope: Scope, receive: Receive) -> None:
        self._sio = sio
        self._scope = scope
        self._receive: Receive | None = receive
        self._transport_id = _transport_id(scope) if scope["type"] == "websocket" else ""

    async def receive(self) -> Message:
        """As the ASGI server's. It sees when a session that began by polling goes on over this WebSocket."""
        assert self._receive is not None
        message = await self._receive()
        if self._transport_id and message.get("text") == _UPGRADE:
            self._sio.moves_to(self._transport_id, self._scope)
        return message

    def let_go(self) -> None:
        """Nothing comes any more. The library refers to this for longer, and would keep the whole connection."""
        self._receive = None
        self._scope = {}


def _transport_id(scope: Scope) -> str:
    """The session of Engine.IO that a request names."""
    query = parse_qs(str(scope["query_string"], "latin-1"))
    return query.get("sid", [""])[0]


def _refuse(code: str, _session_id: str, *_: object) -> dict[str, Any]:
    return refusal(code)
