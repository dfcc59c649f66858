"""The measurements. Each takes a few seconds; where servers are compared they take turns within one measurement."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import httpx

from tests.benchmarks.contenders import Contender, Field, finished
from tests.benchmarks.keyside_stream import PATH, KeysideStream
from tests.benchmarks.pace import Upstreams, drained
from tests.benchmarks.servers import Keyside, Server, WalWatch
from tests.benchmarks.streams import Record, Stream, opened
from tests.benchmarks.websocket import Socket, SocketIo

In = TypeVar("In")
Out = TypeVar("Out")

Row = dict[str, Any]
"""One contender in one measurement; what it holds is said in the README."""

WINDOW = 32
"""Tokens of a stream that may be under way when it goes as fast as it can."""


class Phase:
    """What a server did between `begin` and `end`, added up over the rounds."""

    def __init__(self, contender: Contender, streams: Sequence[Stream]) -> None:
        self.contender = contender
        self.streams = streams
        self.seconds = self.cpu = self.own = 0.0
        self.late = 0.0
        self.received = self.files = self.disk = 0
        """Bytes from the producers' lines, into files, and to the disk."""
        self.commits = self.pages = 0
        self.from_send: list[float] = []
        self.from_token: list[float] = []
        self.tokens = 0
        self._wal = WalWatch(contender.server.data / "keyside.db") if isinstance(contender.server, Keyside) else None

    def begin(self) -> None:
        server = self.contender.server
        self._before = (perf_counter(), server.cpu_seconds, time.process_time(), *self._bytes())
        if self._wal is not None:
            self._wal.start()
        self.contender.record.clear()
        self.contender.record.on = True

    def end(self) -> None:
        record, server = self.contender.record, self.contender.server
        record.on = False
        at, cpu, own, received, files, disk = self._before
        self.seconds += perf_counter() - at
        self.cpu += server.cpu_seconds - cpu
        self.own += time.process_time() - own
        now = self._bytes()
        self.received += now[0] - received
        self.files += now[1] - files
        self.disk += now[2] - disk
        self.tokens += record.tokens
        self.from_send += record.from_send
        self.from_token += record.from_token
        if self._wal is not None:
            self._wal.stop()
            self.commits += self._wal.commits
            self.pages += self._wal.pages

    def _bytes(self) -> tuple[int, int, int]:
        """So far: what the producers sent, what the server wrote into files (not into sockets), and to the disk."""
        server = self.contender.server
        got = sum(socket.got_bytes for stream in self.streams for socket in stream.sockets)
        sent = sum(stream.sockets[0].sent_bytes for stream in self.streams)
        return sent, server.written("wchar") - got, server.written("write_bytes")

    def row(self) -> Row:
        """The figures; `tokens` counts each viewer's."""
        tokens = max(self.tokens, 1)
        found: Row = {
            "tokens_per_s": self.tokens / self.seconds,
            "cpu_us_per_token": self.cpu / tokens * 1e6,
            "server_cpu": self.cpu / self.seconds,
            "load_cpu": self.own / self.seconds,
            "load_late_ms": self.late * 1e3,
            "p50_ms": _quantile(self.from_send, 0.5) * 1e3,
            "p99_ms": _quantile(self.from_send, 0.99) * 1e3,
            "token_p50_ms": _quantile(self.from_token, 0.5) * 1e3,
            "token_p99_ms": _quantile(self.from_token, 0.99) * 1e3,
        }
        if self._wal is not None and self.commits:
            found |= {
                "received_bytes_per_s": self.received / self.seconds,
                "written_per_received": self.files / self.received,
                "disk_bytes_per_received": self.disk / self.received,
                "commits_per_s": self.commits / self.seconds,
                "pages_per_commit": self.pages / self.commits,
            }
        return found


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else 0.0


async def _in_turns(
    contenders: list[Contender],
    opened: dict[str, list[Stream]],
    rounds: int,
    work: Callable[[Phase], Awaitable[None]],
) -> dict[str, Row]:
    phases = {one.name: Phase(one, opened[one.name]) for one in contenders}
    for _ in range(rounds):
        for phase in phases.values():
            # A pause of this process in the middle of it would bring all streams into step.
            gc.collect()
            gc.disable()
            await work(phase)
            gc.enable()
            await drained(phase.streams)
    return {name: phase.row() for name, phase in phases.items()}


async def paced(
    field: Field, names: Sequence[str], count: int, viewers: int, rounds: int, seconds: float
) -> dict[str, Row]:
    """`count` streams of 50 tokens a second, with so many viewers each."""
    contenders = field.contenders(names)
    streams = {one.name: await one.open(count, viewers) for one in contenders}

    async def work(phase: Phase) -> None:
        upstreams = Upstreams(phase.streams)
        upstreams.start()
        await asyncio.sleep(min(1.0, seconds / 2))
        upstreams.late = 0.0
        phase.begin()
        await asyncio.sleep(seconds)
        phase.end()
        phase.late = max(phase.late, upstreams.late)
        upstreams.stop()

    rows = await _in_turns(contenders, streams, rounds, work)
    for found in streams.values():
        await finished(found)
    return rows


