"""HTTP connections, as bytes: how long a head may be and may take, what waits behind an answer, and who is cut off."""

import asyncio
import gc
import ssl
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from keyside.adapters.listener import stall
from keyside.adapters.listener.websocket import GuardedWebSocket
from keyside.services.ports import SIGNED_IN
from tests.contracts.listening import HEAD, Wire, listening, request, until, upgrade
from tests.edge.live import SECONDS

pytestmark = pytest.mark.rule("C9")
CERTIFICATE = Path(__file__).parents[1] / "edge" / "localhost.pem"


class App:
    """Answers as the path says, and counts what came and what ended."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gone = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        if scope["type"] == "websocket":
            while (await receive())["type"] != "websocket.disconnect":
                await send({"type": "websocket.accept"})
        else:
            await getattr(self, scope["path"].strip("/") or "short")(scope, receive, send)

    async def is_asked(self) -> None:
        """Returns when a request is handled."""
        await until(lambda: self.asked)

    async def short(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def later(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers when the test says so."""
        await self.go_on.wait()
        await self.short(scope, receive, send)

    async def listen(self, _scope: Any, receive: Any, _send: Any) -> None:
        """Waits until it is told that the client has gone."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    async def flood(self, _scope: Any, _receive: Any, send: Any) -> None:
        """Answers without end; what cannot be sent any more is passed over without a pause."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with asyncio.timeout(SECONDS):
            for _ in range(2000):
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        self.gone.set()

    async def sign_in(self, scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][SIGNED_IN]("somebody")
        await self.short(scope, receive, send)


def code(body: bytes) -> str:
    """The code of an error."""
    return str(orjson.loads(body)["error"]["code"])


def long_head(size: int) -> bytes:
    """A request whose head has exactly so many bytes."""
    return request(padding="x" * (size - len(request(padding=""))))


@pytest.mark.parametrize("piece", [1, 100, 0], ids=["byte by byte", "in pieces", "at once"])
async def test_a_head_may_have_so_many_bytes_and_no_more(piece: int) -> None:
    app = App()
    async with listening(app) as listener:
        wire = await listener.wire()
        for _ in range(2):
            await wire.send(long_head(HEAD - 1), piece=piece)
            assert (await wire.answer()).body == b"ok"
        await wire.send(long_head(HEAD + 1)[:HEAD], piece=piece)
        refused = await wire.answer()
        assert (refused.status, code(refused.body)) == (431, "too_large")
        assert await wire.end() == b""
    assert app.asked == ["/", "/"]


async def test_a_head_without_end_is_refused_however_much_follows() -> None:
    async with listening(App()) as listener:
        wire = await listener.wire()
        await wire.send(request()[:-2] + b"x-padding: y\r\n" * 10_000)
        assert (await wire.end())[:13] in (b"HTTP/1.1 431 ", b"")  # it may be lost, as more was under way


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nhost: he", b"G"])
async def test_a_head_that_does_not_come_is_told_so(begun: bytes) -> None:
    async with listening(App(), seconds=0.1) as listener:
        for earlier in (0, 1):
            wire = await listener.wire()
            for _ in range(earlier):
                await wire.send(request())
                assert (await wire.answer()).status == 200
            await wire.send(begun)
            refused = await wire.answer()
            assert (refused.status, code(refused.body)) == (408, "too_slow")
            assert await wire.end() == b""
        assert len(listener.strangers) == 0


async def test_what_follows_a_body_in_chunks_is_bounded_and_passed_over() -> None:
    app = App()
    async with listening(app) as listener:
        wire = await listener.wire()
        await wire.send(request("POST", "/later", b"1\r\nx\r\n0\r\n", transfer_encoding="chunked"))
        await app.is_asked()
        await wire.send(b"a: b\r\n" * HEAD, piece=1000)
        await wire.end()
        short = await listener.wire()
        await short.send(request("POST", "/", b"0\r\na: b\r\n\r\n", transfer_encoding="chunked"))
        assert (await short.answer()).status == 200


async def test_a_connection_on_which_nothing_comes_is_closed_without_a_word() -> None:
    async with listening(App(), seconds=0.1) as listener:
        assert await (await listener.wire()).end() == b""


