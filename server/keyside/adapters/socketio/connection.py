"""A WebSocket of uvicorn that hands messages over and takes frames without a queue or a task in between."""

from collections.abc import Callable
from typing import Any

from keyside.adapters.listener.websocket import MOST_WAITING, GuardedWebSocket
from keyside.adapters.socketio.frames import frame_size, may_become_text, read_text, stays_open

DIRECT = "keyside.direct"
"""The name of the ASGI extension: the value is the `Connection` itself."""


class Connection(GuardedWebSocket):
    """uvicorn's protocol, until `read_with` is called; from then on text messages go there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._take: Callable[[bytes], None] | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._beginning = b""
        """Of a text frame that has not come in full."""
        self._left_to_library = 0
        """How many bytes are still to come of a frame that the library reads."""
        self._in_message = False
        """Whether a message in several frames is under way. The library reads all of it."""
        self._all_to_library = False
        """Whether the library reads everything from now on: the connection ends, or bytes came before `read_with`."""

    def on_task_complete(self, task: Any) -> None:
        """The application has ended."""
        super().on_task_complete(task)
        if self._take is not None:
            self._take = _pass_over

    def read_with(self, take: Callable[[bytes], None]) -> None:
        """Calls `take` with each text message from now on."""
        self._take = take

    def read(self, data: bytes) -> None:
        """Reads text messages in one frame, as nearly all are; every other frame is handed to the library."""
        if self._take is None or self._all_to_library:
            self._all_to_library |= self.handshake_initiated
            super().read(data)
            return
        data, self._beginning = self._beginning + data, b""
        at = 0
        while at < len(data):
            if self.close_sent or self.transport.is_closing():  # only the client's close frame counts now
                self._all_to_library = True
                super().read(data[at:])
                return
            text = None if self._left_to_library or self._in_message else read_text(data, at)
            if text is not None:
                self._take(text[0])
                at = text[1]
            elif self._is_incomplete(data, at):
                self._beginning = data[at:]
                return
            else:
                at = self._to_library(data, at)

    def _is_incomplete(self, data: bytes, at: int) -> bool:
        """Whether a frame begins here of which too little has come."""
        if self._left_to_library:
            return False
        return frame_size(data, at) is None or (not self._in_message and may_become_text(data, at))

    def _to_library(self, data: bytes, at: int) -> int:
        """Hands the library what has come of its frame, and returns where that ends."""
        if not self._left_to_library:
            self._left_to_library = frame_size(data, at) or 0
            self._in_message = stays_open(data[at], self._in_message)
        part = data[at : at + self._left_to_library]
        self._left_to_library -= len(part)
        super().read(part)
        return at + len(part)

    def handle_connect(self, event: Any) -> None:
        """Offers this connection to the application."""
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["extensions"][DIRECT] = self

    def send_receive_event_to_app(self) -> None:
        """A whole message has come."""
        if self._take is None or self.close_sent:
            super().send_receive_event_to_app()
            return
        self._is_whole()
        frames, self.frames = self.frames, []
        if self.curr_msg_data_type == "text":
            self._take(bytes(frames[0]) if len(frames) == 1 else b"".join(frames))

    def write(self, frame: bytes) -> None:
        """Sends a frame, together with all others of this turn of the event loop, in one system call."""
        if not self._unsent:
            self.loop.call_soon(self.flush)
        elif self.waiting > MOST_WAITING:
            self.transport.abort()
            return
        self._unsent.append(frame)
        self._unsent_bytes += len(frame)

    def flush(self) -> None:
        """Sends the frames that were gathered, if the connection still takes any."""
        frames, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if frames and not (self.close_sent or self.disconnected or self.transport.is_closing()):
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            self.transport.write(data)
            self.wrote(len(data))
            if self.transport.get_write_buffer_size() > MOST_WAITING:
                self.transport.abort()

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
        if not (self.disconnected or self.transport.is_closing()):
            (self.transport.resume_reading if reading else self.transport.pause_reading)()

    def end(self) -> None:
        """Lets the application's `receive` return, as if the client had gone."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1000})


def _pass_over(_message: bytes) -> None:
    """Nobody reads messages any more."""
