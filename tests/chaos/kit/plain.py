"""A plain executor: it announces nothing, answers the call, and emits bare lines (E6)."""

import asyncio
import random
from typing import Any

from tests.chaos.kit.proxy import Proxy
from tests.chaos.kit.socket import Gone, Socket
from tests.chaos.kit.upstream import Upstream


class Plain:
    """The smallest possible executor. Its runs do not survive the loss of the connection."""

    def __init__(self, proxy: Proxy, upstream: Upstream, rng: random.Random) -> None:
        self._socket = Socket(proxy)
        self._socket.received = self._received
        self._socket.lost = self._lost
        self._upstream = upstream
        self._rng = rng
        self._runs: dict[str, asyncio.Task[None]] = {}
        self.who = "plain-1"

    @property
    def session_id(self) -> str | None:
        """The session id that a run must name; empty while it is not connected."""
        return self._socket.session_id

    def start(self) -> None:
        """Connects."""
        self._socket.start()

    async def stop(self) -> None:
        """Disconnects for good."""
        await self._socket.stop()
        self._lost()

    def _lost(self) -> None:
        for task in self._runs.values():
            task.cancel()

    def _received(self, message: dict[str, Any]) -> Any:
        data = message["data"]
        if message["type"] == "request:chat:abort" and data["run_id"] in self._runs:
            self._runs[data["run_id"]].cancel()
        if message["type"] != "request:chat:completion":
            return None
        self._runs[data["run_id"]] = asyncio.create_task(self._run(data["channel"], data["form_data"]["user"]))
        return {"status": True}

    async def _run(self, channel: str, key: str) -> None:
        try:
            async for lines in self._upstream.answer(key, self.who):
                for line in lines:
                    cut = self._rng.randrange(len(line)) if self._rng.random() < 0.1 else len(line)
                    for part in (line[:cut], line[cut:]):
                        if part:
                            await self._socket.emit(channel, part)
            await self._socket.emit(channel, {"done": True})
        except Gone:
            pass
