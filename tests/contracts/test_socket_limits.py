"""What one socket may hold up: events in hand, answers unread, calls to a slow executor, sessions without sign-in."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed

from keyside.adapters.socketio.backlog import DEAF_BACKLOG, MAX_BACKLOG
from keyside.adapters.socketio.in_hand import MOST_EVENTS, MOST_FRAME_BYTES
from keyside.adapters.socketio.unconnected import Unconnected
from keyside.services.later import Later
from tests.contracts.listening import until
from tests.contracts.sockets import CALL, SocketWorld, polling
from tests.edge.live import SECONDS, SHORT_PATH, RawSocket, raw_socket

pytestmark = pytest.mark.rule("C10")
LEAN = pytest.mark.parametrize("kind", ["lean"])
BOTH = pytest.mark.parametrize("kind", ["lean", "stock"])


@pytest.fixture
async def here(kind: Any) -> AsyncIterator[SocketWorld]:
    async with SocketWorld(kind).served() as served:
        yield served


class Slow:
    """A handler that begins, and answers when the test says so."""

    def __init__(self, here: SocketWorld) -> None:
        self.begun: list[int] = []
        self.go_on = asyncio.Event()
        here.sio.on("slow", self.handle)

    async def handle(self, _session_id: str, number: int, *_more: object) -> dict[str, int]:
        self.begun.append(number)
        await self.go_on.wait()
        return {"n": number}


async def settled() -> None:
    """Returns when everything that was sent has come, as far as it is read: the loopback is not slower than this."""
    for _ in range(200):
        await asyncio.sleep(0)


def event(number: int, name: str = "slow", size: int = 0) -> str:
    return f'421{number:05}["{name}",{number},"{"x" * size}"]'


async def answers(socket: RawSocket, count: int) -> list[int]:
    """The numbers of the next answers."""
    return [json.loads((await socket.receive("431"))[8:])[0]["n"] for _ in range(count)]


# --- events in hand ------------------------------------------------------------------------------


@BOTH
async def test_so_many_events_are_in_hand_and_the_others_are_read_later_in_order(here: SocketWorld) -> None:
    slow = Slow(here)
    count = 10 * MOST_EVENTS
    async with raw_socket(here.url) as (socket, _), raw_socket(here.url) as (other, _):
        for number in range(count):
            await socket.send(event(number))
        await other.send(event(99_999))
        await until(lambda: len(slow.begun) >= MOST_EVENTS + 1)
        await settled()
        assert sorted(slow.begun) == [*range(MOST_EVENTS), 99_999]
        slow.go_on.set()
        assert await answers(other, 1) == [99_999]
        assert sorted(await answers(socket, count)) == list(range(count))
    assert [number for number in slow.begun if number != 99_999] == list(range(count))


@BOTH
async def test_no_more_events_are_begun_of_what_comes_by_polling(here: SocketWorld) -> None:
    slow = Slow(here)
    async with polling(here) as (http, path):
        await http.post(path, content="40")
        packets = "\x1e".join(event(number) for number in range(3 * MOST_EVENTS))
        posting = asyncio.ensure_future(http.post(path, content=packets))
        await until(lambda: len(slow.begun) >= MOST_EVENTS)
        await settled()
        assert slow.begun == list(range(MOST_EVENTS))
        slow.go_on.set()
        assert (await posting).status_code == 200
        assert slow.begun == list(range(3 * MOST_EVENTS))


@LEAN
async def test_the_frames_of_a_thousand_runs_pass(here: SocketWorld) -> None:
    waiting: list[Later[Any]] = []

    def frame(_name: str, _session_id: str, number: int, *_more: object) -> Later[Any]:
        waiting.append(Later())
        return waiting[-1]

    here.sio.on("*", frame)
    async with raw_socket(here.url) as (socket, _):
        for number in range(1000):
            await socket.send(event(number, "run", 500))
        await until(lambda: len(waiting) >= 1000)
        for number, answer in enumerate(waiting):
            answer.set({"n": number})
        assert await answers(socket, 1000) == list(range(1000))


@BOTH
async def test_frames_in_hand_are_bounded_by_their_bytes_and_none_is_lost(here: SocketWorld) -> None:
    begun: list[int] = []
    go_on = asyncio.Event()

    async def stored(number: int) -> dict[str, int]:
        await go_on.wait()
        return {"n": number}

    def frame(_name: str, _session_id: str, number: int, *_more: object) -> Any:
        begun.append(number)
        later: Later[Any] = Later()
        if kind_of(here) == "stock":
            return stored(number)
        task = asyncio.ensure_future(stored(number))
        task.add_done_callback(lambda done: later.set(done.result()))
        return later

    here.sio.on("*", frame)
    size = MOST_FRAME_BYTES // 20
    async with raw_socket(here.url) as (socket, _):
        sending = asyncio.ensure_future(send_all(socket, [event(number, "run", size) for number in range(60)]))
        await until(lambda: len(begun) >= 19)
        await settled()
        assert len(begun) <= 21
        go_on.set()
        assert sorted(await answers(socket, 60)) == list(range(60))
        await sending


def kind_of(here: SocketWorld) -> str:
    return "lean" if here._lean else "stock"


async def send_all(socket: RawSocket, packets: list[str]) -> None:
    for packet in packets:
        await socket.send(packet)


# --- pings, and clients that do not read ---------------------------------------------------------


def quick_pings(here: SocketWorld) -> None:
    here.sio.eio.ping_interval = 0.1
    here.sio.eio.ping_timeout = 0.4


@asynccontextmanager
async def silent(here: SocketWorld) -> AsyncIterator[Any]:
    """A socket that has signed in, answers no ping and reads nothing of its own accord."""
    address = here.url.replace("http", "ws", 1) + f"{SHORT_PATH}/?EIO=4&transport=websocket"
    async with websocket(address, max_size=None, max_queue=1, ping_interval=None, close_timeout=1) as connection:
        await connection.recv()
        await connection.send("40")
        await connection.recv()
        yield connection


async def until_closed(connection: Any) -> list[str]:
    """What comes until the server closes."""
    said = []
    async with asyncio.timeout(SECONDS):
        try:
            while True:
                said.append(await connection.recv())
        except ConnectionClosed:
            return said


@LEAN
async def test_the_ping_limit_stands_still_while_the_server_does_not_read(here: SocketWorld) -> None:
    quick_pings(here)
    slow = Slow(here)
    async with silent(here) as held:
        for number in range(2 * MOST_EVENTS):
            await held.send(event(number))
        for _ in range(3):  # so long a socket lives that says nothing
            async with silent(here) as ended:
                await until_closed(ended)
        slow.go_on.set()
        got = 0
        async with asyncio.timeout(SECONDS):
            while got < 2 * MOST_EVENTS:
                packet = await held.recv()
                got += packet.startswith("43")
                if packet == "2":
                    await held.send("3")


@BOTH
async def test_a_client_that_does_not_read_its_answers_is_closed(here: SocketWorld) -> None:
    quick_pings(here)
    answered = 0

    async def large(_session_id: str, *_: object) -> str:
        nonlocal answered
        answered += 1
        return "x" * 500_000

    gone = asyncio.Event()
    here.sio.on("large", large)
    here.sio.on("disconnect", lambda session_id, reason="": gone.set())
    async with silent(here) as deaf:
        sending = asyncio.ensure_future(send_all(deaf, [event(number, "large") for number in range(1000)]))
        await asyncio.wait_for(gone.wait(), SECONDS)
        sending.cancel()
    if kind_of(here) == "lean":  # stock goes on reading, and drops what it answers
        assert answered < DEAF_BACKLOG // 500_000 + 2 * MOST_EVENTS + 20  # what the network holds comes on top


@BOTH
async def test_a_slow_executor_gets_all_its_calls_and_few_of_them_are_made_before_it_reads(here: SocketWorld) -> None:
    made = 0

    async def make() -> dict[str, Any]:
        nonlocal made
        made += 1
        return {"type": CALL, "data": "x" * MAX_BACKLOG}

    async with silent(here) as executor:
        session_id = next(iter(session for session in here.sio.manager.rooms["/"][None]))
        calls = [asyncio.ensure_future(here.calls.call(session_id, make)) for _ in range(60)]
        before = -1
        while made > before:  # what the network takes, it takes at once
            before = made
            await asyncio.sleep(0.3)
        assert made < 30
        async with asyncio.timeout(SECONDS):
            for _ in calls:
                packet = await executor.recv()
                while not packet.startswith("42"):
                    packet = await executor.recv()
                await executor.send(f"43{packet[2:].partition('[')[0]}[1]")
            assert await asyncio.gather(*calls) == [1] * 60


# --- sessions without sign-in --------------------------------------------------------------------


def in_a_moment(here: SocketWorld, **limits: Any) -> None:
    """Sessions without sign-in have little time here."""
    sio = here.sio
    sio.connect_limits = replace(sio.connect_limits, **{"seconds": 0.3, **limits})
    sio.unconnected = Unconnected(sio.connect_limits, sio._end_session)


@asynccontextmanager
async def unconnected(here: SocketWorld) -> AsyncIterator[Any]:
    """A WebSocket without a CONNECT."""
    address = here.url.replace("http", "ws", 1) + f"{SHORT_PATH}/?EIO=4&transport=websocket"
    async with websocket(address, ping_interval=None, close_timeout=1) as connection:
        await connection.recv()
        yield connection


async def say(connection: Any, packet: str) -> None:
    """Says the same again and again."""
    try:
        while True:
            await connection.send(packet)
            await asyncio.sleep(0.05)
    except ConnectionClosed:
        pass


@pytest.mark.rule("C9")
@BOTH
@pytest.mark.parametrize("says", ["", "41", "3", '42["slow",1]', "5", "40/nowhere"])
async def test_a_websocket_that_does_not_sign_in_is_ended_whatever_it_says(here: SocketWorld, says: str) -> None:
    in_a_moment(here)
    here.sio.eio.ping_interval = here.sio.eio.ping_timeout = 0.5
    async with unconnected(here) as connection:
        saying = asyncio.ensure_future(say(connection, says)) if says else None
        assert "1" in await until_closed(connection)
        if saying is not None:
            await asyncio.wait_for(saying, SECONDS)
    await no_session_is_left(here)


@pytest.mark.rule("C9")
@BOTH
async def test_a_session_by_polling_that_does_not_sign_in_is_ended_though_it_never_polls(here: SocketWorld) -> None:
    in_a_moment(here)
    async with polling(here) as (http, path):
        await no_session_is_left(here)
        assert (await http.post(path, content="40")).status_code == 400


@BOTH
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_comes_by_polling_after_the_end_of_its_session_is_refused(here: SocketWorld, method: str) -> None:
    async with polling(here) as (http, path):
        (session,) = here.sio.eio.sockets.values()
        await session.close(wait=False)  # as when it has not answered a ping
        for _ in range(2):
            assert (await http.request(method, path, content="2")).status_code == 400


async def no_session_is_left(here: SocketWorld) -> None:
    """Returns when nothing is kept of any session."""
    await until(lambda: not (here.sio.eio.sockets or here.sio.environ or here.sio._ending))


@pytest.mark.rule("C9")
@BOTH
async def test_a_session_that_signs_out_is_ended(here: SocketWorld) -> None:
    in_a_moment(here)
    here.sio.eio.ping_interval = here.sio.eio.ping_timeout = 0.5
    async with unconnected(here) as connection:
        await connection.send("40")
        while not (await connection.recv()).startswith("40"):
            pass
        await no_longer_strange(here)
        await connection.send("41")
        saying = asyncio.ensure_future(say(connection, "3"))
        assert "1" in await until_closed(connection)
        await asyncio.wait_for(saying, SECONDS)
    await no_session_is_left(here)


async def no_longer_strange(here: SocketWorld) -> None:
    """Returns when a session that has not signed in would have been ended since."""
    async with unconnected(here) as other:
        await until_told(other)
        assert here.sio.eio.sockets


async def until_told(connection: Any) -> None:
    """Returns when the server says that it closes."""
    async with asyncio.timeout(SECONDS):
        while await connection.recv() != "1":
            pass


@pytest.mark.rule("C9")
@BOTH
async def test_a_session_that_the_server_signs_out_is_ended(here: SocketWorld) -> None:
    in_a_moment(here)
    here.sio.eio.ping_interval = here.sio.eio.ping_timeout = 0.5
    async with unconnected(here) as connection:
        await connection.send("40")
        packet = ""
        while not packet.startswith("40"):
            packet = await connection.recv()
        await no_longer_strange(here)
        await here.sio.disconnect(json.loads(packet[2:])["sid"])
        saying = asyncio.ensure_future(say(connection, "3"))
        assert "41" in await until_closed(connection)
        await asyncio.wait_for(saying, SECONDS)
    await no_session_is_left(here)


@pytest.mark.rule("C9")
@BOTH
async def test_the_oldest_sessions_without_sign_in_make_room(here: SocketWorld) -> None:
    in_a_moment(here, seconds=1000, per_address=2)
    async with raw_socket(here.url), unconnected(here) as first, unconnected(here), unconnected(here):
        await until_told(first)
        assert len(here.sio.eio.sockets) == 3


@pytest.mark.rule("C9")
@LEAN
@pytest.mark.parametrize("signs_in", [False, True])
async def test_nothing_of_a_sockets_connection_is_left_for_the_garbage_collector(
    here: SocketWorld, signs_in: bool
) -> None:
    gc.disable()
    try:
        async with unconnected(here) as client:
            if signs_in:
                await client.send("40")
                while not (await client.recv()).startswith("40"):
                    pass
            (connection,) = map(weakref.ref, here.connections())
        await until(lambda: connection() is None)
    finally:
        gc.enable()
