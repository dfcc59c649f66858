"""A seeded campaign: a server that restarts, an executor that lives through it all, and viewers that miss things.

The executor keeps the promises of the protocol and the link keeps none: frames are lost, doubled, reordered and late,
acknowledgements don't come back, sockets break, offers are declined.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from keyside.adapters.memory.log import MemoryChatLog
from keyside.adapters.memory.store import MemoryStore
from keyside.core.changes import Changes, Entry
from keyside.core.limits import Limits
from keyside.core.run import State
from keyside.core.step import Refused
from keyside.protocol import wire
from keyside.protocol.commands import Started
from keyside.protocol.entities import Message
from keyside.protocol.errors import KeysideError
from keyside.services.ports import Stored, View
from keyside.testing import DONE, MemoryServer, ScriptedExecutor, settle, text_line

# Whoever lives is patient: only the callback and the time to come back are as short as ever.
LIMITS = Limits(first_line=1e9, idle=1e9, run=1e9, queue=1e9, late_resume=1e9)
WORDS = ["a", " b", "\n", "語", "🙂", "</think>", '"', "\\", "data: ", "e\u0301", ""]
MOST_RUNS = 5
STEPS = 60
ROUNDS = 30


@dataclass
class Attempt:
    """One attempt in the executor's hands, and what it read upstream."""

    offer: wire.CompletionRequest
    upstream: list[str]
    claimed: bool = False
    received: int = 0
    acknowledged: int = 0
    sent: int = 0
    over: bool = False

    def next_frame(self, most: int) -> dict[str, Any] | None:
        if not self.claimed:
            return {"attempt": self.offer.attempt, "index": 0, "lines": []}
        lines = self.upstream[self.sent : min(self.received, self.sent + most)]
        ends = self.sent + len(lines) == len(self.upstream)
        if not lines and not ends:
            return None
        frame = {"attempt": self.offer.attempt, "index": self.sent, "lines": lines}
        self.sent += len(lines)
        return frame | ({"done": True, "finish": {"reason": "stop"}} if ends else {})


