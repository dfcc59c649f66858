"""A stream through Keyside: a framed executor that keeps the protocol's rules (E1 to E5), and viewers of its chat."""

import asyncio
import json
import random
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import httpx

from tests.benchmarks.streams import Record, Stream
from tests.benchmarks.text import POOL, QUOTED, WORDS
from tests.benchmarks.websocket import Socket, SocketIo

PATH = "/ws/socket.io"
PACE = 0.033
"""E5: the next frame goes at the later of the last acknowledgement and 33 ms."""
LATE = 0.002
"""The most seconds by which a timer is late, by chance. Real clients do not send in lockstep either."""


class Failed(Exception):
    """The server refused a valid message, so the figures of this measurement mean nothing."""


class _Viewer(SocketIo):
    def __init__(self, stream: "KeysideStream", index: int) -> None:
        super().__init__()
        self.token = stream.token
        self._stream = stream
        self._index = index

    def on_event(self, packet: bytes) -> None:
        at = packet.find(b'"content":"')
        if at > 0 and b'"kind":"delta"' in packet[:at]:
            self._stream.saw(self._index, packet.count(b" ", at))


class _Executor(SocketIo):
    def __init__(self, stream: "KeysideStream") -> None:
        super().__init__()
        self.token = stream.token
        self._stream = stream

    def on_ack(self, packet: bytes) -> None:
        self._stream.on_frame_ack(packet)

    def on_event(self, packet: bytes) -> None:
        at = packet.index(b"[")
        message = json.loads(packet[at:])[1]
        if message["type"] == "request:chat:completion":
            data = message["data"]
            answer = {"status": True, "run_id": data["run_id"], "attempt": data["attempt"]}
            self.send(b"43%s[%s]" % (packet[2:at], json.dumps(answer).encode()))
            self._stream.offered.set_result(data)


class KeysideStream(Stream):
    """A stream through Keyside. `expected` is what the server has acknowledged; one frame at a time is in flight."""

    def __init__(
        self, record: Record, start: int, port: int, name: str, http: httpx.AsyncClient, token: str = ""
    ) -> None:
        super().__init__(record, start)
        self.token = token
        self.offered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.expected = 0
        self.acknowledged: asyncio.Event = asyncio.Event()
        self.failure: str | None = None
        self._port = port
        self._name = name
        self._http = http
        self._executor = _Executor(self)
        self._viewers: list[_Viewer] = []
        self._waiting = False
        self._planned = False
        self._next_at = 0.0
        self._finished = False

    @property
    def sockets(self) -> Sequence[Socket]:
        return [self._executor, *self._viewers]

    async def open(self, viewers: int) -> None:
        """Announces the executor, opens the chat in every viewer, asks for an answer, and claims it."""
        await self._announce([])
        made = await self._http.post("/api/chats", json={})
        chat_id = made.raise_for_status().json()["id"]
        self.seen = [0] * viewers
        self._viewers = [_Viewer(self, index) for index in range(viewers)]
        for viewer in self._viewers:
            await viewer.connect(self._port, PATH)
            _good(await viewer.call("chat:open", b'{"chat_id":%d}' % chat_id))
        body = {"model": f"{self._name}/m", "message": {"content": "hello"}}
        started = await self._http.post(f"/api/chats/{chat_id}/runs", json=body)
        self._run = started.raise_for_status().json()
        self._offer = await self.offered
        self._channel = self._offer["channel"].encode()
        _good(await self._executor.call(self._offer["channel"], b'{"attempt":1,"index":0,"lines":[]}'))

    async def _announce(self, holds: list[dict[str, Any]]) -> Any:
        await self._executor.connect(self._port, PATH)
        ready = {
            "executor_id": self._name,
            "secret": "a secret of the benchmark",
            "instance": "instance-1",
            "name": self._name,
            "connections": [{"id": "c1", "provider": self._name, "models": [{"id": "m"}]}],
            "holds": holds,
        }
        return _good(await self._executor.call("executor:ready", json.dumps(ready).encode()))

    # --- frames ----------------------------------------------------------------------------------

    def make(self, count: int = 1) -> None:
        self.made += [perf_counter()] * count
        self._plan()

    def refill(self) -> None:
        room = self.window - len(self.made) + min(self.expected, *self.seen)
        if room > 0 and not self._waiting and not self._finished:
            self.make(room)

    def _plan(self) -> None:
        """Sends the next frame now, or as soon as the pace or the next acknowledgement allows it."""
        if self._waiting or self._planned or self.failure:
            return
        wait = self._next_at - perf_counter()
        if wait <= 0:
            self._send()
        else:
            self._planned = True
            asyncio.get_running_loop().call_later(wait, self._due)

    def _due(self) -> None:
        self._planned = False
        if not self._waiting and len(self.made) > self.expected:
            self._send()

    def _send(self) -> None:
        now = perf_counter()
        first, last = self.expected, len(self.made)
        self.sent += [now] * (last - len(self.sent))
        lines = b",".join([QUOTED[(self.start + at) % POOL] for at in range(first, last)])
        self._waiting = True
        self._next_at = now + PACE + random.random() * LATE
        self._executor.emit(self._channel, b'{"attempt":1,"index":%d,"lines":[%s]}' % (first, lines))

    def on_frame_ack(self, packet: bytes) -> None:
        at = packet.find(b'"expected":')
        if b'"ok":true' not in packet or at < 0:
            self.failure = packet.decode()
            return
        self.expected = int(packet[at + 11 :].rstrip(b"}]").partition(b",")[0])
        self._waiting = False
        self.acknowledged.set()
        if self.window:
            self.refill()
        elif len(self.made) > self.expected:
            self._plan()

    # --- coming back, and the end ----------------------------------------------------------------

    async def resume(self, seconds: float) -> None:
        """Reconnects to the restarted server, and returns when it has acknowledged a frame again."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            self._executor = _Executor(self)
            try:
                ack = await self._announce([{"run_id": self._offer["run_id"], "attempt": 1}])
                break
            except OSError:
                if loop.time() > until:
                    raise
                await asyncio.sleep(0.02)
        verdict = ack["runs"][0]
        if verdict["verdict"] != "continue":
            raise Failed(f"the run was not continued: {verdict}")
        self.expected = verdict["expected"]
        self._waiting = False
        self.acknowledged.clear()
        self.make()
        async with asyncio.timeout(seconds):
            await self.acknowledged.wait()

    async def finish(self) -> None:
        """Ends the answer, and checks that the stored text is what was sent."""
        self._finished = True
        frame = b'{"attempt":1,"index":%d,"lines":["data: [DONE]"],"done":true,"finish":{"reason":"stop"}}'
        _good(await self._executor.call(self._offer["channel"], frame % self.expected))
        message = self._run["assistant_message"]
        answer = await self._http.get(f"/api/chats/{message['chat_id']}/messages")
        stored = next(m for m in answer.raise_for_status().json()["items"] if m["id"] == message["id"])
        said = "".join(WORDS[(self.start + at) % POOL] for at in range(self.expected))
        if stored["content"] != said:
            raise Failed(f"stored: {len(stored['content'])} characters, said: {len(said)}")


def _good(packet: bytes) -> Any:
    """The acknowledgement, which must not be a refusal."""
    answer = json.loads(packet)[0]
    if not answer.get("ok"):
        raise Failed(str(answer))
    return answer
