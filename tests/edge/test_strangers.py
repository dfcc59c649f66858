"""Whoever has not signed in, at a real server with small limits: what is read of them, and for how long."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError

from tests.contracts.listening import Wire
from tests.contracts.test_listener import code
from tests.edge.live import SECONDS, SHORT_PATH, Client, LiveServer, raw_socket

pytestmark = pytest.mark.rule("C9")
LIMITS = {
    "max_header": "4096",
    "stranger_body": "2048",
    "stranger_socket": "2048",
    "max_body": "40000",
    "max_bodies": "80000",
    "arrival_timeout": "1",
    "strangers_per_address": "30",
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, transport: str) -> Iterator[LiveServer]:
    """A server with sign-in and small limits."""
    server = LiveServer(tmp_path_factory.mktemp(f"strict-{transport}"), "local", transport=transport, **LIMITS)
    try:
        server.start()
        yield server
        assert "Traceback" not in server.log, server.log
    finally:
        server.end()


Connect = Callable[[], Awaitable[Wire]]


@pytest.fixture
async def connect(strict: LiveServer) -> AsyncIterator[Connect]:
    """Makes connections that are closed at the end of the test."""
    host, port = strict.url.removeprefix("http://").split(":")
    wires: list[Wire] = []

    async def wire() -> Wire:
        wires.append(Wire(*await asyncio.open_connection(host, int(port))))
        return wires[-1]

    yield wire
    for one in wires:
        one.close()


def asked(server: LiveServer, method: str, path: str, *headers: str) -> bytes:
    """The head of a request."""
    host = server.url.removeprefix("http://")
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()


ROUTES = [
    ("POST", "/api/auth/redeem"),
    ("POST", "/api/chats"),
    ("POST", "/api/chats/1/runs"),
    ("POST", "/v1/chat/completions"),
    ("PATCH", "/api/chats/1"),
    ("POST", "/nowhere"),
    ("GET", "/"),
    ("POST", f"{SHORT_PATH}/?EIO=4&transport=polling"),
    ("POST", f"{SHORT_PATH}/?EIO=4&transport=polling&sid=nobody"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_before_sign_in_little_is_read_whatever_the_route(
    strict: LiveServer, connect: Connect, method: str, path: str
) -> None:
    wire = await connect()
    body = b"x" * 100_000
    sending = asyncio.create_task(
        wire.send(asked(strict, method, path, f"Content-Length: {len(body)}") + body, piece=10_000)
    )
    answer = await wire.answer()
    wanted = (413, "too_large") if path.startswith(SHORT_PATH) else (401, "unauthorized")
    assert (answer.status, code(answer.body)) == wanted
    assert await wire.end() == b""
    await sending


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_what_comes_in_chunks_without_end_is_answered_and_read_no_further(
    strict: LiveServer, connect: Connect, method: str, path: str
) -> None:
    wire = await connect()
    await wire.send(asked(strict, method, path, "Transfer-Encoding: chunked") + b"8000\r\n%b\r\n" % (b"x" * 0x8000))
    answer = await wire.answer()
    assert answer.status == 200 if path == "/" else answer.status in (400, 401, 404, 413)
    assert answer.body
    assert answer.headers["connection"] == "close"
    await wire.end()


async def test_a_code_may_be_posted_without_saying_how_long_it_is(strict: LiveServer) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b'{"code": '
        yield b'"of nobody"}'

    async with strict.http(origin=strict.url) as http:
        answer = await http.post("/api/auth/redeem", content=parts(), headers={"content-type": "application/json"})
        assert answer.status_code in (400, 401, 403, 404, 422), answer.text
        assert answer.json()["error"]["code"] != "unauthorized", answer.text


async def test_a_head_that_is_too_long_or_does_not_come_is_told_so(strict: LiveServer, connect: Connect) -> None:
    wire = await connect()
    await wire.send(asked(strict, "GET", "/", "X-Padding: " + "x" * 8000))
    answer = await wire.answer()
    assert (answer.status, code(answer.body)) == (431, "too_large")
    wire = await connect()
    await wire.send(asked(strict, "GET", "/")[:-2])
    answer = await wire.answer()
    assert (answer.status, code(answer.body)) == (408, "too_slow")
    assert await wire.end() == b""


@pytest.mark.parametrize("more", [b"", b"\x81\x82\x00\x00\x00\x0041" * 3])
async def test_a_websocket_that_does_not_sign_in_is_ended(strict: LiveServer, connect: Connect, more: bytes) -> None:
    wire = await opened(strict, connect)
    await wire.send(more)
    await wire.end()


async def opened(strict: LiveServer, connect: Connect, path: str = f"{SHORT_PATH}/?EIO=4&transport=websocket") -> Wire:
    wire = await connect()
    handshake = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    await wire.send(asked(strict, "GET", path, *handshake, "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="))
    assert (await wire.answer()).status == 101
    return wire


async def test_a_session_by_polling_that_does_not_sign_in_is_ended(strict: LiveServer) -> None:
    async with strict.http() as http:
        path = f"{SHORT_PATH}/?EIO=4&transport=polling"
        session = json.loads((await http.get(path)).text[1:])["sid"]
        path += f"&sid={session}"
        assert (await http.post(path, content="x" * 3000)).status_code == 413
        said = ""
        async with asyncio.timeout(SECONDS):
            while (answer := await http.get(path)).status_code == 200:
                said += answer.text
        assert said == "1"


async def test_a_websocket_for_a_session_by_polling_that_does_not_go_on_is_cut_off(
    strict: LiveServer, connect: Connect
) -> None:
    async with strict.http() as http:
        session = json.loads((await http.get(f"{SHORT_PATH}/?EIO=4&transport=polling")).text[1:])["sid"]
        wire = await opened(strict, connect, f"{SHORT_PATH}/?EIO=4&transport=websocket&sid={session}")
        await wire.end()


async def test_a_client_that_goes_over_from_polling_to_a_websocket_is_no_stranger_there(
    strict: LiveServer, connect: Connect, token: str
) -> None:
    client = Client()
    await client.sio.connect(strict.url, auth={"token": token}, socketio_path=SHORT_PATH, wait_timeout=SECONDS)
    try:
        assert client.sio.transport() == "websocket"
        for _ in range(3):
            ack = await client.call("chat:close", {"chat_id": 1, "more": "x" * 2000})
            assert ack["ok"]
        await (await opened(strict, connect)).end()  # so long it takes to cut a stranger off
        await (await opened(strict, connect)).end()
        assert (await client.call("chat:close", {"chat_id": 1}))["ok"]
    finally:
        await client.close()


@pytest.fixture(scope="module")
def token(strict: LiveServer) -> str:
    """An API token of the owner."""
    with httpx.Client(base_url=strict.url, headers={"origin": strict.url}, timeout=SECONDS) as http:
        answer = http.post("/api/auth/redeem", json={"code": strict.link.rpartition("=")[2]})
        assert answer.status_code == 200, answer.text
        made = http.post("/api/tokens", json={"name": "test", "scopes": ["chats"]})
        assert made.status_code == 201, made.text
        return str(made.json()["token"])


async def test_after_sign_in_more_is_read(strict: LiveServer, token: str) -> None:
    async with strict.http(authorization=f"Bearer {token}") as http:
        answer = await http.post("/api/chats", json={"title": "x" * 100, "more": "x" * 30_000})
        assert answer.status_code == 201, answer.text
        answer = await http.post("/api/chats", json={"title": "x" * 50_000})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    async with raw_socket(strict.url, {"token": token}) as (socket, _):
        for _ in range(3):
            assert (await socket.event("chat:close", {"chat_id": 1, "more": "x" * 3000}))["ok"]


async def test_after_signing_out_little_is_read_again(strict: LiveServer, token: str) -> None:
    async with raw_socket(strict.url, {"token": token}) as (socket, _):
        await socket.send("41")

        async def go_on() -> None:
            while True:
                await socket.send(f"429{json.dumps(['chat:close', 'x' * 1000])}")

        with pytest.raises(ConnectionClosedError):  # a session that is only late is closed in order
            await asyncio.wait_for(go_on(), SECONDS)


async def test_the_oldest_connections_of_an_address_make_room_and_requests_are_answered(
    strict: LiveServer, connect: Connect
) -> None:
    first = [await connect() for _ in range(30)]
    async with strict.http() as http:
        for _ in range(3):
            assert (await http.get("/health", headers={"connection": "close"})).status_code == 200
    assert await first[0].end() == b""
    for wire in first:
        wire.close()
