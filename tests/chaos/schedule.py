"""One schedule: what is asked for and which faults happen when, all from one seed; then the world comes to rest."""

import asyncio
import random
import time
import traceback
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.checks import check, settle
from tests.chaos.faults import FAULTS, TAB_FAULTS, Fault
from tests.chaos.kit.chromium import Chromium
from tests.chaos.kit.nursery import Nursery
from tests.chaos.world import Asked, Chat, World

MOST_SECONDS = 90
"""The most seconds that a schedule may take, on a busy machine."""


@dataclass
class Result:
    """How a schedule went."""

    seed: int
    figures: Counter[str]
    wrong: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    seconds: float = 0.0


async def play(seed: int, nursery: Nursery, chromium: Chromium) -> Result:
    """Plays a schedule to its end and checks what it left."""
    began = time.monotonic()
    world = World(seed, nursery, chromium)
    story: list[str] = []
    try:
        async with asyncio.timeout(MOST_SECONDS), world:
            _tell(story, began, "all is there")
            await _throw(world, story, began)
            await settle(world)
            _tell(story, began, "all is at rest")
            await check(world)
            _tell(story, began, "all is checked")
    except TimeoutError:
        world.wrong.append(f"did not come to an end in {MOST_SECONDS} s")
    except Exception as error:
        world.wrong.append("the kit: " + "".join(traceback.format_exception(error)))
    result = Result(seed, world.figures, world.wrong, story, time.monotonic() - began)
    if world.wrong:
        story += [f"server: {line}" for line in world.server.log[-30:]]
        story += [f"{what} waits: {why}" for what, why in world.api.troubles.items()]
        story += [f"{one.name}: {line}" for one in world.companions for line in one.said[-5:]]
    return result


def _tell(story: list[str], began: float, what: str) -> None:
    story.append(f"{time.monotonic() - began:.2f} {what}")


async def _throw(world: World, story: list[str], began: float) -> None:
    rng = world.rng
    for _ in range(rng.randint(1, 3)):
        chat = Chat(await world.api.new_chat())
        world.chats.append(chat)
        for viewer in world.viewers:
            viewer.follow(chat.id)
    if world.profile is not None:
        await world.profile.show(world.chats[0].id)
    seconds = rng.uniform(1.5, 3)
    async with asyncio.TaskGroup() as group:
        for number in range(rng.randint(3, 7)):
            asking = _ask(world, number, rng.choice(world.chats), random.Random(rng.random()))
            group.create_task(_later(rng.uniform(0, seconds * 0.7), asking))
        for name, fault in _faults(world):
            own = random.Random(rng.random())
            group.create_task(_happen(world, story, began, rng.uniform(0, seconds), name, fault, own))
    await world.heal()
    _tell(story, began, "every fault is over")


def _faults(world: World) -> list[tuple[str, Fault]]:
    """Chooses a few of the possible faults, and more if there are tabs."""
    draws = [(FAULTS, world.rng.randint(2, 6))]
    if world.profile is not None:
        draws.append((TAB_FAULTS, world.rng.randint(1, 3)))
    found = []
    for faults, count in draws:
        weights = [weight for _, weight in faults.values()]
        found += [(name, faults[name][0]) for name in world.rng.choices(list(faults), weights, k=count)]
    return found


async def _happen(
    world: World, story: list[str], began: float, at: float, name: str, fault: Fault, rng: random.Random
) -> None:
    await asyncio.sleep(at)
    start = time.monotonic() - began
    story.append(f"{start:.2f} {name} begin")
    await fault(world, rng)
    world.figures[name] += 1
    story.append(f"{time.monotonic() - began:.2f} {name} that began at {start:.2f} are over")


async def _later(at: float, work: Coroutine[None, None, None]) -> None:
    await asyncio.sleep(at)
    await work


async def _ask(world: World, number: int, chat: Chat, rng: random.Random) -> None:
    """A message and a run for its answer, or another answer to a message that is there."""
    key = f"{world.seed}-{number}"
    body: dict[str, Any] = {"model": "custom/m", "run_id": f"run-{key}", "params": {"user": key}}
    asked = Asked(body["run_id"], chat.id, "", key)
    named = [companion.name for companion in world.companions]
    named += [world.profile.name] if world.profile is not None else []
    if world.plain is not None and rng.random() < 0.4:
        if world.plain.session_id is None:
            return
        asked.plain = True
        body |= {"model": "m", "session_id": world.plain.session_id}
    elif world.messy is not None and rng.random() < 0.3:
        body["model"], asked.wants = "messy/m", "messy"
    elif rng.random() < 0.15:
        asked.wants = body["executor_id"] = rng.choice(named)
    elif rng.random() < 0.5:
        body["prefer_executor_id"] = rng.choice([*named, "messy"])
    status, answer = 409, dict[str, Any]()
    user_message = f"user-{key}"
    if not chat.user_messages or rng.random() < 0.5:
        status, answer = await world.api.start(chat.id, body | {"message": {"id": user_message, "content": key}})
    if status == 409 and chat.user_messages:
        user_message = rng.choice(chat.user_messages)
        status, answer = await world.api.start(chat.id, body | {"mode": "regenerate", "parent_id": user_message})
        chat.regenerated = True
    if status == 202:
        asked.message_id = answer["assistant_message"]["id"]
        chat.user_messages.append(user_message)
        world.asked.append(asked)
    elif status not in (404, 409):
        world.wrong.append(f"{body} was answered by {status}: {answer}")