@pytest.mark.parametrize("after", [b"", request()], ids=["at first", "after a request"])
async def test_empty_lines_and_bytes_now_and_then_gain_no_time(after: bytes) -> None:
    async with listening(App(), seconds=0.3) as listener:
        wire = await listener.wire()
        if after:
            await wire.send(after)
            assert (await wire.answer()).status == 200

        async def trickle() -> None:
            while True:
                await wire.send(b"\r\n")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        said = await wire.end()
        trickling.cancel()
        assert said[:13] in (b"HTTP/1.1 408 ", b"")


async def test_the_next_request_may_begin_while_an_answer_is_under_way() -> None:
    app = App()
    async with listening(app, seconds=0.1) as listener:
        wire = await listener.wire()
        await wire.send(request("GET", "/later"))
        await app.is_asked()
        await wire.send(request()[:10])
        for _ in range(2):  # longer than a head may take
            await (await listener.wire()).end()
        app.go_on.set()
        assert (await wire.answer()).body == b"ok"
        await wire.send(request()[10:])
        assert (await wire.answer()).body == b"ok"


async def test_only_so_many_requests_may_wait_for_an_answer() -> None:
    app = App()
    async with listening(app) as listener:
        wire = await listener.wire()
        await wire.send(request("GET", "/later") + request() * 16)
        app.go_on.set()
        for _ in range(17):
            assert (await wire.answer()).status == 200
        app.go_on.clear()
        wire = await listener.wire()
        await wire.send(request("GET", "/later"))
        await until(lambda: len(app.asked) == 18)
        await wire.send(request() * 40)
        await wire.end()
    assert app.asked == ["/later", *["/"] * 16, "/later"]


async def test_places_are_taken_until_somebody_signs_in_or_goes() -> None:
    async with listening(App(), per_address=2) as listener:
        first, second = await listener.wire(), await listener.wire()
        for wire in (first, second):
            await wire.send(request())
            assert (await wire.answer()).status == 200
        await second.send(request("GET", "/sign_in"))
        assert (await second.answer()).status == 200
        assert len(listener.strangers) == 1
        for _ in range(3):
            await (await listener.wire()).send(request())
        assert await first.end() == b""
        await second.send(request())
        assert (await second.answer()).status == 200


async def test_the_connections_of_a_proxy_are_not_counted() -> None:
    async with listening(App(), per_address=1, is_proxy=lambda address: address == "127.0.0.1") as listener:
        wires = [await listener.wire() for _ in range(3)]
        for wire in wires:
            await wire.send(request())
            assert (await wire.answer()).status == 200
        assert len(listener.strangers) == 0


async def test_whoever_is_cut_off_for_others_is_told_to_the_request_that_is_handled() -> None:
    app = App()
    async with listening(app, per_address=1) as listener:
        wire = await listener.wire()
        await wire.send(request("GET", "/listen") + request())  # the second one hides the first from uvicorn
        await app.is_asked()
        await (await listener.wire()).send(request())
        await asyncio.wait_for(app.gone.wait(), SECONDS)
        assert await wire.end() == b""


async def test_a_client_that_goes_is_told_to_the_request_that_is_handled() -> None:
    app = App()
    async with listening(app) as listener:
        wire = await listener.wire()
        await wire.send(request("GET", "/listen") + request())
        await app.is_asked()
        wire.close()
        await asyncio.wait_for(app.gone.wait(), SECONDS)


@pytest.mark.parametrize("limit", ["by itself", "in all"])
async def test_a_client_that_does_not_read_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(stall, "STALLED_SECONDS", 0.1 if limit == "by itself" else 1000)
    app = App()
    async with listening(app, unread=1000 if limit == "in all" else 2**30) as listener:
        wire = await listener.wire(receive_buffer=4096)
        await wire.send(request("GET", "/flood"))
        await asyncio.wait_for(app.gone.wait(), SECONDS)
        assert len(listener.strangers) == 0


async def test_a_client_that_reads_slowly_gets_the_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "STALLED_SECONDS", 5)
    app = App()
    async with listening(app) as listener:
        wire = await listener.wire(receive_buffer=4096)
        await wire.send(request("GET", "/flood"))
        await wire.read(40 * 65536)
        assert not app.gone.is_set()


