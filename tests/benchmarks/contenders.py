"""The systems that are compared: each is a server, and a way to send streams through it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.benchmarks.keyside_stream import KeysideStream
from tests.benchmarks.servers import Keyside, Server, relay
from tests.benchmarks.streams import FramedStarletteStream, Record, SocketIoStream, StarletteStream, Stream, opened

NAMES = {
    "starlette": "bare Starlette relay, a message a line",
    "starlette-frames": "bare Starlette relay, the same frames",
    "socketio": "bare python-socketio relay, an emit a line",
    "keyside": "Keyside, stored and shown",
}


@dataclass
class Contender:
    """One row of the table."""

    name: str
    server: Server
    new: Callable[[Record, int, str], Stream]
    record: Record = field(default_factory=Record)

    async def open(self, count: int, viewers: int = 1) -> list[Stream]:
        """Opens `count` streams, each with its viewers."""
        streams = [self.new(self.record, index * 97, f"{self.name}-{index}") for index in range(count)]
        await opened(streams, viewers)
        return streams


class Field:
    """The running servers of all contenders."""

    def __init__(self, folder: Path) -> None:
        self.starlette = relay("starlette", folder)
        self.socketio = relay("socketio", folder)
        self.keyside = Keyside(folder)
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.keyside.port}", timeout=30)

    async def __aenter__(self) -> "Field":
        await asyncio.gather(*(server.start() for server in self.servers))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        await asyncio.gather(*(server.stop() for server in self.servers))

    @property
    def servers(self) -> tuple[Server, Server, Keyside]:
        return self.starlette, self.socketio, self.keyside

    def contenders(self, *, frames: bool = False) -> list[Contender]:
        """The contenders to compare. With `frames`, the relay that receives whole frames is one of them."""
        port = {server.name: server.port for server in self.servers}
        found = [
            Contender(
                "starlette",
                self.starlette,
                lambda record, start, name: StarletteStream(record, start, port["starlette"], name),
            ),
            Contender(
                "starlette-frames",
                self.starlette,
                lambda record, start, name: FramedStarletteStream(record, start, port["starlette"], name),
            ),
            Contender(
                "socketio",
                self.socketio,
                lambda record, start, name: SocketIoStream(record, start, port["socketio"], name),
            ),
            Contender(
                "keyside",
                self.keyside,
                lambda record, start, name: KeysideStream(record, start, port["keyside"], name, self.http),
            ),
        ]
        return [one for one in found if frames or one.name != "starlette-frames"]


async def finished(streams: list[Stream]) -> None:
    """Ends every answer if the contender has such a thing, checks what was stored, and closes the sockets."""
    answers = [stream for stream in streams if isinstance(stream, KeysideStream)]
    for answer in answers:
        if answer.failure:
            raise RuntimeError(f"a frame was refused: {answer.failure}")
        await answer.finish()
    for stream in streams:
        stream.close()
    await asyncio.sleep(0.2)
