"""Calls to a socket that end at once when the socket goes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import socketio

from keyside.adapters.socketio.backlog import MAX_BACKLOG
from keyside.services.ports import Gone

Make = Callable[[], Awaitable[dict[str, Any]]]

_LOOK_SECONDS = 0.05
"""How often it is looked whether a socket has read what waits for it."""


class _Calls:
    """What both ways of calling share: who waits, and what becomes of them. `gone` must be told of every disconnect."""

    def __init__(self, sio: socketio.AsyncServer) -> None:
        self._sio = sio
        self._waiting: dict[str, set[asyncio.Future[Any]]] = {}
        self._tells: set[asyncio.Task[None]] = set()
        self._turns: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def _turn(self, session_id: str, gone: asyncio.Future[Any]) -> AsyncIterator[None]:
        """Lets one call at a time make its message, as soon as little waits for the socket. Raises `Gone`."""
        async with self._turns.setdefault(session_id, asyncio.Lock()):
            while not gone.done() and self._backlog(session_id) > MAX_BACKLOG:
                await asyncio.wait((gone,), timeout=_LOOK_SECONDS)
            if gone.done():
                gone.result()
            yield

    def _backlog(self, session_id: str) -> int:
        """Bytes that wait for a socket."""
        socket = self._sio.eio.sockets.get(self._sio.manager.eio_sid_from_sid(session_id, "/"))
        return 0 if socket is None else int(socket.queue.waiting)

    def _wait(self, session_id: str) -> asyncio.Future[Any]:
        """A future that fails when the socket goes. Raises `Gone` if it has gone already."""
        if not self._sio.manager.is_connected(session_id, "/"):
            raise Gone(session_id)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(session_id, set()).add(future)
        return future

    def _forget(self, session_id: str, future: asyncio.Future[Any]) -> None:
        waiting = self._waiting.get(session_id, set())
        waiting.discard(future)
        if not waiting:
            self._waiting.pop(session_id, None)
        future.cancel()

    def tell(self, session_id: str, message: dict[str, Any]) -> None:
        """See `Calls`."""
        task = asyncio.ensure_future(self._sio.emit("events", message, to=session_id))
        self._tells.add(task)
        task.add_done_callback(self._tells.discard)

    def gone(self, session_id: str) -> None:
        """Fails the calls that wait for a socket that is gone."""
        self._turns.pop(session_id, None)
        for future in self._waiting.pop(session_id, set()):
            if not future.done():
                future.set_exception(Gone(session_id))


class SocketCalls(_Calls):
    """`Calls` by an event with a callback, which resolves the future that the caller waits for."""

    async def call(self, session_id: str, make: Make) -> Any:
        """See `Calls`."""
        answer = self._wait(session_id)
        callback = _into(answer)
        try:
            async with self._turn(session_id, answer):
                await self._sio.emit("events", await make(), to=session_id, callback=callback)
            return await answer
        finally:
            self._sio.manager.forget_callback(session_id, callback)
            self._forget(session_id, answer)


class StockCalls(_Calls):
    """`Calls` by the library's own `call`. It does not notice that a socket goes, so a future beside it does."""

    async def call(self, session_id: str, make: Make) -> Any:
        """See `Calls`."""
        gone = self._wait(session_id)
        calling: asyncio.Future[Any] | None = None
        try:
            async with self._turn(session_id, gone):
                calling = asyncio.ensure_future(self._call(session_id, await make()))
                await asyncio.sleep(0)  # with its first step the message waits for the socket, and counts there
            await asyncio.wait((calling, gone), return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                return calling.result()
            return gone.result()
        finally:
            if calling is not None:
                calling.cancel()
            self._forget(session_id, gone)

    def _call(self, session_id: str, message: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        call: Coroutine[Any, Any, Any] = self._sio.call("events", message, to=session_id, timeout=None)
        return call


def _into(answer: asyncio.Future[Any]) -> Callable[..., None]:
    def callback(*args: Any) -> None:
        if not answer.done():
            answer.set_result(args[0] if args else None)

    return callback
