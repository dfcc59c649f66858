"""Who is compared: a server, and how streams run through it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import httpx

from tests.benchmarks.keyside_stream import KeysideStream
from tests.benchmarks.servers import Keyside, Server, relay
from tests.benchmarks.streams import FramedStarletteStream, Record, SocketIoStream, StarletteStream, Stream, opened

NAMES = {
    "starlette": "bare Starlette relay, a message a line",
    "starlette-frames": "bare Starlette relay, the same frames",
    "socketio": "bare python-socketio relay, an emit a line",
    "node": "bare Node socket.io relay, an emit a line",
    "keyside": "Keyside, stored and shown",
    "keyside-normal": "Keyside with KEYSIDE_SYNC=normal",
    "keyside-stock": "Keyside with KEYSIDE_TRANSPORT=stock",
    "keyside-strangers": "Keyside, while strangers do what they can",
}

_MANY_SOCKETS = {"KEYSIDE_USER_SOCKETS": "3000"}
"""All sockets here are of one account."""
SETTINGS = {
    "keyside": _MANY_SOCKETS,
    "keyside-normal": {**_MANY_SOCKETS, "KEYSIDE_SYNC": "normal"},
    "keyside-stock": {**_MANY_SOCKETS, "KEYSIDE_TRANSPORT": "stock"},
}
"""What each Keyside is told."""

USUAL = ("starlette", "socketio", "node", "keyside")
"""Those that are compared if nobody says otherwise."""

RELAYS: dict[str, Callable[[Record, int, int, str], Stream]] = {
    "starlette": StarletteStream,
    "starlette-frames": FramedStarletteStream,
    "socketio": SocketIoStream,
    "node": SocketIoStream,
}


@dataclass
class Contender:
    """One row of the table."""

    name: str
    server: Server
    new: Callable[[Record, int, str], Stream]
    record: Record = field(default_factory=Record)

    async def open(self, count: int, viewers: int = 1) -> list[Stream]:
        """So many streams, each with its viewers."""
        streams = [self.new(self.record, index * 97, f"{self.name}-{index}") for index in range(count)]
        await opened(streams, viewers)
        return streams


class Field:
    """The servers of some contenders, started."""

    def __init__(self, folder: Path, names: Sequence[str] = USUAL) -> None:
        self.names = names
        self.servers: dict[str, Server] = {}
        for name in names:
            kind = name.removesuffix("-frames")
            if kind not in self.servers:
                settings = SETTINGS.get(name)
                self.servers[kind] = relay(kind, folder) if settings is None else Keyside(folder, name, settings)
        self._https = {
            name: httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30)
            for name, server in self.servers.items()
        }

    async def __aenter__(self) -> "Field":
        await asyncio.gather(*(server.start() for server in self.servers.values()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(http.aclose() for http in self._https.values()))
        await asyncio.gather(*(server.stop() for server in self.servers.values()))

    @property
    def keyside(self) -> Keyside:
        """The Keyside as a user runs it."""
        return cast(Keyside, self.servers["keyside"])

    @property
    def http(self) -> httpx.AsyncClient:
        """A client of that Keyside."""
        return self._https["keyside"]

    def contenders(self, names: Sequence[str]) -> list[Contender]:
        """Those of the names that take part here."""
        return [self._contender(name) for name in names if name in self.names]

    def _contender(self, name: str) -> Contender:
        server = self.servers[name.removesuffix("-frames")]
        if name in SETTINGS:
            http = self._https[name]
            return Contender(
                name, server, lambda record, start, room: KeysideStream(record, start, server.port, room, http)
            )
        stream = RELAYS[name]
        return Contender(name, server, lambda record, start, room: stream(record, start, server.port, room))


async def finished(streams: list[Stream]) -> None:
    """Ends every answer (where the contender knows such a thing), checks what was stored, and closes the sockets."""
    answers = [stream for stream in streams if isinstance(stream, KeysideStream)]
    for answer in answers:
        if answer.failure:
            raise RuntimeError(f"a frame was refused: {answer.failure}")
        await answer.finish()
    for stream in streams:
        stream.close()
    await asyncio.sleep(0.2)
