"""Socket events of all kinds, drawn from the protocol's JSON Schema, and what their acknowledgements must be."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed

from keyside.protocol.errors import ERRORS
from keyside.protocol.events import CHANNEL, EVENTS
from keyside.protocol.wire import MAX_PACKET
from tests.edge.live import SHORT_PATH, ask, new_chat
from tests.fuzz.doors.target import Target
from tests.fuzz.doors.values import Strategy, drawn, encoded, ids, mark, nearly, wild

SECONDS = 10
"""The most that an acknowledgement may take."""
IN_HAND = 12
"""How many events are sent ahead of their acknowledgements."""
CALLERS = ("cookie", "executor", "shared", "chats", "api")
_CALL = re.compile(r'42(\d+)\["events",(.*)\]', re.DOTALL)
_ACK = re.compile(r"43(\d+)(\[.*)", re.DOTALL)


def events(definitions: dict[str, Any]) -> Strategy:
    """An event: its name and its arguments."""
    kinds = []
    for name, event in EVENTS.items():
        if event.direction == "client":
            names = ids("channel") if name == CHANNEL else st.just(name)
            payload = nearly(definitions[event.payload.__name__], definitions)
            kinds.append(st.builds(lambda name, payload: [name, payload], names, payload))
    frame = {"attempt": mark("own", "attempt"), "index": 0, "lines": []}
    frames = st.fixed_dictionaries(
        {}, optional={name: wild() for name in ("attempt", "index", "lines", "done", "finish")}
    )
    kinds.append(frames.map(lambda changed: [mark("own", "channel"), frame | changed]))
    names = st.one_of(st.sampled_from([*EVENTS, "connect", "disconnect", "*", ""]), ids("channel"), wild())
    kinds.append(st.builds(lambda name, more: [name, *more], names, st.lists(wild(), max_size=3)))
    return st.one_of(kinds)


def answers(definitions: dict[str, Any]) -> Strategy:
    """The arguments of a callback to the server's call."""
    fitting = nearly(definitions["Answer"], definitions)
    good = st.just({"status": True, "run_id": mark("own", "run"), "attempt": mark("own", "attempt")})
    return st.one_of(good.map(lambda one: [one]), fitting.map(lambda one: [one]), st.lists(wild(), max_size=2))


class Session:
    """A signed-in socket of the attacker's."""

    def __init__(self, target: Target, socket: ClientConnection, caller: str) -> None:
        self._target = target
        self._socket = socket
        self._caller = caller
        self._count = 0
        self._waiting: dict[int, tuple[asyncio.Future[Any], str]] = {}
        self._answers: list[Any] = []
        self.offers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.known: dict[str, object] = dict(target.known)

    async def read(self) -> None:
        """Hears everything until the connection ends."""
        try:
            async for packet in self._socket:
                assert isinstance(packet, str)
                self._target.hear(packet, self._caller)
                if packet == "2":
                    await self._socket.send("3")
                elif ack := _ACK.fullmatch(packet):
                    self._acknowledged(int(ack[1]), ack[2])
                elif call := _CALL.fullmatch(packet):
                    await self._called(int(call[1]), json.loads(call[2]))
        except ConnectionClosed:
            pass
        for future, _ in self._waiting.values():
            future.cancel()

    def _acknowledged(self, number: int, text: str) -> None:
        future, what = self._waiting.pop(number, (None, ""))
        if future is None or future.done():
            return self._target.blame("an acknowledgement too many", text)
        said = json.loads(text)
        future.set_result(said[0])
        code = said[0].get("error", {}).get("code")
        if len(said) != 1 or type(said[0].get("ok")) is not bool or (not said[0]["ok"] and code not in ERRORS):
            self._target.blame("an acknowledgement of another shape", what, text)
        if code == "internal":
            self._target.blame("an event met a fault of the server", self._caller, what)

    async def _called(self, number: int, message: dict[str, Any]) -> None:
        if message["type"] == "request:chat:completion":
            offer = message["data"]
            self.offers.put_nowait(offer)
            answer = self._answers.pop() if self._answers else [{"status": True, **_of(offer)}]
            known = self.known | {"own:run": offer["run_id"], "own:attempt": offer["attempt"]}
            await self._socket.send(f"43{number}{encoded(answer, known)}")

    async def emit(self, event: list[Any]) -> asyncio.Future[Any]:
        """Sends an event; its acknowledgement comes later."""
        text = encoded(event, self.known)
        future = asyncio.get_running_loop().create_future()
        if len(text) > MAX_PACKET:
            future.set_result(None)
            return future
        self._count += 1
        self._waiting[self._count] = future, repr(event)
        await self._socket.send(f"42{self._count}{text}")
        return future

    async def call(self, event: list[Any]) -> Any:
        """Sends an event and waits for its acknowledgement."""
        async with asyncio.timeout(SECONDS):
            return await (await self.emit(event))

    async def play(self, events: Sequence[list[Any]], answers: Sequence[Any]) -> None:
        """Sends all events, a few at a time, and answers the server's calls with these answers."""
        self._answers = list(answers)
        waiting = iter(events)

        async def work() -> None:
            for event in waiting:
                try:
                    await self.call(event)
                except (TimeoutError, asyncio.CancelledError, ConnectionClosed) as error:
                    self._target.blame("not acknowledged", self._caller, repr(error), event)

        await asyncio.gather(*(work() for _ in range(IN_HAND)))