async def fastest(field: Field, names: Sequence[str], count: int, rounds: int, seconds: float) -> dict[str, Row]:
    """As many tokens as go through, with at most `WINDOW` of a stream under way."""
    contenders = field.contenders(names)
    streams = {one.name: await one.open(count) for one in contenders}

    async def work(phase: Phase) -> None:
        for stream in phase.streams:
            stream.window = WINDOW
            stream.refill()
        await asyncio.sleep(min(1.0, seconds / 2))
        phase.begin()
        await asyncio.sleep(seconds)
        phase.end()
        for stream in phase.streams:
            stream.window = 0

    rows = await _in_turns(contenders, streams, rounds, work)
    for found in streams.values():
        await finished(found)
    return rows


# --- what does not stream --------------------------------------------------------------------------


async def tabs(field: Field, count: int) -> dict[str, Row]:
    """Idle viewers: how fast they connect, and what each of them holds of the server's memory.

    A viewer of Keyside connects first, and opens a chat when all are there: that is counted for itself.
    """
    made = await field.http.post("/api/chats", json={})
    chat = b'{"chat_id":%d}' % made.raise_for_status().json()["id"]

    async def starlette(index: int) -> Socket:
        socket = Socket()
        await socket.open(field.servers["starlette"].port, f"/view/{index}")
        return socket

    async def socketio(index: int, server: str = "socketio") -> Socket:
        socket = SocketIo()
        await socket.connect(field.servers[server].port, "/socket.io")
        await socket.call("join", b'"%d"' % index)
        return socket

    async def node(index: int) -> Socket:
        return await socketio(index, "node")

    async def keyside(index: int) -> Socket:
        socket = SocketIo()
        await socket.connect(field.keyside.port, PATH)
        return socket

    async def opens(socket: Socket) -> None:
        assert isinstance(socket, SocketIo)
        await socket.call("chat:open", chat)

    return {
        "starlette": await _connect_all(field.servers["starlette"], starlette, count),
        "socketio": await _connect_all(field.servers["socketio"], socketio, count),
        "node": await _connect_all(field.servers["node"], node, count),
        "keyside": await _connect_all(field.keyside, keyside, count, opens),
    }


async def _connect_all(
    server: Server,
    connect: Callable[[int], Awaitable[Socket]],
    count: int,
    opens: Callable[[Socket], Awaitable[None]] | None = None,
) -> Row:
    sockets = [await connect(-1)]
    await asyncio.sleep(0.5)
    memory, cpu = server.memory, server.cpu_seconds
    connecting = await _fifty_at_once(range(count), connect, sockets)
    row: Row = {
        "connects_per_s": count / connecting,
        "cpu_us_per_connect": (server.cpu_seconds - cpu) / count * 1e6,
    }
    if opens is not None:
        row["opens_per_s"] = count / await _fifty_at_once(sockets[1:], opens, [])
    await asyncio.sleep(2)
    row["memory_per_tab_kib"] = (server.memory - memory) / count / 1024
    for socket in sockets:
        socket.close()
    await asyncio.sleep(1)
    return row


async def _fifty_at_once(inputs: Iterable[In], work: Callable[[In], Awaitable[Out]], done: list[Out]) -> float:
    """Works on all of them, and returns the seconds that it took."""
    gate = asyncio.Semaphore(50)

    async def one(value: In) -> None:
        async with gate:
            done.append(await work(value))

    at = perf_counter()
    await asyncio.gather(*map(one, inputs))
    return perf_counter() - at


async def starts(servers: Sequence[Server], times: int) -> dict[str, Row]:
    """From the call of the program to its first 200, and its memory when it has nothing to do.

    The first start, which makes the database, counts for itself.
    """
    rows = {}
    for server in servers:
        first = await server.start()
        await server.stop()
        found = []
        for _ in range(times):
            found.append(await server.start())
            await asyncio.sleep(1)
            memory = server.memory
            await server.stop()
        rows[server.name] = {
            "first_start_s": first,
            "start_s": sorted(found)[len(found) // 2],
            "idle_memory_mb": memory / 1e6,
        }
    return rows


async def recovery(folder: Path, count: int) -> Row:
    """kill -9 with `count` answers in hand: until the first 200, and until each of them goes on. All end whole."""
    server = Keyside(folder)
    await server.start()
    http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30)
    record = Record()
    streams = [KeysideStream(record, index * 97, server.port, f"r{index}", http) for index in range(count)]
    try:
        await opened(list(streams), 1)
        upstreams = Upstreams(streams)
        upstreams.start()
        await asyncio.sleep(2)
        server.kill()
        at = perf_counter()
        ready, *resumed = await asyncio.gather(server.start(), *(_timed(stream, at) for stream in streams))
        await asyncio.sleep(1)
        upstreams.stop()
        await asyncio.sleep(0.5)
        tokens = sum(stream.expected for stream in streams)
        await finished(list(streams))
    finally:
        await http.aclose()
        await server.stop()
    return {
        "runs": count,
        "first_200_s": ready,
        "first_resumed_s": min(resumed),
        "all_resumed_s": max(resumed),
        "tokens_whole": tokens,
    }


async def _timed(stream: KeysideStream, since: float) -> float:
    await stream.resume(30)
    return perf_counter() - since
