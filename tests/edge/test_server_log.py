"""What strangers send to a real server forges no line of its log, and cannot fill it."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path

from websockets.asyncio.client import connect as websocket
from websockets.exceptions import WebSocketException

from tests.edge.conftest import served
from tests.edge.live import SECONDS, SHORT_PATH, LiveServer

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) [\w.]+: \S.*|    .*")
"""How every line of the log looks: it has a time, or is indented."""
FORGED = "%0a2026-01-01%2000:00:00,000%20INFO%20keyside:%20forged%0d%1b%5b2J"
WRONG_PACKETS = ("4", "7", "8x", "9\n", "x", "40{", "42[", "42", "45", "43", "4" + "1" * 70, "")
WRONG_REQUESTS = (b"nothing\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET /\n\x1b[2J\r\n\r\n")
TIMES = 40
MOST_BYTES = 6_000
"""What one minute of it may write. One line for each would be several times as much."""


async def send_wrong_packets(server: LiveServer) -> None:
    address = f"{server.url.replace('http', 'ws', 1)}{SHORT_PATH}/?EIO=4&transport=websocket"
    for packet in WRONG_PACKETS * 4:
        try:
            async with asyncio.timeout(SECONDS), websocket(address) as socket:
                await socket.recv()
                for _ in range(TIMES):
                    await socket.send(packet)
        except WebSocketException:
            pass


async def send_wrong_sessions(server: LiveServer) -> None:
    async with server.http() as client:
        for transport in ("polling", f"websocket{FORGED}"):
            for method in ("GET", "POST", "PUT", "OPTIONS"):
                for name in ("sid", "EIO", "j"):
                    for _ in range(TIMES // 8):
                        answer = await client.request(method, f"/ws?transport={transport}&{name}=4{FORGED}")
                        assert answer.status_code != 500


async def send_wrong_requests(server: LiveServer) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    for request in WRONG_REQUESTS * (TIMES // 2):
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request)
            with suppress(ConnectionError):
                await reader.read()
            writer.close()


async def test_strangers_neither_forge_lines_of_the_log_nor_fill_it(tmp_path: Path, transport: str) -> None:
    with served(tmp_path, "local", transport) as server:
        await send_wrong_packets(server)
        await send_wrong_sessions(server)
        await send_wrong_requests(server)
        async with server.http() as client:
            assert (await client.get("/health")).status_code == 200
        lines = server.log.split("\n")[:-1]
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert "\x1b" not in server.log
    assert any("only counted" in line for line in lines)
    assert len(server.log) < MOST_BYTES


async def leave_in_mid_body(server: LiveServer, path: str) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + b'{"model":')
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.transport.abort()


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(tmp_path: Path, transport: str) -> None:
    with served(tmp_path, "off", transport) as server:
        async with server.http() as client:
            chat = (await client.post("/api/chats", json={})).json()["id"]
            for path in ("/api/chat/completions", "/api/chats", f"/api/chats/{chat}/runs"):
                await leave_in_mid_body(server, path)
            assert (await client.get("/health")).status_code == 200
        lines = server.log.split("\n")[:-1]
    assert [line for line in lines if not LINE.fullmatch(line)] == []
