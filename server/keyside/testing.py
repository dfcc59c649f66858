"""The test kit: a whole server in memory, a clock that moves when told to, and an executor that follows a script."""

import asyncio
import heapq
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from keyside.adapters.memory.calls import MemoryCalls
from keyside.adapters.memory.hub import MemoryHub
from keyside.adapters.memory.store import MemoryStore
from keyside.app import Services, lifecycle_of
from keyside.core.limits import Limits
from keyside.core.step import Refused
from keyside.protocol import wire
from keyside.protocol.commands import NewRun, Started, UserTurn
from keyside.protocol.entities import Chat, Connection, ExecutorKind, Message, Model
from keyside.protocol.errors import KeysideError
from keyside.services.connections import Socket
from keyside.services.dispatcher import MOST_RUNS
from keyside.services.frames import Reply
from keyside.services.ports import Store

_TURNS = 200
"""Turns of the event loop after which everything in memory has come to rest."""


_SESSIONS = itertools.count(1)
"""Over all servers of the process: a socket of one is never mistaken for one of another."""


async def settle() -> None:
    """Lets everything happen that can happen without time going on."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


class FakeClock:
    """`Clock` that stands still until `advance`."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        """See `Clock`."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._numbers), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Moves on, waking each sleeper at its time, and lets what follows from it happen."""
        await settle()
        until = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            self._now, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
                await settle()
        self._now = until
        await settle()


class CountingIds:
    """`Ids` that can be read: `id-1`, `id-2`, ..."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self) -> str:
        """See `Ids`."""
        return f"id-{next(self._numbers)}"


class MemoryServer:
    """All services of a server, without sockets and without HTTP. `async with` starts and stops it, and fails where
    something is left in memory of runs that are over.

    Give the `store` of an earlier server to see what a restart makes of it, and its `ids` to make more there.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        clock: FakeClock | None = None,
        ids: CountingIds | None = None,
        limits: Limits | None = None,
        user_runs: int = MOST_RUNS,
    ) -> None:
        self.clock = clock or FakeClock()
        self.hub = MemoryHub()
        self.calls = MemoryCalls()
        self.store = store or MemoryStore()
        self.ids = ids or CountingIds()
        self.services = Services(self.store, self.hub, self.calls, self.clock, self.ids, limits or Limits(), user_runs)
        self.lifecycle = lifecycle_of(self.services, 7 * 86400)
        self.user_id = 0

    async def __aenter__(self) -> "MemoryServer":
        await self.lifecycle.start()
        self.user_id = (await self.services.accounts.owner()).id
        return self

    async def __aexit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        await settle()
        left = self.services.runs.leftovers()
        await self.lifecycle.stop()
        left += [f"{residency.key} after the end" for residency in self.services.runs.every()]
        left += self.services.runs.leftovers()
        left += ["a call that waits for its answer"] * self.calls.waiting
        if kind is None:
            assert left == [], f"the server kept something for runs that are over: {left}"

    def connect(self, kind: ExecutorKind = "browser", *, user_id: int | None = None) -> str:
        """A socket connects; returns its session id."""
        session_id = f"session-{next(_SESSIONS)}"
        self.calls.sessions[session_id] = asyncio.Queue()
        scopes = frozenset({"api", "chats", "executor"})
        self.services.viewers.connect(session_id)
        self.services.executors.connect(Socket(session_id, user_id or self.user_id, kind, scopes))
        return session_id

    async def disconnect(self, session_id: str) -> None:
        """A socket goes away."""
        self.services.viewers.gone(session_id)
        await self.services.executors.gone(session_id)
        await settle()

    async def frame(self, session_id: str, channel: str, payload: object) -> Reply:
        """What a socket sends on a channel. Raises `Refused` or `KeysideError`."""
        socket = self.services.connections.get(session_id)
        if socket is None:
            raise KeysideError("unknown_event")
        return await self.services.frames.receive(socket, channel, payload)

    async def chat(self, title: str = "") -> Chat:
        """A new chat of the owner."""
        return await self.services.chats.create(self.user_id, title)

    async def ask(self, chat_id: int, content: str = "hello", *, model: str = "test/m", **more: Any) -> Started:
        """A user's message, and a run for its answer."""
        new = NewRun(model=model, message=UserTurn(content=content), **more)
        return await self.services.requests.start(self.user_id, chat_id, new)

    async def answer(self, started: Started) -> Message:
        """The assistant's message, as stored."""
        message = await self.store.chat_log.message(self.user_id, started.assistant_message.id)
        assert message is not None
        return message