@asynccontextmanager
async def signed_in(target: Target, caller: str) -> AsyncIterator[Session]:
    """A socket of this caller's, which is an executor if it may be one, and has two runs: one is claimed."""
    credentials = target.kept if caller == "cookie" else target.headers[caller]
    token = credentials.get("authorization", "").removeprefix("Bearer ")
    address = f"{target.server.url.replace('http', 'ws', 1)}{SHORT_PATH}?EIO=4&transport=websocket"
    headers = {} if token else credentials
    async with websocket(address, additional_headers=headers, max_size=None, ping_interval=None) as socket:
        await socket.recv()
        await socket.send(f"40{json.dumps({'token': token})}" if token else "40")
        connected = str(await socket.recv())
        assert connected.startswith("40"), connected
        session = Session(target, socket, caller)
        session.known["own:session"] = json.loads(connected[2:])["sid"]
        reading = asyncio.ensure_future(session.read())
        try:
            await _begin_runs(target, session, caller)
            yield session
        finally:
            await socket.close()
            await reading


async def _begin_runs(target: Target, session: Session, caller: str) -> None:
    secret = "a secret of the attacker's"
    session.known |= {"own:executor": f"mallory-{caller}", "own:secret": secret, "own:attempt": 1}
    ready = {
        "executor_id": f"mallory-{caller}",
        "secret": secret,
        "instance": str(session.known["own:session"]),
        "name": "mallory",
        "connections": [{"id": "c1", "provider": f"mallory-{caller}", "models": [{"id": "m"}]}],
    }
    is_executor = (await session.call(["executor:ready", ready]))["ok"]
    async with target.server.http(**target.kept) as http:
        session.known["own:chat"] = await new_chat(http)
        if is_executor:
            started = [await ask(http, model=f"mallory-{caller}/m") for _ in range(2)]
            session.known |= {
                "own:chat": started[0]["run"]["chat_id"],
                "own:message": started[0]["assistant_message"]["id"],
                "own:run": started[0]["run"]["id"],
            }
            async with asyncio.timeout(SECONDS):
                offer = await session.offers.get()
            session.known["own:channel"] = offer["channel"]
            await session.call([offer["channel"], {"attempt": offer["attempt"], "index": 0, "lines": []}])
    target.known |= session.known


def _of(offer: dict[str, Any]) -> dict[str, Any]:
    return {"run_id": offer["run_id"], "attempt": offer["attempt"]}


@dataclass(frozen=True)
class Said:
    """What the attacker's sockets say in one round."""

    events: list[list[Any]]
    answers: list[Any]


def draw(definitions: dict[str, Any], each: int, seed: int) -> Said:
    """So many events for each caller."""
    return Said(drawn(events(definitions), each * len(CALLERS), seed), drawn(answers(definitions), each // 4, seed))


async def play(target: Target, said: Said) -> None:
    """A session of each caller, all at the same time."""

    async def session(number: int, caller: str) -> None:
        async with signed_in(target, caller) as session:
            await session.play(said.events[number :: len(CALLERS)], said.answers)

    await asyncio.gather(*(session(number, caller) for number, caller in enumerate(CALLERS)))
