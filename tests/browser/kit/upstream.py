"""The upstream of the tests: `@copilotkit/aimock` behind a proxy that counts, holds streams back and notices hang-ups.

aimock answers at full speed, and its CORS answer does not name `Authorization`; so the browser talks to a proxy,
`gate`, in the tests' own event loop, which passes each request on and lets the answer's events through one by one.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.browser.kit.processes import START_SECONDS, clean_environment, end

ROOT = Path(__file__).parents[3]
LLMOCK = ROOT / "executor_js" / "node_modules" / ".bin" / "llmock"
BOUND = 20
"""The most seconds that a test waits for an event."""

CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-max-age": "600",
}
NOT_PASSED_ON = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "accept-encoding"}

Receive = Callable[[], Any]
Send = Callable[[MutableMapping[str, Any]], Any]


@dataclass
class Reply:
    """An answer that the proxy gives itself, because aimock has no fixture for it."""

    status: int
    content_type: str
    body: str


class Cut(Exception):
    """The upstream breaks the connection in the middle of its answer."""


@dataclass
class Call:
    """One request that the upstream got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    allowed: int | None
    """How many events of its answer may pass; None: all."""
    passed: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the caller hung up before the end."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the answer was delivered whole."""
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def json(self) -> dict[str, Any]:
        """The body."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    async def let(self, count: int | None) -> None:
        """Lets the first `count` events pass, or all of them."""
        async with self._moved:
            self.allowed = count
            self._moved.notify_all()

    async def turn(self) -> None:
        """Waits until the next event may pass."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.allowed is None or self.passed < self.allowed)
            self.passed += 1

    async def until_left(self) -> None:
        """Waits until the caller has hung up."""
        async with asyncio.timeout(BOUND):
            await self.left.wait()

    async def until_ended(self) -> None:
        """Waits until the answer was delivered."""
        async with asyncio.timeout(BOUND):
            await self.ended.wait()


@dataclass
class Upstream:
    """A provider at an address of its own."""

    aimock: str
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    hold_after: int | None = None
    """New answers pause after this number of events, until their call lets more pass."""
    close_after: int | None = None
    """New answers end after this number of events, as if they were complete."""
    reply: Callable[[Call], Reply | None] = lambda call: None
    """Returns an answer to give instead of aimock's, or `None`."""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        """What is entered as base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def chats(self) -> list[Call]:
        """The requests for a chat completion."""
        return [call for call in self.calls if call.path.endswith("/chat/completions") and call.method == "POST"]

    async def chat(self, number: int = 0) -> Call:
        """Waits for the chat completion of that number."""
        async with asyncio.timeout(BOUND), self._news:
            await self._news.wait_for(lambda: len(self.chats) > number)
        return self.chats[number]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request, as ASGI."""
        if scope["type"] != "http":
            return
        if scope["method"] == "OPTIONS":
            return await whole(send, 204, CORS, b"")
        call = await self._read(scope, receive)
        own = self.reply(call)
        if own is not None:
            await whole(send, own.status, {**CORS, "content-type": own.content_type}, own.body.encode())
            return call.ended.set()
        passing = asyncio.create_task(self._pass_on(call, send))
        leaving = asyncio.create_task(gone(receive))
        await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if passing.done():
            if error := passing.exception():
                raise error  # breaks the connection
            return
        passing.cancel()
        call.left.set()

    async def _read(self, scope: MutableMapping[str, Any], receive: Receive) -> Call:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        call = Call(scope["method"], scope["path"], headers, body, self.hold_after)
        async with self._news:
            self.calls.append(call)
            self._news.notify_all()
        return call

    async def _pass_on(self, call: Call, send: Send) -> None:
        headers = {name: value for name, value in call.headers.items() if name not in NOT_PASSED_ON}
        async with (
            httpx.AsyncClient(base_url=self.aimock, trust_env=False, timeout=BOUND) as client,
            client.stream(call.method, call.path, headers=headers, content=call.body) as response,
        ):
            kept = {name: value for name, value in response.headers.items() if name not in NOT_PASSED_ON}
            await begin(send, response.status_code, {**kept, **CORS})
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                await self._pass_events(call, response, send)
            else:
                await more(send, await response.aread())
        await send({"type": "http.response.body", "body": b""})
        call.ended.set()

    async def _pass_events(self, call: Call, response: httpx.Response, send: Send) -> None:
        rest = b""
        try:
            async for part in response.aiter_raw():
                *events, rest = (rest + part).split(b"\n\n")
                for event in events:
                    if call.passed == self.close_after:
                        return
                    await call.turn()
                    await more(send, event + b"\n\n")
        except httpx.RemoteProtocolError as error:
            raise Cut from error


async def gone(receive: Receive) -> None:
    """Returns when the caller has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def begin(send: Send, status: int, headers: dict[str, str]) -> None:
    """The head of an answer."""
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def more(send: Send, body: bytes) -> None:
    """A part of an answer."""
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def whole(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    """An answer in one piece."""
    await begin(send, status, headers)
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def gate(aimock: str) -> AsyncIterator[Upstream]:
    """An upstream on a free port."""
    upstream = Upstream(aimock)
    config = uvicorn.Config(
        upstream, lifespan="off", log_config=None, log_level="critical", access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        upstream.port = listener.getsockname()[1]
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        serving = asyncio.create_task(server.main_loop())
        try:
            yield upstream
        finally:
            for call in upstream.calls:
                await call.let(None)
            server.should_exit = True
            await serving
            await server.shutdown(sockets=[listener])


@asynccontextmanager
async def aimock(folder: Path, fixtures: Iterable[dict[str, Any]], keys: Iterable[str]) -> AsyncIterator[str]:
    """The mock itself, with these fixtures, for callers with one of these keys; its address."""
    file = folder / "fixtures.json"
    file.write_text(json.dumps({"fixtures": list(fixtures)}))
    process = await asyncio.create_subprocess_exec(
        *(LLMOCK, "-p", "0", "-f", str(file), "--strict", "--validate-on-load"),
        env={**clean_environment(), "AIMOCK_API_KEYS": ",".join(keys), "AIMOCK_STRICT_TURN_INDEX": "1"},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    assert process.stdout is not None
    draining: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(START_SECONDS):
            url = await until_listening(process.stdout)
        draining = asyncio.create_task(process.stdout.read())
        yield url
    finally:
        await end(process)
        if draining is not None:
            await draining


async def until_listening(output: asyncio.StreamReader) -> str:
    """Waits until the mock is ready. Returns the address that it prints."""
    said = ""
    while line := (await output.readline()).decode():
        said += line
        if found := re.search(r"listening on (\S+)", line):
            return found[1]
    raise AssertionError(f"aimock did not start:\n{said}")
