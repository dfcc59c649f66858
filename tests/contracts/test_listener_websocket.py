"""WebSockets, as bytes: what a stranger may send, and what no client may leave unread."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from keyside.adapters.listener import stall
from keyside.adapters.listener import websocket as guarded
from keyside.adapters.listener.websocket import GuardedWebSocket
from keyside.adapters.socketio.connection import DIRECT, Connection
from keyside.services.ports import SIGNED_IN, SIGNED_OUT
from tests.contracts.listening import CONNECT, UNFINISHED, listening, until
from tests.edge.live import SECONDS
from tests.edge.test_websocket_frames import CLOSE, CONTINUED, PING, frame

pytestmark = pytest.mark.rule("C9")
KINDS = pytest.mark.parametrize("kind", [GuardedWebSocket, Connection])


class App:
    """Takes WebSockets, and keeps what they say. What begins with `sign in` signs in, and `sign out` out."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.connection: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        self.connection = scope["extensions"].get(DIRECT)
        while (event := await receive())["type"] != "websocket.disconnect":
            said = (event.get("text") or "").encode()
            if said.startswith(b"sign in"):
                scope["extensions"][SIGNED_IN](said)
            if said == b"sign out":
                scope["extensions"][SIGNED_OUT]()
            if said == b"close":
                await send({"type": "websocket.close"})
            if said:
                self.said.put_nowait(said)
        self.gone.set()

    async def hears(self) -> bytes:
        return await asyncio.wait_for(self.said.get(), SECONDS)

    async def is_left(self) -> None:
        await asyncio.wait_for(self.gone.wait(), SECONDS)