class ScriptedExecutor:
    """A framed executor that does what a test says, by the protocol's rules or against them."""

    def __init__(
        self,
        server: MemoryServer,
        *,
        executor_id: str = "desk",
        models: Sequence[str] = ("m",),
        secret: str = "a secret of the test",  # noqa: S107
        instance: str = "instance-1",
        max_runs: int = 8,
        kind: ExecutorKind = "browser",
    ) -> None:
        self.server = server
        self.kind = kind
        self.session_id = ""
        self.says: Any = lambda data: {"status": True, "run_id": data["run_id"], "attempt": data["attempt"]}
        """Its callback to an offer; `None`: it never calls back."""
        offered = [Connection(id="c1", provider="test", label="", models=[Model(id=model) for model in models])]
        self.ready = wire.ExecutorReady(
            executor_id=executor_id,
            secret=secret,
            instance=instance,
            name=executor_id,
            connections=offered,
            max_runs=max_runs,
        )

    async def connect(self, holds: Iterable[tuple[str, int]] = (), *, instance: str | None = None) -> wire.ReadyAck:
        """Connects, or connects again, and announces itself with what it holds."""
        self.session_id = self.server.connect(self.kind)
        self.server.calls.answers[self.session_id] = self.says
        update: dict[str, Any] = {"holds": [wire.Hold(run_id=run, attempt=attempt) for run, attempt in holds]}
        if instance is not None:
            update["instance"] = instance
        self.ready = self.ready.model_copy(update=update)
        ack = await self.server.services.executors.ready(self.session_id, self.ready)
        await settle()
        return ack

    async def disconnect(self) -> None:
        """Its socket goes away."""
        await self.server.disconnect(self.session_id)

    async def told(self) -> dict[str, Any]:
        """The next message that it got: `{type, data}`."""
        await settle()
        return self.server.calls.sessions[self.session_id].get_nowait()

    async def offer(self) -> wire.CompletionRequest:
        """The next offer."""
        message = await self.told()
        assert message["type"] == "request:chat:completion", message
        return wire.CompletionRequest.model_validate(message["data"])

    async def send(self, offer: wire.CompletionRequest, index: int, *lines: str, **more: Any) -> int:
        """Sends a frame; returns `expected` of its acknowledgement. Raises `Refused` or `KeysideError`."""
        frame = {"attempt": offer.attempt, "index": index, "lines": list(lines), **more}
        answer = await self.server.frame(self.session_id, offer.channel, frame)
        if isinstance(answer, wire.Refusal):
            raise Refused(answer.error.code, answer.expected)
        assert isinstance(answer, wire.FrameAck)
        return answer.expected

    async def claim(self, offer: wire.CompletionRequest) -> int:
        """The start frame (E3)."""
        return await self.send(offer, 0)

    async def finish(self, offer: wire.CompletionRequest, index: int, reason: str = "stop", *lines: str) -> int:
        """The end frame (E7)."""
        return await self.send(offer, index, *lines, done=True, finish={"reason": reason})


def text_line(text: str, **choice: Any) -> str:
    """An upstream's line that adds text."""
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None, **choice}]}
    return "data: " + json.dumps(chunk, ensure_ascii=False)


DONE = "data: [DONE]"

__all__ = [
    "DONE",
    "CountingIds",
    "FakeClock",
    "MemoryCalls",
    "MemoryServer",
    "ScriptedExecutor",
    "settle",
    "text_line",
]
