"""An HTTP connection of uvicorn that bounds what a client may send, and how long it may take for it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from keyside.adapters.listener.strangers import Strangers
from keyside.adapters.listener.turns import Turns
from keyside.adapters.listener.unfinished import Unfinished
from keyside.adapters.listener.unread import Unread
from keyside.adapters.listener.watched import Watched
from keyside.adapters.listener.websocket import GuardedWebSocket
from keyside.protocol.errors import failure
from keyside.services.ports import SIGNED_IN, SIGNED_OUT

_MOST_PIPELINED = 16
"""Requests that may wait on one connection for the answer to an earlier one."""
_MORE_SECONDS = 2
"""How much longer than a head a sign-in on a WebSocket may take: the transport closes before that, and says why."""
_UNREADABLE = "The server cannot read this request for a WebSocket: it has a body, or too many or too long headers."


@dataclass(frozen=True)
class Guard:
    """What holds for all connections of a server. Sizes are in bytes, times in seconds."""

    strangers: Strangers
    turns: Turns
    header_bytes: int
    """The most that the head of a request may have: its first line and its headers."""
    header_seconds: float
    """How long the head of a request may take."""
    connect_bytes: int
    """The most that a client may send on a WebSocket before it has signed in."""
    unfinished: Unfinished
    """What has come of messages that are not whole yet."""
    unread: Unread
    """What has not left yet."""
    is_proxy: Callable[[str], bool]
    """Whether the address is of a proxy, which speaks for many clients. Its HTTP connections are not counted."""
    address_of: Callable[[Any], str]
    """The address of the client that a request comes from; it is given the ASGI scope."""
    is_known: Callable[[Any], bool]
    """Whether a request, by its ASGI scope, need not wait for its turn among those of strangers."""


class GuardedHttp(Watched, HttpToolsProtocol):
    """uvicorn's protocol with the limits of a `Guard`."""

    transport: Any
    scope: Any
    cycle: Any
    parser: Any
    headers: Any

    def __init__(self, *, guard: Guard, **options: Any) -> None:
        super().__init__(**options)
        self._guard = guard
        self._unread = guard.unread
        self._head_bytes = 0
        """How much of a request's head has come."""
        self._in_head = True
        self._is_upgrade = False
        """Whether a WebSocket takes the connection over as soon as its turn has come."""
        self._has_body = False
        """Whether something of a body was in what was read last."""
        self._beside_body = 0
        """How many bytes have come since that were no part of it."""
        self._handled: Any = None
        """The request that is handled, or was handled last."""
        self._head_timer: asyncio.TimerHandle | None = None

    # --- coming and going ------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if not self._guard.is_proxy(address):
            self._stranger = self._guard.strangers.add(address, self.cut_off)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._head_is_here()
        self.resume_writing()
        self._leave()
        self._tell_of_the_end()
        super().connection_lost(exc)
        self._let_go()

    def _let_go(self) -> None:
        """Breaks the circles of references, so that nothing of many connections is left for the garbage collector.

        Its pauses would hold up everybody else.
        """
        self.parser = self.cycle = self._handled = None
        self.pipeline.clear()
        self.scope = self.headers = None

    def cut_off(self) -> None:
        """See `Watched`."""
        self._tell_of_the_end()
        self.transport.abort()

    def _tell_of_the_end(self) -> None:
        """Tells the request that is handled; uvicorn tells only the last one that was read."""
        if self._handled is not None and not self._handled.response_complete:
            self._handled.disconnected = True
            self._handled.message_event.set()

    def _signed_in(self, account: object) -> None:
        self._account = account
        self._leave()

    def _leave(self) -> None:
        """Somebody has signed in here, or the connection ends."""
        if self._stranger is not None:
            self._stranger.leave()
            self._stranger = None

    # --- reading ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`. Of a head that is too long no more is read than may be."""
        while data and not self.transport.is_closing():
            if self._in_head:
                part = self._read_head(data)
            else:
                part = self._read_body(data)
            data = data[len(part) :]
            if self._is_upgrade:  # what comes before the answer to it is lost
                return
            if self._in_head and self._head_bytes >= self._guard.header_bytes:
                self._refuse(431, "too_large", "The headers of this request are longer than the server takes.")

    def _read_head(self, data: bytes) -> bytes:
        """Reads as much as a head may still have, and returns it."""
        if self._head_timer is None:
            self._await_head()
        part = data[: self._guard.header_bytes - self._head_bytes]
        self._head_bytes += len(part)
        super().data_received(part)
        return part

    def _read_body(self, data: bytes) -> bytes:
        """Reads it. What stands between and behind the parts of a body counts as no part of it, and is bounded here."""
        self._has_body = False
        super().data_received(data)
        self._beside_body = 0 if self._has_body or self._in_head else self._beside_body + len(data)
        if self._beside_body > self._guard.header_bytes:
            self.transport.close()
        return data

    def _await_head(self) -> None:
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(self._guard.header_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._is_answering:  # the client has begun its next request early
            self._await_head()
        elif self._head_bytes:
            self._refuse(408, "too_slow", "The request did not arrive in time.")
        else:
            self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self._handled is not None and not self._handled.response_complete

    def _head_is_here(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answers a request that is not read, and closes. In the middle of another answer it only closes."""
        if not self._is_answering:
            error = failure(code, message)
            body = orjson.dumps({"error": error.model_dump()})
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"
                b"cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n%b"
                % (status, _PHRASES[status], len(body), body)
            )
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuses what the parser cannot read. uvicorn's own answer has no headers for security."""
        self._refuse(400, "bad_request", "The server cannot read this request: it is no HTTP/1.1.")

    # --- what the parser has read ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """See `httptools.HttpRequestParser`."""
        if len(self.pipeline) >= _MOST_PIPELINED:
            raise httptools.HttpParserError("too many requests at once")
        self._in_head = True
        super().on_message_begin()
        if self._account is None:
            self.scope["extensions"] = {SIGNED_IN: self._signed_in}

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `httptools.HttpRequestParser`. What comes behind a body in chunks is passed over."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """See `httptools.HttpRequestParser`."""
        self._has_body = True
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        self._head_is_here()
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._handled = cycle
        self._in_turn(partial(super()._start_asgi_task, cycle, app))

    def _in_turn(self, begin: Callable[[], None]) -> None:
        """Begins a request, of a stranger when its turn has come."""
        if self._stranger is None or self._guard.is_known(self.scope):
            begin()
        else:
            self._guard.turns.take(self._stranger.address, partial(self._begin, begin))

    def _begin(self, begin: Callable[[], None]) -> bool:
        if self.transport.is_closing():
            return False
        begin()
        return True

    def on_message_complete(self) -> None:
        """See `httptools.HttpRequestParser`. The time for the next head begins with its first byte."""
        super().on_message_complete()
        self._in_head = True

    def handle_websocket_upgrade(self) -> None:
        """The WebSocket takes the connection over, with its place among the strangers."""
        if self._is_answering:  # the answer to an earlier request would never learn that the connection has ended
            self.transport.close()
            return
        self._is_upgrade = True
        self.transport.pause_reading()
        self._in_turn(self._upgrade)

    def _upgrade(self) -> None:
        self.transport.resume_reading()
        super().handle_websocket_upgrade()
        self._let_go()
        socket: GuardedWebSocket = self.transport.get_protocol()
        self._leave()
        if not socket.handshake_initiated:
            self._refuse(400, "bad_request", _UNREADABLE)
        elif socket.is_open:
            self._guard_socket(socket)
            socket.scope["extensions"][SIGNED_OUT] = partial(self._guard_socket, socket)

    def _guard_socket(self, socket: GuardedWebSocket) -> None:
        """Nobody is signed in on the WebSocket, or nobody any more."""
        address = self._guard.address_of(socket.scope)
        stranger = self._guard.strangers.add(address, self.transport.abort)
        seconds = self._guard.header_seconds + _MORE_SECONDS
        socket.guard(stranger, self._guard.connect_bytes, seconds, self._guard.unfinished, self._guard.unread)


_PHRASES = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}
