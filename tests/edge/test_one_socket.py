"""What one socket of a user may do: how many events, how many sockets; and that streams of answers are spared."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import socketio

from keyside.testing import text_line
from tests.edge.live import SECONDS, Client, LiveServer, ask, connected, ended, executing, raw_socket

rule = pytest.mark.rule
EVENTS = 5
"""Events that a socket may send in a second here; ten times as many at once."""
BURST = 10 * EVENTS


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, transport: str) -> Iterator[LiveServer]:
    """A server without sign-in that takes few events of a socket, few sockets, and few requests at a time."""
    limits = {"socket_events": str(EVENTS), "user_sockets": "4", "user_requests": "3"}
    server = LiveServer(tmp_path_factory.mktemp(f"slow-{transport}"), "off", transport=transport, **limits)
    try:
        server.start()
        yield server
        assert "Traceback" not in server.log, server.log
    finally:
        server.end()


@pytest.fixture
async def http(strict: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with strict.http() as client:
        yield client


@rule("C10", "C4")
@pytest.mark.parametrize(
    ("event", "cost", "more"),
    [
        ("chat:close", 1, ""),
        ("unknown", 1, ""),
        ("executor:ready", 10, ""),
        ("chat:open", 10, ""),
        ("9.1", 1, ""),
        ("chat:close", 6, "x" * 5 * 8192),
        ("unknown", 6, [0] * 5 * 4096),
        ("chat:close", 6, [2**70] * 5 * 400),
    ],
)
async def test_who_sends_too_many_events_is_told_so_and_who_goes_on_is_closed(
    strict: LiveServer, event: str, cost: int, more: object
) -> None:
    codes = []
    payload = json.dumps([event, {"chat_id": 1, "more": more}])
    async with raw_socket(strict.url) as (socket, _):
        for _ in range(4 * BURST):
            await socket.send(f"429{payload}")
            packet = ""
            while not packet.startswith(("439", "41")):
                packet = await socket.receive("4")
            if packet == "41":
                break
            ack = json.loads(packet[3:])[0]
            codes.append("" if ack["ok"] else ack["error"]["code"])
    first = codes.index("slow_down")
    assert BURST // cost <= first < 2 * BURST // cost
    assert len(codes) < 4 * BURST


@rule("C10", "C4")
async def test_whoever_was_told_to_slow_down_may_go_on_after_a_while(strict: LiveServer) -> None:
    async with raw_socket(strict.url) as (socket, _):
        acks: list[Any] = []
        while not acks or acks[-1]["ok"]:
            acks.append(await socket.event("chat:close", {"chat_id": 1}))
        assert acks[-1]["error"] == {
            "code": "slow_down",
            "message": "This is more at once than the server takes. Wait a second and try again.",
            "retryable": True,
        }
        async with raw_socket(strict.url) as (other, _):  # it has an allowance of its own
            assert (await other.event("chat:close", {"chat_id": 1}))["ok"]
        await asyncio.sleep(1)  # as the message says
        assert (await socket.event("chat:close", {"chat_id": 1}))["ok"]


@rule("C10", "E6")
async def test_the_lines_of_a_plain_executor_are_never_refused(strict: LiveServer, http: httpx.AsyncClient) -> None:
    count = 20 * BURST
    async with raw_socket(strict.url) as (socket, session_id):
        started = await ask(http, model="any", session_id=session_id)
        number, call = await socket.call()
        await socket.send(f'43{number}[{{"status":true}}]')
        for at in range(count):
            await socket.send(f"42{json.dumps([call['channel'], text_line(f'{at} ')])}")
        await socket.send(f"42{json.dumps([call['channel'], {'done': True}])}")
        assert (await ended(http, started))[0::2] == ("done", "".join(f"{at} " for at in range(count)))


@rule("C10", "E5")
async def test_the_frames_of_an_executors_runs_do_not_count(strict: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(strict.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        for at in range(4 * BURST):
            assert await desk.send(offer, at, text_line("x")) == {"ok": True, "expected": at + 1}
            gap = await desk.send(offer, at + 2, text_line("x"))
            assert gap["error"]["code"] == "gap"
        await desk.finish(offer, 4 * BURST)
        assert await ended(http, started) == ("done", None, "x" * 4 * BURST)


@rule("C9", "C2")
async def test_a_user_may_have_so_many_sockets(strict: LiveServer) -> None:
    async with connected(strict.url), connected(strict.url), connected(strict.url) as third, connected(strict.url):
        refused = Client()
        with pytest.raises(socketio.exceptions.ConnectionError):
            await refused.connect(strict.url)
        assert refused.refusal["message"] == "too_many_connections"
        await third.close()
        while True:
            try:
                async with connected(strict.url):
                    break
            except socketio.exceptions.ConnectionError:  # the server has not noticed yet
                pass


@rule("C9")
async def test_a_user_may_have_so_many_requests_under_way(strict: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(strict.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        path = f"/api/runs/{started['run']['id']}/events"
        async with http.stream("GET", path), http.stream("GET", path), http.stream("GET", path):
            refused = await http.get("/api/chats")
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_connections")
        await desk.finish(offer, 0)
        async with asyncio.timeout(SECONDS):
            while (await http.get("/api/chats")).status_code == 429:  # the server has not noticed yet
                pass