async def test_a_handshake_that_does_not_come_to_its_end_is_cut_off() -> None:
    async with listening(App(), seconds=0.1, certificate=str(CERTIFICATE)) as listener:
        assert await (await listener.wire()).end() == b""
        trust = ssl.create_default_context(cafile=str(CERTIFICATE))
        trust.check_hostname = False
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=trust)
        wire = Wire(reader, writer)
        await wire.send(request())
        assert (await wire.answer()).body == b"ok"
        wire.close()


@pytest.mark.parametrize(
    "sent",
    [request(), request()[:20], upgrade(), request("GET", "/listen") + 5 * request()],
    ids=["a request", "half a head", "an upgrade", "many requests"],
)
@pytest.mark.parametrize("who_ends", ["client", "server"])
async def test_nothing_of_a_connection_is_left_for_the_garbage_collector(sent: bytes, who_ends: str) -> None:
    """With many strangers its pauses would be as long as a second, and until then its memory would be full."""
    app = App()
    async with listening(app, per_address=1) as listener:
        wire = await listener.wire()
        await until(lambda: len(listener.strangers) == 1)
        gc.disable()
        try:
            (protocol,) = map(weakref.ref, listener.server.server_state.connections)
            await wire.send(sent)
            if b"listen" in sent:
                await app.is_asked()
            elif len(sent) > 20:
                await wire.answer()
            if who_ends == "client":
                wire.close()
            else:
                await (await listener.wire()).send(request())
            await until(lambda: protocol() is None)
        finally:
            gc.enable()


@pytest.mark.parametrize("sent", [request, upgrade], ids=["a request", "an upgrade"])
async def test_whoever_is_known_need_not_wait_among_strangers(
    monkeypatch: pytest.MonkeyPatch, sent: Callable[..., bytes]
) -> None:
    monkeypatch.setattr("keyside.adapters.listener.turns.PAUSE_SECONDS", 1000)
    app = App()
    async with listening(app) as listener:
        strange = [await listener.wire() for _ in range(2)]
        for wire in strange:
            await wire.send(request())
        assert (await strange[0].answer()).status == 200
        for _ in range(2):
            wire = await listener.wire()
            await wire.send(sent(cookie="signed"))
            assert (await wire.answer()).status in (101, 200)
    assert len(app.asked) == 3


# --- upgrades ------------------------------------------------------------------------------------


async def test_a_websocket_takes_its_connections_place() -> None:
    async with listening(App(), per_address=2) as listener:
        first = await listener.upgraded()
        assert len(listener.strangers) == 1
        second = await listener.upgraded()
        await listener.upgraded()
        assert await first.end() == b""
        second.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"padding": "x" * 1500, "content_length": "0"},
        {"content_length": "5"},
        {f"x_{at}": "1" for at in range(150)},
    ],
    ids=["too long", "a body", "too many"],
)
async def test_an_upgrade_that_the_library_cannot_read_is_answered_and_holds_no_place(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    monkeypatch.setattr("websockets.http11.MAX_LINE_LENGTH", 1000)
    async with listening(App()) as listener:
        wire = await listener.wire()
        await wire.send(upgrade(**wrong))
        refused = await wire.answer()
        assert (refused.status, code(refused.body)) == (400, "bad_request")
        assert await wire.end() == b""
        assert len(listener.strangers) == 0


async def test_a_wrong_upgrade_is_refused_and_holds_no_place() -> None:
    async with listening(App()) as listener:
        wire = await listener.wire()
        await wire.send(upgrade(sec_websocket_version="7"))
        assert b"HTTP/1.1 400 " in await wire.end()
        assert len(listener.strangers) == 0


async def test_an_upgrade_behind_an_answer_ends_the_connection_and_the_answer_hears_of_it() -> None:
    app = App()
    async with listening(app, websocket=GuardedWebSocket) as listener:
        wire = await listener.wire()
        await wire.send(request("GET", "/listen"))
        await app.is_asked()
        await wire.send(upgrade())
        assert b"101" not in await wire.end()
        await asyncio.wait_for(app.gone.wait(), SECONDS)
        assert len(listener.strangers) == 0
