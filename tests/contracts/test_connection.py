"""A WebSocket connection of the lean transport, on bytes alone: what is read of them, and by whom."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from keyside.adapters.socketio.connection import DIRECT, Connection
from keyside.adapters.socketio.server import make_server

REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
NO_MASK = b"\0\0\0\0"


class Pipe(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        """There is always room."""

    def resume_reading(self) -> None:
        """There is always room."""


async def nothing(_scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.sleep(60)


def frame(payload: bytes, kind: int = 1, *, last: bool = True) -> bytes:
    return bytes([(0x80 if last else 0) | kind, 0x80 | len(payload)]) + NO_MASK + payload


CLOSE = frame(struct.pack("!H", 1000), 8)


@asynccontextmanager
async def connected() -> AsyncIterator[Connection]:
    """A connection with an application."""
    config = Config(nothing, ws=Connection, log_level="critical")
    config.load()
    connection = Connection(config=config, server_state=ServerState(), app_state={})
    connection.connection_made(Pipe())
    connection.data_received(REQUEST)
    await asyncio.sleep(0)
    yield connection
    for task in list(connection.tasks):
        task.cancel()


@pytest.mark.parametrize("early", range(len(frame(b"first")) + len(frame(b"second")) + 1))
async def test_what_came_before_the_reader_is_in_the_queue_and_the_rest_is_read_whole(early: int) -> None:
    data = frame(b"first") + frame(b"second") + frame(b"third")
    read: list[bytes] = []
    async with connected() as connection:
        if early:
            connection.data_received(data[:early])
        connection.read_with(read.append)
        connection.data_received(data[early:])
        queued = [event["text"].encode() for event in _events(connection) if event["type"] == "websocket.receive"]
        assert queued + read == [b"first", b"second", b"third"]


@pytest.mark.parametrize("piece", [1, 3, 1000])
@pytest.mark.parametrize(
    "wrong",
    [
        CLOSE,
        b"\x81\x05" + b"plain",
        frame(b"of no kind", 3),
        frame(b"be", last=False) + frame(b"whole"),
        frame(b"be", last=False) + frame(b"ping", 9) + frame(b"whole"),
        frame(b"be", 2, last=False) + frame(b"whole"),
        frame(b"gins with what goes on", 0),
    ],
    ids=["close", "not masked", "no kind", "within", "within, after a ping", "within bytes", "goes on with nothing"],
)
async def test_nothing_is_read_behind_a_close_or_a_wrong_frame(wrong: bytes, piece: int) -> None:
    data = frame(b"good") + wrong + frame(b"behind")
    read: list[bytes] = []
    async with connected() as connection:
        connection.read_with(read.append)
        for at in range(0, len(data), piece):
            connection.data_received(data[at : at + piece])
        assert read == [b"good"]
        assert connection.close_sent or connection.transport.is_closing()


@pytest.mark.parametrize("piece", [1, 3, 1000])
async def test_messages_in_several_frames_are_read_between_others(piece: int) -> None:
    parts = [
        frame(b"one"),
        frame(b"t", last=False) + frame(b"ping", 9) + frame(b"w", 0, last=False) + frame(b"o", 0),
        frame(b"three"),
        frame(b"bytes", 2, last=False) + frame(b"are passed over", 0),
        frame(b"four"),
    ]
    data = b"".join(parts)
    read: list[bytes] = []
    async with connected() as connection:
        connection.read_with(read.append)
        for at in range(0, len(data), piece):
            connection.data_received(data[at : at + piece])
        assert read == [b"one", b"two", b"three", b"four"]


async def test_what_is_in_the_queue_when_the_reader_takes_over_is_handled() -> None:
    events = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "40"}]

    async def receive() -> dict[str, str]:
        await asyncio.sleep(0)
        return events.pop(0) if events else {"type": "websocket.disconnect"}

    async def send(_event: dict[str, str]) -> None:
        """Nobody waits for it."""

    async with connected() as connection:
        path = {"path": "/ws", "raw_path": b"/ws", "query_string": b"EIO=4&transport=websocket"}
        scope = {
            "type": "websocket",
            "headers": [(b"upgrade", b"websocket"), (b"connection", b"upgrade")],
            "extensions": {DIRECT: connection},
            **path,
        }
        await asyncio.wait_for(make_server("lean").handle_request(scope, receive, send), 10)
        pipe = connection.transport
        assert isinstance(pipe, Pipe)
        assert b'40{"sid":' in pipe.written


def _events(connection: Connection) -> list[Any]:
    return [connection.queue.get_nowait() for _ in range(connection.queue.qsize())]
