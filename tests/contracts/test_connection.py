"""A WebSocket connection of the lean transport, on bytes alone: nothing is lost where its reader takes over."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from keyside.adapters.socketio.connection import Connection

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

    def write(self, data: Any) -> None:
        """Nobody reads it."""

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        """There is always room."""


async def nothing(_scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.sleep(60)


def frame(payload: bytes) -> bytes:
    return bytes([0x81, 0x80 | len(payload)]) + NO_MASK + payload


@pytest.mark.parametrize("early", range(len(frame(b"first")) + len(frame(b"second")) + 1))
async def test_whatever_came_before_the_reader_is_there_the_rest_is_read_whole(early: int) -> None:
    config = Config(nothing, ws=Connection, log_level="critical")
    config.load()
    connection = Connection(config=config, server_state=ServerState(), app_state={})
    connection.connection_made(Pipe())
    connection.data_received(REQUEST)
    await asyncio.sleep(0)
    data = frame(b"first") + frame(b"second") + frame(b"third")
    read: list[bytes] = []
    if early:
        connection.data_received(data[:early])
    connection.on_message = read.append
    connection.data_received(data[early:])
    queued = [event["text"].encode() for event in _events(connection) if event["type"] == "websocket.receive"]
    assert queued + read == [b"first", b"second", b"third"]
    for task in list(connection.tasks):
        task.cancel()


def _events(connection: Connection) -> list[Any]:
    return [connection.queue.get_nowait() for _ in range(connection.queue.qsize())]
