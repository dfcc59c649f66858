"""One stream: a producer of lines, the server under test, and viewers that count what reaches them.

Every contender gets the same words at the same times. What differs is only how a producer sends and a viewer reads.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import perf_counter

from tests.benchmarks.text import LINES, POOL, QUOTED
from tests.benchmarks.websocket import Socket, SocketIo


class Record:
    """What viewers saw while recording is on."""

    def __init__(self) -> None:
        self.on = False
        self.tokens = 0
        self.from_send: list[float] = []
        """Seconds from the sending of the message that held a token until a viewer had it."""
        self.from_token: list[float] = []
        """Seconds from the production of a token until a viewer had it, with the wait for the next frame."""

    def clear(self) -> None:
        self.tokens = 0
        self.from_send = []
        self.from_token = []


class Stream(ABC):
    """One stream. `made`, `sent` and each viewer's `seen` count the tokens that got that far."""

    def __init__(self, record: Record, start: int) -> None:
        self.record = record
        self.start = start
        """The position in the pool of lines at which this stream begins."""
        self.made: list[float] = []
        self.sent: list[float] = []
        self.seen: list[int] = []
        self.window = 0
        """The most tokens in flight while the stream runs as fast as possible; 0: only `make` produces tokens."""
        self.most = 500
        """The number of tokens in flight at which the upstream waits, so that a slow server is not flooded."""

    @abstractmethod
    async def open(self, viewers: int) -> None:
        """Connects the producer and the viewers."""

    @abstractmethod
    def make(self, count: int = 1) -> None:
        """The upstream says the next tokens."""

    @property
    @abstractmethod
    def sockets(self) -> Sequence[Socket]:
        """Its connections, the producer's first."""

    def close(self) -> None:
        """Closes its sockets."""
        for socket in self.sockets:
            socket.close()

    def under_way(self) -> int:
        """Tokens that were made and did not reach every viewer."""
        return len(self.made) - min(self.seen)

    def refill(self) -> None:
        """Makes as many tokens as the window leaves room for."""
        room = self.window - self.under_way()
        if room > 0:
            self.make(room)

    def saw(self, viewer: int, count: int) -> None:
        """A viewer got its next tokens."""
        first = self.seen[viewer]
        last = self.seen[viewer] = first + count
        record = self.record
        if record.on:
            now = perf_counter()
            record.tokens += count
            record.from_send += [now - at for at in self.sent[first:last]]
            record.from_token += [now - at for at in self.made[first:last]]
        if self.window:
            self.refill()


class _PlainSocket(Socket):
    def __init__(self, saw: Callable[[bytes], None]) -> None:
        super().__init__()
        self._saw = saw

    def on_text(self, payload: bytes) -> None:
        self._saw(payload)


class StarletteStream(Stream):
    """Sends one message for each line; with `framed`, all lines that the window allows in one message."""

    framed = False

    def __init__(self, record: Record, start: int, port: int, room: str) -> None:
        super().__init__(record, start)
        self._port = port
        self._room = room
        self._sockets: list[_PlainSocket] = []

    @property
    def sockets(self) -> Sequence[Socket]:
        return self._sockets

    async def open(self, viewers: int) -> None:
        self.seen = [0] * viewers
        self._sockets = [_PlainSocket(lambda payload: None)]
        self._sockets += [_PlainSocket(self._reader(index)) for index in range(viewers)]
        await self._sockets[0].open(self._port, f"/produce/{self._room}")
        for socket in self._sockets[1:]:
            await socket.open(self._port, f"/view/{self._room}")

    def _reader(self, viewer: int) -> Callable[[bytes], None]:
        if self.framed:
            return lambda payload: self.saw(viewer, payload.count(b"\n"))
        return lambda payload: self.saw(viewer, 1)

    def make(self, count: int = 1) -> None:
        now = perf_counter()
        first = self.start + len(self.made)
        self.made += [now] * count
        self.sent += [now] * count
        lines = [LINES[at % POOL] for at in range(first, first + count)]
        if self.framed:
            self._sockets[0].send(b"\n".join(lines) + b"\n")
        else:
            for line in lines:
                self._sockets[0].send(line)


class FramedStarletteStream(StarletteStream):
    """Sends as many lines in a message as Keyside's frames have. This is the strictest comparison."""

    framed = True

    def refill(self) -> None:
        if self.under_way() == 0:
            self.make(self.window)


class _EventSocket(SocketIo):
    def __init__(self, saw: Callable[[bytes], None]) -> None:
        super().__init__()
        self._saw = saw

    def on_event(self, packet: bytes) -> None:
        self._saw(packet)


class SocketIoStream(Stream):
    """One emit a line."""

    def __init__(self, record: Record, start: int, port: int, room: str) -> None:
        super().__init__(record, start)
        self._port = port
        self._room = room
        self._sockets: list[_EventSocket] = []

    @property
    def sockets(self) -> Sequence[Socket]:
        return self._sockets

    async def open(self, viewers: int) -> None:
        self.seen = [0] * viewers
        self._sockets = [_EventSocket(lambda packet: None)]
        self._sockets += [_EventSocket(self._reader(index)) for index in range(viewers)]
        for socket in self._sockets:
            await socket.connect(self._port, "/socket.io")
            await socket.call("join", b'"%s"' % self._room.encode())

    def _reader(self, viewer: int) -> Callable[[bytes], None]:
        return lambda packet: self.saw(viewer, 1)

    def make(self, count: int = 1) -> None:
        now = perf_counter()
        first = self.start + len(self.made)
        self.made += [now] * count
        self.sent += [now] * count
        for at in range(first, first + count):
            self._sockets[0].send(b'42["line",%s]' % QUOTED[at % POOL])


async def opened(streams: list[Stream], viewers: int, at_once: int = 10) -> None:
    """Opens all streams, a few at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(stream: Stream) -> None:
        async with gate:
            await stream.open(viewers)

    await asyncio.gather(*map(one, streams))
