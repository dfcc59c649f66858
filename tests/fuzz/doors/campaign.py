"""Plays rounds of an attack through all doors at once, and says what went wrong."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.doors import events, raw, routes
from tests.fuzz.doors.target import Bystander, Target, besieged

SCHEMA = Path(__file__).parents[3] / "docs" / "reference" / "protocol.schema.json"
_DRAWING = threading.Lock()
"""hypothesis parses source code as it draws, which two threads of one process must not do at the same time."""
MOST_TOLD = 40
"""After so many faults an attack ends: there is enough to look at."""


@dataclass(frozen=True)
class Size:
    """How much one round sends: requests of each kind to each route, events of each caller, and connections.

    `growth` is how far the server's memory may rise above what it has when idle, in bytes.
    """

    requests: int = 2
    events: int = 50
    connections: int = 100
    growth: int = 60 * 1024 * 1024


@dataclass
class Result:
    """What became of an attack."""

    transport: str
    seed: int
    rounds: int = 0
    requests: int = 0
    events: int = 0
    connections: int = 0
    growth: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """Its figures."""
        return (
            f"{self.transport}, seed {self.seed}: {self.rounds} rounds, {self.requests} requests, "
            f"{self.events} events, {self.connections} connections, "
            f"memory +{self.growth / 2**20:.0f} MiB, {len(self.wrong)} wrong"
        )


async def attack(folder: Path, transport: str, seed: int, size: Size, seconds: float = 0) -> Result:
    """Attacks one server: one round, and more of them until the time is over. Each round's seed follows the last's."""
    result = Result(transport, seed, wrong=[])
    end = time.monotonic() + seconds
    async with besieged(folder, transport, size.growth) as (target, bystander):
        async with target.server.http() as http:
            document = (await http.get("/openapi.json")).json()
        while not result.rounds or (time.monotonic() < end and len(target.wrong) < MOST_TOLD):
            await _round(target, bystander, document, size, seed + result.rounds, result)
            result.rounds += 1
        result.growth, result.wrong = target.growth, target.wrong
    return result


async def _round(
    target: Target, bystander: Bystander, document: dict[str, Any], size: Size, seed: int, result: Result
) -> None:
    definitions = json.loads(SCHEMA.read_text())["$defs"]
    # Drawing comes first: it takes all of the processor, and answers are waited for with a bound in time.
    said, asked = await asyncio.to_thread(_draw, document, definitions, size, seed)
    spells = raw.spells(size.connections, seed)
    await target.admit()
    await asyncio.gather(
        events.play(target, said),
        routes.Routes(target).play(asked),
        raw.play(target, spells),
    )
    await bystander.check()
    target.check()
    result.requests += len(asked)
    result.events += len(said.events)
    result.connections += len(spells)


def _draw(
    document: dict[str, Any], definitions: dict[str, Any], size: Size, seed: int
) -> tuple[events.Said, list[routes.Request]]:
    with _DRAWING:
        return events.draw(definitions, size.events, seed), routes.requests(document, size.requests, seed)
