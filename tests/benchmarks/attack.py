"""Strangers who mean harm, as a process of their own, with the arguments PORT SECONDS SOCKETS REQUESTS GUESSES.

They come from several loopback addresses, the first of which makes half of all connections, so that one address and all
together have more than the server takes. They keep what they opened for as long as the server lets them, and say at the
end, as JSON, how many of each there were and what became of them.
"""

import asyncio
import base64
import json
import os
import random
import sys
from collections import Counter
from time import perf_counter
from typing import cast

import uvloop

ADDRESSES = [f"127.0.0.{number}" for number in range(2, 32)]
NICE = 10
"""Strangers do not run on the server's own cores: here they get what the others leave."""
_TURN = 0.01


class _Connection(asyncio.Protocol):
    """Sends something, keeps the connection open, and counts how the server answers and ends it."""

    def __init__(self, attack: "Attack", kind: str, sends: bytes) -> None:
        self._attack = attack
        self._kind = kind
        self._sends = sends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._attack.open += 1
        self._attack.most_open = max(self._attack.most_open, self._attack.open)
        cast(asyncio.Transport, transport).write(self._sends)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 "):
            self._attack.found[f"{self._kind} answered {data[9:12].decode()}"] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._attack.open -= 1
        if not self._attack.over:
            self._attack.found[f"{self._kind} closed by the server"] += 1


class Attack:
    """So many sockets without sign-in, half-open requests and guesses of a sign-in code, evenly over the time."""

    def __init__(self, port: int, seconds: float, counts: dict[str, int]) -> None:
        self._port = port
        self._seconds = seconds
        self._counts = counts
        self._chance = random.Random(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.found: Counter[str] = Counter()
        self.open = self.most_open = 0
        self.over = False

    async def run(self) -> dict[str, int]:
        """Returns what became of them."""
        began = perf_counter()
        begun = dict.fromkeys(self._counts, 0)
        while (share := (perf_counter() - began) / self._seconds) < 1:
            for kind, count in self._counts.items():
                while begun[kind] < count * share:
                    begun[kind] += 1
                    task = asyncio.create_task(self._connect(kind))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(_TURN)
        self.over = True
        return {**self.found, "open at the same time": self.most_open, "open at the end": self.open}

    async def _connect(self, kind: str) -> None:
        address = ADDRESSES[0] if self._chance.random() < 0.5 else self._chance.choice(ADDRESSES[1:])
        loop = asyncio.get_running_loop()
        sends = self._sends(kind)
        try:
            await loop.create_connection(
                lambda: _Connection(self, kind, sends), "127.0.0.1", self._port, local_addr=(address, 0)
            )
            self.found[f"{kind} opened"] += 1
        except OSError:
            self.found[f"{kind} refused"] += 1

    def _sends(self, kind: str) -> bytes:
        host = b"Host: 127.0.0.1:%d\r\n" % self._port
        if kind == "half-open requests":
            return b"GET / HTTP/1.1\r\n" + host
        if kind == "guesses":
            body = json.dumps({"code": base64.b64encode(os.urandom(24)).decode()}).encode()
            return (
                b"POST /api/auth/redeem HTTP/1.1\r\n%bOrigin: http://127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (host, self._port, len(body), body)
            )
        return (
            b"GET /ws/?EIO=4&transport=websocket HTTP/1.1\r\n%bUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n" % (host, base64.b64encode(os.urandom(16)))
        )


def main() -> None:
    os.nice(NICE)
    port, seconds, sockets, requests, guesses = sys.argv[1:]
    counts = {"sockets": int(sockets), "half-open requests": int(requests), "guesses": int(guesses)}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(Attack(int(port), float(seconds), counts).run())), flush=True)
    os._exit(0)  # without closing thousands of connections one by one


if __name__ == "__main__":
    main()
