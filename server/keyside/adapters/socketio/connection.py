"""A WebSocket of uvicorn that hands messages over and takes frames without a queue or a task in between."""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

DIRECT = "keyside.direct"
"""The name of the ASGI extension: the value is the `Connection` itself."""


class Connection(WebSocketsSansIOProtocol):
    """uvicorn's protocol, until somebody sets `on_message`; from then on text messages go there."""

    scope: Any
    frames: list[bytes]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_message: Callable[[bytes], None] | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    def handle_connect(self, event: Any) -> None:
        """Offers this connection to the application."""
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["extensions"][DIRECT] = self

    def send_receive_event_to_app(self) -> None:
        """A whole message has come."""
        if self.on_message is None or self.close_sent:
            super().send_receive_event_to_app()
            return
        frames, self.frames = self.frames, []
        if self.curr_msg_data_type == "text":
            self.on_message(bytes(frames[0]) if len(frames) == 1 else b"".join(frames))

    def write(self, frame: bytes) -> None:
        """Sends a frame, together with all others of this turn of the event loop, in one system call."""
        if not self._unsent:
            self.loop.call_soon(self.flush)
        self._unsent.append(frame)
        self._unsent_bytes += len(frame)

    def flush(self) -> None:
        """Sends the frames that were gathered, if the connection still takes any."""
        frames, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if frames and not (self.close_sent or self.disconnected or self.transport.is_closing()):
            self.transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def shutdown(self) -> None:
        """The server ends: what was said before that is sent first."""
        self.flush()
        super().shutdown()

    @property
    def waiting(self) -> int:
        """Bytes that have not left yet."""
        return 0 if self.disconnected else self._unsent_bytes + self.transport.get_write_buffer_size()

    def read_on(self, reading: bool) -> None:
        """Stops or continues to read from the client."""
        if not self.disconnected:
            (self.transport.resume_reading if reading else self.transport.pause_reading)()

    def end(self) -> None:
        """Lets the application's `receive` return, as if the client had gone."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1000})
