"""The server of Socket.IO, with the limits that it lacks."""

import asyncio
import inspect
import itertools
import secrets
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any
from weakref import WeakKeyDictionary

import socketio

from keyside.adapters.listener.unread import Unread
from keyside.adapters.socketio.backlog import Backlog
from keyside.adapters.socketio.in_hand import in_hand_of
from keyside.adapters.socketio.packets import refusal
from keyside.adapters.socketio.unconnected import ConnectLimits, Unconnected
from keyside.services.ports import ACCOUNT, SIGNED_IN, SIGNED_OUT


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
    """The library's server. Handlers may return what can be awaited, as they may in `LeanServer`.

    It ends sessions that do not sign in, and reads no more of a socket than it can hold.
    """

    def __init__(self, connect_limits: ConnectLimits, unread: Unread, **options: Any) -> None:
        super().__init__(**options)
        self.eio.create_queue = partial(Backlog, unread)
        self.connect_limits = connect_limits
        self.unconnected = Unconnected(connect_limits, self._end_session)
        self._ending: set[asyncio.Task[None]] = set()

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

    # --- sessions that are not signed in ---------------------------------------------------------

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> Any:
        self.unconnected.begin(eio_sid, environ["asgi.scope"])
        return await super()._handle_eio_connect(eio_sid, environ)

    async def _handle_connect(self, eio_sid: str, namespace: str, data: Any) -> None:
        await super()._handle_connect(eio_sid, namespace, data)
        if self.is_signed_in(eio_sid):
            self.unconnected.leave(eio_sid)
            scope = self.environ[eio_sid]["asgi.scope"]
            socket = self.eio.sockets.get(eio_sid)
            if socket is not None and isinstance(socket.queue, Backlog):
                socket.queue.owner = scope.get(ACCOUNT)
            _tell_listener(scope)

    async def _handle_disconnect(self, eio_sid: str, namespace: str, reason: str | None = None) -> None:
        was_signed_in = self.is_signed_in(eio_sid)
        await super()._handle_disconnect(eio_sid, namespace, reason)
        if was_signed_in:
            self._sign_out(eio_sid)

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """See `AsyncServer`, which leaves the transport open."""
        eio_sid = self.manager.eio_sid_from_sid(sid, namespace or "/")
        await super().disconnect(sid, namespace, ignore_queue)
        self._sign_out(eio_sid)

    def _sign_out(self, transport_id: str) -> None:
        environ = self.environ.get(transport_id)
        if environ is not None:
            self.unconnected.begin(transport_id, environ["asgi.scope"])
            signed_out = environ["asgi.scope"].get("extensions", {}).get(SIGNED_OUT)
            if signed_out is not None:
                signed_out()

    def forget_if_closed(self, transport_id: str) -> None:
        """Forgets a session that has ended. The library does so later, and until then it fails at what is posted."""
        socket = self.eio.sockets.get(transport_id)
        if socket is not None and socket.closed:
            del self.eio.sockets[transport_id]

    def moves_to(self, transport_id: str, scope: Any) -> None:
        """A session that began by polling goes on over a WebSocket, which is a stranger's until it has signed in."""
        socket = self.eio.sockets.get(transport_id)
        if socket is None or socket.upgraded:
            return
        scope[ACCOUNT] = self.environ[transport_id]["asgi.scope"].get(ACCOUNT)
        self.environ[transport_id]["asgi.scope"] = scope
        if self.is_signed_in(transport_id):
            _tell_listener(scope)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        socket = self.eio.sockets.get(eio_sid)
        if socket is not None and isinstance(socket.queue, Backlog):
            socket.queue.let_go()
        await super()._handle_eio_disconnect(eio_sid, reason)
        self.unconnected.leave(eio_sid)

    def is_signed_in(self, transport_id: str) -> bool:
        """Whether the session has signed in by a CONNECT."""
        session_id = self.manager.sid_from_eio_sid(transport_id, "/")
        return bool(self.manager.is_connected(session_id, "/"))

    def _end_session(self, transport_id: str) -> None:
        task = asyncio.ensure_future(self.eio.disconnect(transport_id))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # --- events ----------------------------------------------------------------------------------

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        """The transport waits for this to return, so that nothing more is read while too much is in hand."""
        socket = self.eio.sockets.get(eio_sid)
        if socket is None or socket.closed:
            return
        await in_hand_of(socket).room()
        socket.size_of_last = len(data)
        await super()._handle_eio_message(eio_sid, data)
        await asyncio.sleep(0)  # the task of an event begins, and counts it, before the next message is looked at

    async def _handle_event_internal(
        self, server: Any, sid: str, eio_sid: str, data: list[Any], namespace: str, id: int | None
    ) -> None:
        socket = self.eio.sockets.get(eio_sid)
        if socket is None:
            return
        hand, size = in_hand_of(socket), socket.size_of_last
        is_frame = data[0] not in self.handlers.get(namespace, {})
        if is_frame:
            hand.begin_frame(size)
        else:
            hand.begin_event(size)
        try:
            await super()._handle_event_internal(server, sid, eio_sid, data, namespace, id)
        finally:
            if is_frame:
                hand.end_frame(size)
            else:
                hand.end_event(size)


def _tell_listener(scope: Any) -> None:
    """The connection counts as a stranger's no more."""
    signed_in = scope.get("extensions", {}).get(SIGNED_IN)
    if signed_in is not None:
        signed_in(scope.get(ACCOUNT))


def _awaiting(handler: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The handler as a coroutine function, whatever it returns."""
    if inspect.iscoroutinefunction(handler):
        return handler

    @wraps(handler)
    async def awaited(*arguments: Any) -> Any:
        said = handler(*arguments)
        return await said if inspect.isawaitable(said) else said

    return awaited