@KINDS
@pytest.mark.parametrize("piece", [0, 7])
async def test_a_stranger_may_send_so_much_in_all(kind: type[GuardedWebSocket], piece: int) -> None:
    app = App()
    async with listening(app, websocket=kind) as listener:
        wire = await listener.upgraded()
        message = frame(b"x" * 90)
        for _ in range(CONNECT // len(message)):
            await wire.send(message, piece=piece)
            assert await app.hears() == b"x" * 90
        await wire.send(message, piece=piece)
        await app.is_left()
        await wire.end()
        assert len(listener.strangers) == 0


@KINDS
async def test_whoever_has_signed_in_may_send_more_and_counts_no_more(kind: type[GuardedWebSocket]) -> None:
    app = App()
    async with listening(app, websocket=kind) as listener:
        wire = await listener.upgraded()
        await wire.send(frame(b"sign in"))
        assert await app.hears() == b"sign in"
        assert len(listener.strangers) == 0
        for _ in range(3):
            await wire.send(frame(b"x" * CONNECT))
            assert await app.hears() == b"x" * CONNECT


@KINDS
async def test_whoever_has_signed_out_is_a_stranger_again(kind: type[GuardedWebSocket]) -> None:
    app = App()
    async with listening(app, websocket=kind) as listener:
        wire = await listener.upgraded()
        for said in (b"sign in", b"x" * CONNECT, b"sign out", b"sign in", b"sign out", b"sign out"):
            await wire.send(frame(said))
            assert await app.hears() == said
        assert len(listener.strangers) == 1
        await wire.send(frame(b"x" * CONNECT))
        await app.is_left()
        await wire.end()
        assert len(listener.strangers) == 0


@KINDS
async def test_of_messages_that_are_not_whole_those_go_whose_account_has_the_most(kind: type[GuardedWebSocket]) -> None:
    app = App()
    async with listening(app, websocket=kind) as listener:
        honest, *others = [await listener.upgraded() for _ in range(4)]
        size = UNFINISHED // 3
        large = frame(b"x" * size)
        for wire in (honest, *others):
            word = b"sign in as one" if wire is honest else b"sign in as another"
            await wire.send(frame(word))
            assert await app.hears() == word
        for _ in range(5):
            await honest.send(large)
            assert await app.hears() == b"x" * size  # what is whole holds no place
        for wire, room in zip((honest, *others), (100, 300, 200, 300), strict=True):
            await wire.send(large[: size - room])
        await others[1].end()  # the largest of that account
        for wire, room in ((honest, 100), (others[0], 300), (others[2], 300)):
            await wire.send(large[size - room :])
            assert await app.hears() == b"x" * size


@KINDS
async def test_a_websocket_on_which_nobody_signs_in_is_cut_off(kind: type[GuardedWebSocket]) -> None:
    app = App()
    async with listening(app, seconds=0.1, websocket=kind) as listener:
        signs_in = await listener.upgraded()
        await signs_in.send(frame(b"sign in"))
        await app.hears()
        silent = await listener.upgraded()
        await silent.end()
        await (await listener.upgraded()).end()
        await signs_in.send(frame(b"still here"))
        assert await app.hears() == b"still here"


@KINDS
async def test_a_message_may_come_in_so_many_frames(
    kind: type[GuardedWebSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "_MOST_FRAGMENTS", 20)
    app = App()
    async with listening(app, websocket=kind) as listener:
        wire = await listener.upgraded()
        await wire.send(frame(b"x", last=False) + frame(b"x", CONTINUED, last=False) * 18 + frame(b"x", CONTINUED))
        assert await app.hears() == b"x" * 20
        await wire.send(frame(b"x", last=False) + frame(b"x", CONTINUED, last=False) * 20)
        await app.is_left()


@KINDS
@pytest.mark.parametrize(
    "sent", [frame(b"\xff"), frame(b"\xff") * 2, frame(b"x", last=False) + frame(b"\xff", CONTINUED)]
)
@pytest.mark.parametrize("is_closed", [False, True])
async def test_text_that_is_none_ends_the_connection_and_is_no_error(
    kind: type[GuardedWebSocket], sent: bytes, is_closed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    async with listening(app, websocket=kind) as listener:
        wire = await listener.upgraded()
        if is_closed:
            await wire.send(frame(b"close"))
            await app.hears()
            await wire.read(2)  # its close frame
        await wire.send(sent + frame(b"\x03\xe8", CLOSE))
        await wire.end()
        await app.is_left()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@KINDS
@pytest.mark.parametrize("limit", ["MOST_WAITING", "STALLED_SECONDS", "in all"])
async def test_a_client_that_does_not_read_its_pongs_is_cut_off(
    kind: type[GuardedWebSocket], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    in_all = 2**30
    if limit == "in all":
        in_all = 1000
    else:
        module, most = {"MOST_WAITING": (guarded, 100_000), "STALLED_SECONDS": (stall, 0.1)}[limit]
        monkeypatch.setattr(module, limit, most)
    app = App()
    async with listening(app, websocket=kind, unread=in_all) as listener:
        wire = await listener.upgraded()
        await wire.send(frame(b"sign in"))
        await app.hears()
        pings = frame(b"x" * 125, PING) * 100 + frame(b"a message")
        if limit == "STALLED_SECONDS":  # more than the network holds, and less than may wait
            sending = asyncio.ensure_future(wire.send(pings * 1000))
            await app.is_left()
            await sending
            return
        async with asyncio.timeout(SECONDS):
            while not app.gone.is_set():
                await wire.send(pings)


@pytest.mark.parametrize("together", [True, False])
async def test_what_the_server_says_to_a_client_that_does_not_read_is_bounded(
    monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    monkeypatch.setattr("keyside.adapters.socketio.connection.MOST_WAITING", 100_000)
    app = App()
    async with listening(app, websocket=Connection) as listener:
        wire = await listener.upgraded()
        await wire.send(frame(b"sign in"))
        await app.hears()
        async with asyncio.timeout(SECONDS):
            while not app.gone.is_set():
                for _ in range(10):
                    app.connection.write(b"x" * 10_000)
                    if not together:
                        await asyncio.sleep(0)
                await asyncio.sleep(0)


@KINDS
@pytest.mark.parametrize("who_ends", ["client", "server"])
async def test_nothing_of_a_websocket_is_left_for_the_garbage_collector(
    kind: type[GuardedWebSocket], who_ends: str
) -> None:
    """With many strangers its pauses would be as long as a second."""
    app = App()
    async with listening(app, websocket=kind, per_address=1) as listener:
        gc.disable()
        try:
            wire = await listener.upgraded()
            await wire.send(frame(b"hello"))
            await app.hears()
            (connection,) = map(weakref.ref, listener.server.server_state.connections)
            assert type(connection()) is kind
            protocol = weakref.ref(vars(connection())["conn"])
            app.connection = None
            if who_ends == "client":
                wire.close()
            else:
                await listener.wire()
            await until(lambda: connection() is None and protocol() is None)
        finally:
            gc.enable()
