"""Bodies of requests, over a real connection: how much of them is read, of whom, and how slowly they may come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, StreamingResponse

from keyside.protocol.errors import KeysideError
from keyside.web import bodies
from keyside.web.bodies import Bodies, BodyLimits, Sender
from keyside.web.http.errors import BodyRefused
from tests.contracts.listening import Listener, Wire, listening, request
from tests.contracts.test_listener import code
from tests.edge.live import SECONDS

pytestmark = pytest.mark.rule("C9")
STRANGER = 1000
MOST = 20_000
TOGETHER = 50_000
LIMITS = BodyLimits(stranger=STRANGER, together=TOGETHER, silence=5, rate=8192)
QUICK = BodyLimits(stranger=STRANGER, together=TOGETHER, silence=0.2, rate=8192)


@pytest.fixture(autouse=True)
def short_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is refused is given less time than usual to read why."""
    monkeypatch.setattr(bodies, "_LINGER_SECONDS", 0.2)


class App:
    """Reads the whole body, and answers how long it is; `/later` when the test says so, `/fails` with an error."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.gone = asyncio.Event()
        self.read: asyncio.Queue[int] = asyncio.Queue()
        self.asked_who = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            size = 0 if scope["path"] in ("/ignores", "/listens") else len(await Request(scope, receive).body())
        except ClientDisconnect:
            return
        self.read.put_nowait(size)
        if scope["path"] == "/waits":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.set()
            return
        if scope["path"] == "/listens":
            await StreamingResponse(self.slowly(), headers={"content-length": "2"})(scope, receive, send)
            return
        if scope["path"] == "/later":
            await self.go_on.wait()
        if scope["path"] == "/fails":
            raise KeysideError("conflict")
        await PlainTextResponse(str(size))(scope, receive, send)

    async def slowly(self) -> AsyncIterator[bytes]:
        yield b"o"
        await self.go_on.wait()
        yield b"k"

    async def sender_of(self, scope: Any) -> Sender:
        """Each connection is another account's, unless it says that it is the same."""
        self.asked_who += 1
        headers = dict(scope["headers"])
        if headers.get(b"authorization") != b"me":
            raise KeysideError("unauthorized")
        return Sender(headers.get(b"account", scope["client"]), MOST)

    async def has_read(self) -> int:
        return await asyncio.wait_for(self.read.get(), SECONDS)


@asynccontextmanager
async def serving(app: App, limits: BodyLimits = LIMITS) -> AsyncIterator[Listener]:
    async with listening(Bodies(app, app.sender_of, limits)) as listener:
        yield listener


def post(size: int, path: str = "/", *, signed_in: bool = True, **headers: str) -> bytes:
    """A request with a body of this length."""
    known = {"authorization": "me"} if signed_in else {}
    return request("POST", path, b"x" * size, **known, **headers)


