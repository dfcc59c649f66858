"""The server of Socket.IO with little work for each event; see `private_parts.py`."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from keyside.adapters.listener.unread import Unread
from keyside.adapters.socketio.in_hand import InHand, in_hand_of
from keyside.adapters.socketio.packets import answer, plain_event, refusal
from keyside.adapters.socketio.stock import StockServer
from keyside.adapters.socketio.transport import LeanTransport
from keyside.adapters.socketio.unconnected import ConnectLimits
from keyside.services.later import Later


class LeanServer(StockServer):
    """Socket.IO that hands an event straight to its handler and writes the acknowledgement straight to the socket.

    A handler may be a coroutine function: then a task runs it. It may also be a plain function that returns the answer,
    or it as `Later`: then there is no task, and the acknowledgement is written when the answer is there. That holds for
    `sio.on("*", handler)`, too, which takes all other events and is called with the event's name first.
    """

    def __init__(self, connect_limits: ConnectLimits, unread: Unread, **options: Any) -> None:
        self._direct: dict[str, Callable[..., Any]] = {}
        self._answering: set[asyncio.Task[Any]] = set()
        super().__init__(connect_limits, unread, take_event=self.take_event, **options)

    def _engineio_server_class(self) -> type[LeanTransport]:
        return LeanTransport

    def on(self, event: str, handler: Callable[..., Any] | None = None, namespace: str | None = None) -> Any:
        """See `AsyncServer`."""
        if handler is not None and namespace in (None, "/"):
            self._direct[event] = handler
        return super().on(event, handler, namespace)

    def take_event(self, socket: Any, packet: bytes) -> bool:
        """Hands an ordinary event of an Engine.IO socket to its handler.

        Returns `False` for every other packet, and does nothing then.
        """
        event = plain_event(packet)
        if event is None:
            return False
        session_id = self.manager.sid_from_eio_sid(socket.sid, "/")
        if not self.manager.is_connected(session_id, "/"):
            return False
        number, (name, *arguments) = event
        hand = in_hand_of(socket)
        try:
            said = self._handle(name, session_id, arguments)
            if type(said) is Later:
                hand.begin_frame(len(packet))
                said.tell(partial(self._frame_is_answered, socket, number, hand, len(packet)))
            elif inspect.iscoroutine(said):
                hand.begin_event(len(packet))
                self._answer_when_done(socket, number, hand, len(packet), said)
            else:
                self._answer(socket, number, said)
        except Exception:
            self._failed(socket, number)
        return True

    def _handle(self, name: str, session_id: str, arguments: list[Any]) -> Any:
        handler = self._direct.get(name)
        if handler is not None:
            return handler(session_id, *arguments)
        return self._direct["*"](name, session_id, *arguments)

    def _frame_is_answered(self, socket: Any, number: int | None, hand: InHand, size: int, value: Any) -> None:
        hand.end_frame(size)
        self._answer(socket, number, value)

    def _answer_when_done(
        self, socket: Any, number: int | None, hand: InHand, size: int, work: Coroutine[Any, Any, Any]
    ) -> None:
        task = asyncio.ensure_future(work)
        self._answering.add(task)

        def done(task: asyncio.Task[Any]) -> None:
            self._answering.discard(task)
            hand.end_event(size)
            if task.cancelled():
                return
            try:
                self._answer(socket, number, task.result())
            except Exception:
                self._failed(socket, number)

        task.add_done_callback(done)

    def _failed(self, socket: Any, number: int | None) -> None:
        """Logs the exception that is being handled, and acknowledges the event all the same (C4)."""
        self.logger.exception("an event could not be handled")
        self._answer(socket, number, refusal("internal"))

    def _answer(self, socket: Any, number: int | None, value: Any) -> None:
        """Acknowledges an event that asks for it, if the socket that sent it is still there."""
        if number is not None and not socket.closed:
            socket.queue.put_nowait(answer(number, value))

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        """What came by polling, and what is no ordinary event."""
        socket = self.eio.sockets.get(eio_sid)
        if socket is not None and isinstance(data, str):
            await in_hand_of(socket).room()
            if socket.closed or self.take_event(socket, data.encode(errors="replace")):
                return
        await super()._handle_eio_message(eio_sid, data)