@dataclass
class Viewer:
    """A tab with a chat open: it folds events, loses some, and opens again where it notices (V2, V6).

    It does one thing after the other: what comes while it opens waits for the answer (V1).
    """

    chat_id: int
    dice: Random
    seq: int = 0
    opened: bool = False
    texts: dict[str, str] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    """Every number that it took since its last snapshot, in order."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def open(self, server: MemoryServer) -> None:
        async with self.turn:
            await self._open(server)

    async def take(self, server: MemoryServer, event: dict[str, Any]) -> None:
        async with self.turn:
            if not self.opened or event["seq"] <= self.seq or self.dice.random() < 0.1:
                return
            if event["seq"] > self.seq + 1:
                await self._open(server)
            if event["seq"] == self.seq + 1:
                self.fold(event)

    async def _open(self, server: MemoryServer) -> None:
        after = self.seq if self.opened and self.dice.random() < 0.8 else None
        answer = await server.services.viewers.open("viewer", server.user_id, self.chat_id, after)
        if answer["events"] is None:
            self.texts = {message["id"]: message["content"] for message in answer["snapshot"]["messages"]}
            self.numbers.clear()
        for event in answer["events"] or ():
            self.fold(event)
        self.seq, self.opened = answer["seq"], True

    def fold(self, event: dict[str, Any]) -> None:
        self.seq = event["seq"]
        self.numbers.append(event["seq"])
        if event["kind"] == "message":
            self.texts[event["message"]["id"]] = event["message"]["content"]
        elif event["kind"] == "delta":
            self.texts[event["message_id"]] = self.texts.get(event["message_id"], "") + event.get("content", "")


class BusyLog(MemoryChatLog):
    """A log that is slow, as a database is: it commits one after the other, and other tasks run in between."""

    def __init__(self, dice: Random) -> None:
        super().__init__()
        self._dice = dice
        self._waiting: list[tuple[Sequence[Changes], Stored]] = []

    def submit(self, changes: Sequence[Changes], stored: Stored) -> None:
        self._waiting.append((changes, stored))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._work, self._dice.randrange(6))

    def _work(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._work, turns - 1)
            return
        super().submit(*self._waiting[0])
        del self._waiting[0]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._work, self._dice.randrange(6))

    async def message(self, user_id: int, message_id: str) -> Message | None:
        await asyncio.sleep(0)
        return await super().message(user_id, message_id)

    async def read(self, chat_id: int, **what: Any) -> tuple[Entry, ...] | None:
        entries = await super().read(chat_id, **what)
        await asyncio.sleep(0)
        return entries

    async def view(self, chat_id: int, **what: Any) -> View | None:
        found = await super().view(chat_id, **what)
        await asyncio.sleep(0)
        return found


class Campaign:
    """One seed's schedule."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        store = MemoryStore(BusyLog(Random(seed)))
        self.server = MemoryServer(store=store, limits=LIMITS)
        self.desk = ScriptedExecutor(self.server)
        self.online = False
        self.declined: set[tuple[str, int]] = set()
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.asked: dict[str, int] = {}
        """How often the upstream was called, by run."""
        self.texts: dict[str, list[str]] = {}
        self.runs: list[Started] = []
        self.stopped: set[str] = set()
        self.flying: set[asyncio.Task[None]] = set()
        self.frames: list[tuple[str, dict[str, Any]]] = []
        self.viewers: list[Viewer] = []
        self.watching: list[asyncio.Task[None]] = []
        self.fair = False

    async def run(self) -> None:
        await self.server.__aenter__()
        try:
            for n in range(2):
                chat = await self.server.chat(f"chat {n}")
                self.viewers.append(Viewer(chat.id, Random(self.dice.random())))
            self.watch()
            await self.connect()
            for _ in range(STEPS):
                await self.dice.choices(ACTIONS, WEIGHTS)[0](self)
            await self.finish()
        finally:
            await self.close()

    # --- what can happen

    async def ask(self) -> None:
        if len(self.runs) < MOST_RUNS:
            chat_id = self.dice.choice(self.viewers).chat_id
            run_id = f"run-{len(self.runs)}"
            self.texts[run_id] = [self.dice.choice(WORDS) for _ in range(self.dice.randrange(1, 12))]
            self.asked[run_id] = 0
            try:
                self.runs.append(await self.server.ask(chat_id, f"question {run_id}", run_id=run_id))
            except KeysideError as error:
                expect(error, "message_running")
            await self.listen()

    async def listen(self) -> None:
        """The executor takes what it was told: offers, some of which it declines, and stops."""
        await settle()
        while self.online and not self.server.calls.sessions[self.desk.session_id].empty():
            message = await self.desk.told()
            data = message["data"]
            key = (data["run_id"], data["attempt"])
            if message["type"] == "request:chat:abort" and key in self.attempts:
                self.attempts[key].over = True
            elif message["type"] == "request:chat:completion" and key not in self.declined:
                lines = [*map(text_line, self.texts[key[0]]), text_line("", finish_reason="stop"), DONE]
                self.attempts[key] = Attempt(wire.CompletionRequest.model_validate(data), lines)

    async def speak(self) -> None:
        for attempt in self.attempts.values():
            if attempt.claimed:
                attempt.received = min(len(attempt.upstream), attempt.received + self.dice.randrange(4))

    async def send(self) -> None:
        """Sends frames without waiting for acknowledgements. Frames or acknowledgements may be lost."""
        for attempt in self.attempts.values():
            frame = None if attempt.over else attempt.next_frame(self.dice.randrange(1, 5))
            if frame is not None:
                self.fly(attempt, frame)
        if self.dice.random() < 0.5:
            await self.land()

    async def resend(self) -> None:
        for attempt in self.attempts.values():
            attempt.sent = attempt.acknowledged
        await self.send()

    async def replay(self) -> None:
        """Sends an old frame once more."""
        if self.frames and self.online:
            with suppress(Refused, KeysideError):
                await self.put(*self.dice.choice(self.frames))

    async def break_socket(self) -> None:
        """Disconnects the executor. Frames in flight arrive before that, or never."""
        if self.online:
            self.online = False
            await self.desk.disconnect()
            await self.land()

    async def connect(self) -> None:
        if self.online:
            return
        self.desk.server = self.server
        self.desk.says = self.callback
        holds = [key for key, attempt in self.attempts.items() if not attempt.over]
        self.online = True
        ack = await self.desk.connect(holds)
        assert {(said.run_id, said.attempt) for said in ack.runs} == set(holds)
        for said in ack.runs:
            attempt = self.attempts[said.run_id, said.attempt]
            attempt.over = said.verdict == "drop"
            if attempt.claimed and said.expected is not None:
                assert said.expected >= attempt.acknowledged, "what was acknowledged was forgotten"
                attempt.acknowledged = attempt.sent = said.expected
        await self.listen()

    def callback(self, data: dict[str, Any]) -> dict[str, Any]:
        declines = self.dice.random() < 0.1 and not self.fair
        answer = {"status": not declines, "run_id": data["run_id"], "attempt": data["attempt"]}
        if declines:
            self.declined.add((data["run_id"], data["attempt"]))
            code = self.dice.choice(["executor_closing", "executor_busy"])
            answer["error"] = {"code": code, "message": "not now", "retryable": True}
        return answer

    async def time_goes_by(self) -> None:
        await self.server.clock.advance(self.dice.choice([0.1, 1, 5, 40, 70]))
        await self.listen()

    async def restart(self) -> None:
        """Restarts the server. The next one has only what is stored."""
        await self.close()
        before = self.server
        self.server = MemoryServer(store=before.store, clock=before.clock, ids=before.ids, limits=LIMITS)
        self.online = False
        await self.server.__aenter__()
        self.watch()

    async def stop(self) -> None:
        if self.runs and self.dice.random() < 0.2:
            run_id = self.dice.choice(self.runs).run.id
            shown = await self.server.services.requests.stop(self.server.user_id, run_id)
            if shown.state in ("aborted", "interrupted"):
                self.stopped.add(run_id)
            await self.listen()

    async def look(self) -> None:
        """A viewer opens its chat, or opens it again."""
        await self.dice.choice(self.viewers).open(self.server)

    # --- frames

    def fly(self, attempt: Attempt, frame: dict[str, Any]) -> None:
        lost, unheard = self.dice.random() < 0.15, self.dice.random() < 0.2
        self.frames.append((attempt.offer.channel, frame))
        if not lost and self.online:
            task = asyncio.create_task(self.deliver(attempt, frame, unheard))
            self.flying.add(task)
            task.add_done_callback(self.flying.discard)

    async def put(self, channel: str, frame: dict[str, Any]) -> int:
        answer = await self.server.frame(self.desk.session_id, channel, frame)
        assert isinstance(answer, wire.FrameAck)
        return answer.expected

    async def deliver(self, attempt: Attempt, frame: dict[str, Any], unheard: bool) -> None:
        for _ in range(self.dice.randrange(4)):
            await asyncio.sleep(0)
        try:
            expected = await self.put(attempt.offer.channel, frame)
        except Refused as refused:
            if refused.code in ("stale_attempt", "run_ended"):
                attempt.over = True
            elif refused.code == "gap" and refused.expected is not None:
                attempt.sent = max(attempt.acknowledged, refused.expected)
            return
        except KeysideError as error:
            expect(error, "not_ready", "unknown_event")
            return
        if unheard:
            return
        if not attempt.claimed:
            attempt.claimed = True
            self.asked[attempt.offer.run_id] += 1
        attempt.acknowledged = max(attempt.acknowledged, expected)
        attempt.sent = max(attempt.sent, attempt.acknowledged)

    async def land(self) -> None:
        await asyncio.gather(*self.flying)

    # --- around it

    def watch(self) -> None:
        self.watching = [asyncio.create_task(self.follow(viewer)) for viewer in self.viewers]

    async def follow(self, viewer: Viewer) -> None:
        server = self.server
        with server.hub.follow(viewer.chat_id) as coming:
            async for entry in coming:
                await viewer.take(server, entry.payload)

    async def close(self) -> None:
        await self.land()
        for task in self.watching:
            task.cancel()
        await asyncio.gather(*self.watching, return_exceptions=True)
        await self.server.__aexit__()

    async def finish(self) -> None:
        """Lets everything get through until all runs have ended. Declined runs are offered again at each connect."""
        self.fair = True
        await self.break_socket()
        for _ in range(ROUNDS):
            await self.connect()
            await self.listen()
            for attempt in self.attempts.values():
                attempt.received = len(attempt.upstream)
            await self.resend()
            await self.land()
            if all([await self.ended(started) for started in self.runs]):
                return

    async def ended(self, started: Started) -> bool:
        run = await self.server.services.requests.get(self.server.user_id, started.run.id)
        final = run.state is State.INTERRUPTED and run.closed_by is not None
        return final or run.state in (State.DONE, State.FAILED, State.ABORTED)


def expect(error: KeysideError, *codes: str) -> None:
    """Raises the error again unless its code is one of these, which the protocol allows here."""
    if error.code not in codes:
        raise error


ACTIONS = [
    Campaign.ask,
    Campaign.speak,
    Campaign.send,
    Campaign.resend,
    Campaign.replay,
    Campaign.break_socket,
    Campaign.connect,
    Campaign.time_goes_by,
    Campaign.restart,
    Campaign.stop,
    Campaign.look,
]
WEIGHTS = [10, 20, 30, 8, 8, 4, 8, 6, 3, 3, 8]