def chunked(*sizes: int, signed_in: bool = True, end: bool = True) -> bytes:
    """A request that does not say how long its body is."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in sizes) + (b"0\r\n\r\n" if end else b"")
    known = {"authorization": "me"} if signed_in else {}
    return request("POST", "/", chunks, transfer_encoding="chunked", **known)


async def refusal(wire: Wire) -> tuple[int, str]:
    """The status and the code of an answer after which the server closes the connection."""
    answer = await wire.answer()
    assert answer.headers["connection"] == "close"
    assert await wire.end() == b""
    return answer.status, code(answer.body)


@pytest.mark.parametrize(
    ("sent", "size"),
    [
        (post(STRANGER, signed_in=False), STRANGER),
        (chunked(STRANGER - 1, 1, signed_in=False), STRANGER),
        (post(MOST), MOST),
        (chunked(MOST - 1, 1), MOST),
        (request("POST"), 0),
    ],
    ids=["stranger", "stranger, chunked", "signed in", "signed in, chunked", "none"],
)
async def test_what_may_be_sent_is_taken_and_the_connection_goes_on(sent: bytes, size: int) -> None:
    app = App()
    async with serving(app) as listener:
        wire = await listener.wire()
        for _ in range(3):
            await wire.send(sent)
            assert (await wire.answer()).body == str(size).encode()
    assert (app.asked_who > 0) == (size > STRANGER)  # whose small body it is need not be known


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        (post(STRANGER + 1, signed_in=False), (401, "unauthorized")),
        (post(300_000, signed_in=False), (401, "unauthorized")),
        (chunked(STRANGER, 1, signed_in=False, end=False), (401, "unauthorized")),
        (chunked(*[5000] * 60, signed_in=False), (401, "unauthorized")),
        (post(MOST + 1), (413, "too_large")),
        (post(300_000), (413, "too_large")),
        (chunked(MOST, 1, end=False), (413, "too_large")),
        (chunked(*[5000] * 60), (413, "too_large")),
        (request("GET", "/", b"x" * (STRANGER + 1)), (401, "unauthorized")),
        (post(10, content_length="9" * 18), (413, "too_large")),
    ],
)
async def test_what_is_too_long_is_refused_so_that_a_client_that_is_still_sending_can_read_it(
    sent: bytes, wanted: tuple[int, str]
) -> None:
    app = App()
    async with serving(app) as listener:
        wire = await listener.wire()
        sending = asyncio.create_task(wire.send(sent, piece=1000))
        assert await refusal(wire) == wanted
        assert await sending
    assert app.read.empty()


async def test_the_head_of_a_refusal_is_all_that_a_head_request_gets() -> None:
    async with serving(App()) as listener:
        wire = await listener.wire()
        await wire.send(request("HEAD", "/", content_length=str(MOST)))
        said = await wire.end()
        assert said.startswith(b"HTTP/1.1 401 ")
        assert said.endswith(b"\r\n\r\n")


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on_only_where_it_may() -> None:
    async with serving(App()) as listener:
        wire = await listener.wire()
        await wire.send(post(0, content_length=str(MOST), expect="100-continue"))
        assert (await wire.answer()).status == 100
        await wire.send(b"x" * MOST)
        assert (await wire.answer()).body == str(MOST).encode()
        await wire.send(post(0, content_length=str(MOST + 1), expect="100-continue"))
        assert await refusal(wire) == (413, "too_large")


@pytest.mark.parametrize("begin", [b"", b"x" * 400])
async def test_a_body_that_does_not_come_is_refused(begin: bytes) -> None:
    async with serving(App(), QUICK) as listener:
        wire = await listener.wire()
        await wire.send(post(0, content_length="500") + begin)
        assert await refusal(wire) == (408, "too_slow")


async def test_a_body_that_trickles_is_refused() -> None:
    async with serving(App(), QUICK) as listener:
        wire = await listener.wire()
        await wire.send(post(0, content_length=str(MOST)))

        async def trickle() -> None:
            while True:
                await wire.send(b"x")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        assert await refusal(wire) == (408, "too_slow")
        trickling.cancel()


async def test_a_body_may_take_longer_than_a_pause_if_enough_of_it_comes() -> None:
    async with serving(App(), BodyLimits(STRANGER, TOGETHER, silence=0.3, rate=1)) as listener:
        steady, silent = await listener.wire(), await listener.wire()
        await steady.send(post(0, content_length=str(MOST)))
        await silent.send(post(0, content_length="500"))
        refused = asyncio.create_task(refusal(silent))
        left = MOST
        while not refused.done():
            left -= 10
            await steady.send(b"x" * 10)
            await asyncio.sleep(0.01)
        await steady.send(b"x" * left)
        assert await refused == (408, "too_slow")
        assert (await steady.answer()).body == str(MOST).encode()


async def filled(app: App, listener: Listener, *, path: str = "/later") -> list[Wire]:
    """Connections whose requests take nearly all the room that there is together."""
    wires = [await listener.wire() for _ in range(2)]
    for wire in wires:
        await wire.send(post(MOST, path))
        assert await app.has_read() == MOST
    return wires


@pytest.mark.parametrize("goes", [False, True], ids=["answered", "gone"])
async def test_all_bodies_together_are_bounded_until_they_are_handled(goes: bool) -> None:
    app = App()
    async with serving(app) as listener:
        for _ in range(3):
            app.go_on.clear()
            wires = await filled(app, listener)
            for sent in (post(MOST), chunked(MOST, end=False)):
                late = await listener.wire()
                await late.send(sent)
                assert await refusal(late) == (503, "server_busy")
            if goes:
                for wire in wires:
                    wire.close()
            app.go_on.set()
            if not goes:
                for wire in wires:
                    assert (await wire.answer()).body == str(MOST).encode()
            await is_free(listener, app)


async def test_one_account_takes_only_half_of_the_room_and_small_bodies_are_always_taken() -> None:
    app = App()
    async with serving(app) as listener:
        first, second, other, small = [await listener.wire() for _ in range(4)]
        await first.send(post(MOST, "/later", account="one"))
        await app.has_read()
        await second.send(post(MOST, account="one"))
        assert await refusal(second) == (503, "server_busy")
        await other.send(post(MOST, "/later", account="other"))
        await app.has_read()
        await small.send(post(STRANGER, account="one"))
        assert (await small.answer()).status == 200
        app.go_on.set()
        assert [(await wire.answer()).status for wire in (first, other)] == [200, 200]


async def is_free(listener: Listener, app: App) -> None:
    """Returns when there is room for all again."""
    async with asyncio.timeout(SECONDS):
        while True:
            wires = [await listener.wire() for _ in range(2)]
            for wire in wires:
                await wire.send(post(MOST))
            if [(await wire.answer()).status for wire in wires] == [200, 200]:
                break
    while not app.read.empty():
        app.read.get_nowait()


@pytest.mark.parametrize(
    "sent",
    [post(MOST, "/fails"), post(MOST - 1, content_length=str(MOST)), chunked(MOST, 1), post(MOST, "/ignores")],
    ids=["an error", "half a body", "too long", "never read"],
)
async def test_the_room_of_a_request_that_comes_to_nothing_is_free_again(sent: bytes) -> None:
    app = App()
    async with serving(app) as listener:
        for _ in range(6):
            wire = await listener.wire()
            await wire.send(sent)
            if b"/fails" in sent or sent[-5:] == b"0\r\n\r\n":
                assert (await wire.answer()).status in (409, 413)
            wire.close()
        await is_free(listener, app)


async def test_an_answer_without_the_body_is_the_last_on_its_connection() -> None:
    async with serving(App()) as listener:
        wire = await listener.wire()
        sending = asyncio.create_task(wire.send(post(MOST, "/ignores"), piece=1000))
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await wire.end() == b""
        await sending


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "body", [b"x" * STRANGER, b"1\r\nx\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (MOST, b"x" * MOST)], ids=["short", "endless"]
)
async def test_a_body_that_means_nothing_is_passed_over(method: str, body: bytes) -> None:
    more = {"transfer_encoding": "chunked"} if body[-1:] == b"\n" else {}
    async with serving(App()) as listener:
        wire = await listener.wire()
        await wire.send(request(method, "/", body, **more))
        assert (await wire.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await wire.end() == (b"0" if method == "GET" else b"")


async def test_a_client_that_goes_is_told_though_its_body_means_nothing() -> None:
    app = App()
    async with serving(app) as listener:
        wire = await listener.wire()
        await wire.send(request("GET", "/waits", b"x"))
        assert await app.has_read() == 0
        wire.close()
        await asyncio.wait_for(app.gone.wait(), SECONDS)


@pytest.mark.parametrize("more", [b"", b"%x\r\n%b\r\n" % (60_000, b"x" * 60_000)], ids=["too slow", "too long"])
async def test_an_answer_that_has_begun_goes_on_whatever_becomes_of_the_body(more: bytes) -> None:
    app = App()
    async with serving(app, QUICK) as listener:
        wire, other = await listener.wire(), await listener.wire()
        await wire.send(request("POST", "/listens", b"1\r\nx\r\n", transfer_encoding="chunked", authorization="me"))
        assert (await wire.read_until(b"\r\n\r\no")).startswith(b"HTTP/1.1 200 ")
        await other.send(post(0, content_length="500"))
        assert await refusal(other) == (408, "too_slow")
        await wire.send(more)
        app.go_on.set()
        assert await wire.end() == b"k"


def test_what_refuses_a_body_has_the_status_of_its_error() -> None:
    refused = BodyRefused(KeysideError("too_slow"))
    assert (refused.status_code, refused.error.code) == (408, "too_slow")
