"""A framed executor that keeps the rules in unusual ways: it repeats, overlaps and reorders frames, and claims late."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from tests.chaos.kit.proxy import Proxy
from tests.chaos.kit.socket import Gone, Socket
from tests.chaos.kit.text import script
from tests.chaos.kit.upstream import Upstream

_LAST = ("stale_attempt", "run_ended")
_ACK_SECONDS = 2
_PAUSE = 0.05
STOLEN = 'data: {"choices": [{"index": 0, "delta": {"content": "STOLEN"}}]}'


class Attempt:
    """A run in hand."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.run_id: str = request["run_id"]
        self.attempt: int = request["attempt"]
        self.channel: str = request["channel"]
        self.key: str = request["form_data"]["user"]
        self.claimed = False
        self.lines: list[str] = []
        self.finish: dict[str, Any] | None = None
        self.expected = 0
        self.over = False
        self.reading: asyncio.Task[None] | None = None

    def end(self, reason: str) -> None:
        """Ends the attempt's lines. Only the first end counts."""
        if self.finish is None:
            self.finish = {"reason": reason}
            if self.reading is not None:
                self.reading.cancel()


class Messy:
    """The executor. Its only process is `messy-1`, and `stop` ends it for good."""

    def __init__(self, proxy: Proxy, upstream: Upstream, rng: random.Random) -> None:
        self._socket = Socket(proxy)
        self._socket.received = self._received
        self._socket.opened = self._announce
        self._socket.lost = self._lost
        self._thief = Socket(proxy)
        self._upstream = upstream
        self._rng = rng
        self._ready = asyncio.Event()
        self._runs: dict[tuple[str, int], tuple[Attempt, asyncio.Task[None]]] = {}
        self.name, self.who = "messy", "messy-1"
        self.dead: set[str] = set()
        self.frames = self.late = self.thefts = 0
        self.wrong: list[str] = []

    def start(self) -> None:
        """Connects."""
        self._socket.start()
        self._thief.start()

    async def ready(self) -> None:
        """Waits until it has announced itself."""
        await asyncio.wait_for(self._ready.wait(), 30)

    async def stop(self) -> None:
        """Ends the executor. Its runs are lost."""
        self.dead.add(self.who)
        await self._socket.stop()
        await self._thief.stop()
        for attempt, task in list(self._runs.values()):
            attempt.end("aborted")
            task.cancel()

    # --- announcing ------------------------------------------------------------------------------

    async def _announce(self) -> None:
        provided = [{"id": "m", "name": None, "context_length": None, "input": None, "output": None}]
        providers = [("c1", "custom"), ("c2", "messy")]
        ready = {
            "executor_id": "messy",
            "secret": "a secret of the chaos tests",
            "instance": "1",
            "name": self.name,
            "connections": [{"id": id, "provider": p, "label": "", "models": provided} for id, p in providers],
            "max_runs": 8,
            "holds": [{"run_id": a.run_id, "attempt": a.attempt} for a, _ in self._runs.values()],
        }
        while not (ack := await self._socket.call("executor:ready", ready, _ACK_SECONDS))["ok"]:
            if not ack["error"]["retryable"]:
                self.wrong.append(f"messy could not announce itself: {ack['error']}")
            await asyncio.sleep(_PAUSE)
        for verdict in ack["runs"]:
            held = self._runs.get((verdict["run_id"], verdict["attempt"]))
            if held and verdict["verdict"] == "drop":
                held[0].over = True
                held[0].end("aborted")
            elif held:
                held[0].expected = verdict["expected"]
        self._ready.set()

    def _lost(self) -> None:
        self._ready.clear()

    def _received(self, message: dict[str, Any]) -> Any:
        data = message["data"]
        if message["type"] == "request:chat:abort":
            held = self._runs.get((data["run_id"], data["attempt"]))
            if held:
                held[0].end("aborted")
        if message["type"] != "request:chat:completion":
            return None
        attempt = Attempt(data)
        key = (attempt.run_id, attempt.attempt)
        if key not in self._runs:
            task = asyncio.create_task(self._run(attempt))
            self._runs[key] = (attempt, task)
            task.add_done_callback(lambda _: self._runs.pop(key, None))
        return {"status": True, "run_id": attempt.run_id, "attempt": attempt.attempt}

    # --- one run ---------------------------------------------------------------------------------

    async def _run(self, attempt: Attempt) -> None:
        if self._rng.random() < 0.3:
            self.late += 1
            await asyncio.sleep(self._rng.uniform(1, 3))  # the offer goes to another meanwhile, and both answer
        await self._until(attempt, lambda: attempt.claimed, lambda: {"index": 0, "lines": []})
        if attempt.over or attempt.finish:
            return
        attempt.reading = asyncio.create_task(self._read(attempt))
        await self._until(attempt, lambda: attempt.over, lambda: self._frame(attempt))

    async def _read(self, attempt: Attempt) -> None:
        async for lines in self._upstream.answer(attempt.key, self.who):
            attempt.lines += lines
        told = script(attempt.key)
        attempt.finish = {"reason": told.reason if told.complete else "truncated"}

    async def _until(self, attempt: Attempt, reached: Callable[[], bool], frame: Callable[[], dict[str, Any]]) -> None:
        while True:
            await self._ready.wait()
            if reached() or attempt.over:
                return
            count = self._rng.choice((1, 1, 2, 4)) if attempt.claimed else 1
            sends = [self._send(attempt, frame()) for _ in range(count)]
            if self._rng.random() < 0.1:
                sends.append(self._steal(attempt))
            await asyncio.gather(*sends)
            await asyncio.sleep(_PAUSE * self._rng.random())

    def _frame(self, attempt: Attempt) -> dict[str, Any]:
        """A frame whose lines may overlap or leave a gap. It has the end mark if all lines are sent."""
        have = len(attempt.lines)
        start = min(have, max(0, attempt.expected + self._rng.choice((-40, -3, 0, 0, 0, 2, 30))))
        stop = min(have, start + self._rng.choice((1, 7, 60, 500, 5000)))
        done = attempt.finish is not None and stop == have
        more = {"done": True, "finish": attempt.finish} if done else {}
        return {"index": start, "lines": attempt.lines[start:stop], **more}

    async def _send(self, attempt: Attempt, frame: dict[str, Any]) -> None:
        self.frames += 1
        try:
            ack = await self._socket.call(attempt.channel, {"attempt": attempt.attempt, **frame}, _ACK_SECONDS)
        except Gone:
            return
        if ack["ok"]:
            attempt.claimed = True
            attempt.expected = max(attempt.expected, ack["expected"])
            attempt.over |= frame.get("done", False)
        elif ack["error"]["code"] in _LAST:
            attempt.over = True
            attempt.end("aborted")
        elif ack["error"]["code"] == "gap":
            attempt.expected = ack["expected"]
        elif not ack["error"]["retryable"]:
            self.wrong.append(f"messy was told {ack['error']} for {frame['index']} of {attempt.run_id}")

    async def _steal(self, attempt: Attempt) -> None:
        """Tries to write into the answer from another socket of the same user that knows the channel."""
        frame = {"attempt": attempt.attempt, "index": attempt.expected, "lines": [STOLEN]}
        try:
            ack = await self._thief.call(attempt.channel, frame, _ACK_SECONDS)
        except Gone:
            return
        self.thefts += 1
        if ack["ok"]:
            self.wrong.append(f"another socket wrote into {attempt.run_id}")
