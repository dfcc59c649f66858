"""The faults. Each is a coroutine that causes the fault, waits, and repairs what does not recover by itself."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from tests.chaos.kit import disk
from tests.chaos.kit.companion import Companion
from tests.chaos.world import World

Fault = Callable[[World, random.Random], Awaitable[None]]


async def kill(world: World, rng: random.Random) -> None:
    """kill -9 of the server, and a new one."""
    async with world.server.lock:
        await world.server.kill()
        await asyncio.sleep(rng.choice((0, 0, 0.3, 1)))
        await world.server.start()


async def term(world: World, rng: random.Random) -> None:
    """SIGTERM to the server, and a new one."""
    async with world.server.lock:
        await world.server.end()
        await asyncio.sleep(rng.choice((0, 0.3)))
        await world.server.start()


async def freeze_server(world: World, rng: random.Random) -> None:
    """SIGSTOP of the server for some seconds."""
    async with world.server.lock:
        await world.server.freeze(rng.uniform(0.2, 3))


async def cut(world: World, rng: random.Random) -> None:
    """Ends the connections of one client at once."""
    rng.choice(world.proxies).cut()


async def halve(world: World, rng: random.Random) -> None:
    """Ends the connections of one client in the middle of a packet."""
    rng.choice(world.proxies).cut_after(rng.randint(1, 3000))


async def delay(world: World, rng: random.Random) -> None:
    """Delays everything that one client sends and receives."""
    await rng.choice(world.proxies).delay(rng.choice((0.05, 0.3)), rng.uniform(0.3, 2))


async def swallow(world: World, rng: random.Random) -> None:
    """Drops everything that one client sends and receives, then ends its connections."""
    await rng.choice(world.proxies).swallow(rng.uniform(0.3, 2.5))


async def leave_half(world: World, rng: random.Random) -> None:
    """Ends one client's connections so that the server notices it only later."""
    await rng.choice(world.proxies).leave_half(rng.uniform(0.3, 2))


async def kill_executor(world: World, rng: random.Random) -> None:
    """Kills an executor with SIGKILL. It may be started again."""
    if world.messy is not None and rng.random() < 0.2:
        await world.messy.stop()
        return
    companion = await _one(world, rng)
    if companion is not None:
        await companion.kill()
        await _again(companion, rng)


async def end_executor(world: World, rng: random.Random) -> None:
    """Closes an executor, which stops its runs."""
    companion = await _one(world, rng)
    if companion is not None:
        await companion.end()
        await _again(companion, rng)


async def freeze_executor(world: World, rng: random.Random) -> None:
    """An executor sleeps for longer than it may take to answer a call; its offers go to others, then it wakes."""
    companion = await _one(world, rng)
    if companion is not None:
        await companion.freeze(rng.uniform(1.2, 3.5))


async def reopen_viewer(world: World, rng: random.Random) -> None:
    """A viewer is closed, and opened again: where it was, or with nothing."""
    viewer = rng.choice(world.viewers)
    async with viewer.turn:
        await viewer.stop()
        await asyncio.sleep(rng.choice((0, 0.5, 1)))
        if rng.random() < 0.5:
            viewer.forget()
        viewer.start()


async def stop(world: World, rng: random.Random) -> None:
    """Somebody stops a run."""
    if world.asked:
        asked = rng.choice(world.asked)
        asked.stopped = True
        await world.api.ask("POST", f"/api/runs/{asked.id}/stop")


async def truncate(world: World, rng: random.Random) -> None:
    """Somebody deletes a message, and all that follows it."""
    if world.asked:
        asked = rng.choice(world.asked)
        chat = next(chat for chat in world.chats if chat.id == asked.chat_id)
        chat.truncated.add(asked.message_id)
        await world.api.ask("DELETE", f"/api/chats/{chat.id}/messages/{asked.message_id}")


async def delete_chat(world: World, rng: random.Random) -> None:
    """Somebody deletes a chat."""
    chat = rng.choice(world.chats)
    chat.deleted = True
    await world.api.ask("DELETE", f"/api/chats/{chat.id}")


async def fill_disk(world: World, rng: random.Random) -> None:
    """Fills the disk for a while. The server may be killed meanwhile."""
    async with world.server.lock:
        if world.disk is not None:
            world.figures["full tmpfs"] += 1
            world.disk.fill()
        elif disk.can_limit():
            world.figures["full by limit"] += 1
            disk.limit_files(world.server.pid, full=True)
        await asyncio.sleep(rng.uniform(0.3, 3))
        dies = rng.random() < 0.25
        if dies:
            await world.server.kill()
        if world.disk is not None:
            world.disk.free()
        elif disk.can_limit() and not dies:
            disk.limit_files(world.server.pid, full=False)
        if dies:
            await world.server.start()


async def reload_tab(world: World, rng: random.Random) -> None:
    """The page is loaded anew; its worker lives on."""
    if world.profile is not None and world.profile.alive:
        await world.profile.reload()


async def close_tab(world: World, rng: random.Random) -> None:
    """Another tab is opened, and the first is closed; the worker is the same."""
    if world.profile is not None and world.profile.alive:
        await world.profile.move()


async def lose_network(world: World, rng: random.Random) -> None:
    """The browser is offline for some seconds."""
    if world.profile is not None and world.profile.alive:
        await world.profile.lose_network(rng.uniform(0.3, 2.5))


async def close_profile(world: World, rng: random.Random) -> None:
    """The browser is closed, and its worker with it."""
    if world.profile is not None and world.profile.alive:
        await world.profile.kill()


async def _one(world: World, rng: random.Random) -> Companion | None:
    alive = [companion for companion in world.companions if companion.alive]
    return rng.choice(alive) if alive else None


async def _again(companion: Companion, rng: random.Random) -> None:
    if rng.random() < 0.5:
        await asyncio.sleep(rng.choice((0, 0.5)))
        await companion.start()


FAULTS: dict[str, tuple[Fault, int]] = {
    "kills": (kill, 8),
    "terms": (term, 4),
    "server freezes": (freeze_server, 4),
    "cuts": (cut, 6),
    "halves": (halve, 6),
    "delays": (delay, 4),
    "swallowed": (swallow, 3),
    "half open": (leave_half, 4),
    "executor kills": (kill_executor, 3),
    "executor ends": (end_executor, 2),
    "executor freezes": (freeze_executor, 5),
    "viewers reopened": (reopen_viewer, 5),
    "stops": (stop, 4),
    "truncations": (truncate, 3),
    "chats deleted": (delete_chat, 2),
    "full disks": (fill_disk, 3),
}
"""Each fault and how often it is chosen, against the others."""

TAB_FAULTS: dict[str, tuple[Fault, int]] = {
    "reloads": (reload_tab, 4),
    "tabs closed": (close_tab, 4),
    "times offline": (lose_network, 4),
    "browsers closed": (close_profile, 2),
}
"""The same for faults of browser tabs."""
