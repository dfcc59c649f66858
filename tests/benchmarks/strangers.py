"""Streams while strangers do what they can: the added latency, as a ratio to that without them, in the same run."""

import asyncio
import gc
import json
import sys
from collections import Counter
from pathlib import Path

import httpx

from tests.benchmarks.contenders import Contender, finished
from tests.benchmarks.keyside_stream import KeysideStream
from tests.benchmarks.measure import Phase, Row
from tests.benchmarks.pace import Upstreams, drained
from tests.benchmarks.servers import Keyside
from tests.meta.repo import ROOT

SOCKETS = 10_000
REQUESTS = 2_000
GUESSES = 1_000


async def strangers(folder: Path, count: int, rounds: int, seconds: float) -> tuple[dict[str, Row], dict[str, int]]:
    """`count` streams without strangers and with them, in turns. Returns the rows, and what became of the strangers.

    In all rounds together there are as many strangers as the constants above say, evenly spread over the seconds.
    """
    server = Keyside(folder, auth="local")
    await server.start()
    token = await server.token("api", "chats", "executor")
    http = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.port}", timeout=30, headers={"authorization": f"Bearer {token}"}
    )
    try:
        contender = Contender(
            "keyside", server, lambda record, start, room: KeysideStream(record, start, server.port, room, http, token)
        )
        streams = await contender.open(count)
        phases = {"keyside": Phase(contender, streams), "keyside-strangers": Phase(contender, streams)}
        found: Counter[str] = Counter()
        for _ in range(rounds):
            await _measure(phases["keyside"], seconds)
            attack = await _attack(server.port, seconds + 1, rounds)
            await _measure(phases["keyside-strangers"], seconds)
            found += Counter(await _told(attack))
            await asyncio.sleep(1)
        rows = {name: phase.row() for name, phase in phases.items()}
        rows["keyside-strangers"]["memory_mb"] = server.memory / 1e6
        await finished(streams)
    finally:
        await http.aclose()
        await server.stop()
    return rows, dict(found)


async def _measure(phase: Phase, seconds: float) -> None:
    gc.collect()
    gc.disable()
    upstreams = Upstreams(phase.streams)
    upstreams.start()
    await asyncio.sleep(1)
    upstreams.late = 0.0
    phase.begin()
    await asyncio.sleep(seconds)
    phase.end()
    phase.late = max(phase.late, upstreams.late)
    upstreams.stop()
    gc.enable()
    await drained(phase.streams)


async def _attack(port: int, seconds: float, rounds: int) -> asyncio.subprocess.Process:
    counts = (str(count // rounds) for count in (SOCKETS, REQUESTS, GUESSES))
    command = [sys.executable, "-m", "tests.benchmarks.attack", str(port), str(seconds), *counts]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)


async def _told(attack: asyncio.subprocess.Process) -> dict[str, int]:
    said, _ = await asyncio.wait_for(attack.communicate(), 60)
    told: dict[str, int] = json.loads(said)
    return told
