"""A WebSocket of uvicorn that bounds what a client may send before it has signed in, and what waits for it."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from keyside.adapters.listener.strangers import Stranger
from keyside.adapters.listener.unfinished import Unfinished
from keyside.adapters.listener.unread import Unread
from keyside.adapters.listener.watched import Watched
from keyside.services.ports import SIGNED_IN

_MOST_FRAGMENTS = 1000
"""In how many frames one message may come."""
_INVALID_TEXT = 1007
"""The code of a close frame (RFC 6455)."""
MOST_WAITING = 32 * 1024 * 1024
"""Bytes that may wait for a client. One that leaves more unread is cut off."""


class GuardedWebSocket(Watched, WebSocketsSansIOProtocol):
    """uvicorn's protocol with limits."""

    scope: Any
    transport: Any
    frames: list[bytes]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unfinished: Unfinished | None = None
        self._room = 0
        """How many bytes a stranger may still send."""
        self._deadline: asyncio.TimerHandle | None = None
        """When it is cut off if nobody has signed in."""

    @property
    def is_open(self) -> bool:
        """Whether the client's request for a WebSocket was a good one, and nothing has closed it since."""
        return self.handshake_initiated and not self.close_sent

    def guard(
        self, stranger: Stranger, most_bytes: int, seconds: float, unfinished: Unfinished, unread: Unread
    ) -> None:
        """From now on it is a stranger's, until somebody signs in: that is told by the scope's extension."""
        self._leave()
        if self.transport.is_closing():
            stranger.leave()
            return
        self._unfinished = unfinished
        self._unread = unread
        self._stranger = stranger
        self._room = most_bytes
        self._deadline = self.loop.call_later(seconds, self.transport.abort)
        signed_in: Callable[[object], None] = self._signed_in
        self.scope["extensions"][SIGNED_IN] = signed_in

    def _signed_in(self, account: object) -> None:
        self._account = account
        self._leave()

    def _leave(self) -> None:
        if self._stranger is not None:
            self._stranger.leave()
            self._stranger = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._is_too_much(len(data)):
            self.transport.abort()
        else:
            self.read(data)

    def read(self, data: bytes) -> None:
        """Takes what was received."""
        if self._unfinished is not None:
            self._unfinished.grow(self, len(data))
        super().data_received(data)

    def _is_too_much(self, size: int) -> bool:
        """Whether a stranger sends more than may be, or a client leaves too much unread, such as answers to pings."""
        if self._stranger is not None:
            self._room -= size
            if self._room < 0:
                return True
        return bool(self.transport.get_write_buffer_size() > MOST_WAITING)

    async def send(self, message: Any) -> None:
        """Sends what the application says."""
        size = len(message.get("text") or message.get("bytes") or "")
        self._coming += size
        try:
            await super().send(message)
        finally:
            self._coming -= size
        self.wrote(size)

    def send_receive_event_to_app(self) -> None:
        """A whole message has come. uvicorn would log a traceback of text that is none."""
        self._is_whole()
        if self.curr_msg_data_type == "text" and not _is_text(b"".join(self.frames)):
            self.frames = []
            if self.conn.state is State.OPEN:
                self.conn.send_close(_INVALID_TEXT)
                self.handle_parser_exception()
            return
        super().send_receive_event_to_app()

    def _is_whole(self) -> None:
        if self._unfinished is not None:
            self._unfinished.done(self)

    def handle_cont(self, event: Any) -> None:
        """A further frame of a message."""
        if len(self.frames) >= _MOST_FRAGMENTS:
            self.transport.abort()
            return
        super().handle_cont(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._leave()
        self._is_whole()
        super().connection_lost(exc)
        # What refers to each other stays in memory for a while, so nothing large is left in it, and no circle.
        self.frames = []
        self.conn.reader.discard()
        self.conn.parser.close()  # it refers to what refers to it
        self.resume_writing()

    def on_task_complete(self, task: Any) -> None:
        """The application has ended. What it was given of the connection refers to it, and would keep it in memory."""
        super().on_task_complete(task)
        self.scope["extensions"].clear()


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
