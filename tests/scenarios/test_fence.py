"""Whose frames count, when a commit takes its time and the run goes from one executor to the next meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from keyside.adapters.memory.store import MemoryStore
from keyside.core.limits import Limits
from keyside.core.step import Refused
from keyside.protocol import wire
from keyside.protocol.commands import Started
from keyside.protocol.errors import KeysideError
from keyside.testing import DONE, MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import ask_desk_first, ended, laptop, refused, run_of, state_of, streaming
from tests.scenarios.test_home import SlowLog

rule = pytest.mark.rule

HEARTBEATS = 50
"""So many wait ahead of a frame that the run has gone to the next executor when it has its turn."""
ENDS: list[dict[str, Any]] = [
    {"finish": {"reason": "stop"}},
    {"finish": {"reason": "error", "error": {"code": "upstream_error", "message": "forged"}}},
    {"finish": {"reason": "truncated"}},
    {"finish": {"reason": "aborted"}},
]
"""All ways in which an end frame can end a run."""


@pytest.fixture
def log() -> SlowLog:
    return SlowLog()


@pytest.fixture
async def server(log: SlowLog) -> AsyncIterator[MemoryServer]:
    async with MemoryServer(store=MemoryStore(log), limits=Limits(queue=100)) as running:
        yield running


@pytest.fixture
async def desk(server: MemoryServer) -> ScriptedExecutor:
    executor = ScriptedExecutor(server)
    await executor.connect()
    return executor


async def codes(*answers: Any) -> set[str]:
    """What the frames were answered: the codes of refusals, and `ok`."""
    done = await asyncio.gather(*answers, return_exceptions=True)
    assert all(isinstance(one, int | Refused | KeysideError) for one in done), done
    return {"ok" if isinstance(one, int) else str(getattr(one, "code", "")) for one in done}


async def withdrawn(
    server: MemoryServer, log: SlowLog, desk: ScriptedExecutor
) -> tuple[Started, wire.CompletionRequest]:
    """A run whose offer to the desk is just being withdrawn, since the desk did not call back: that is not stored."""
    server.calls.answers[desk.session_id] = None
    started, offer = await ask_desk_first(server, desk)
    log.held = []
    await server.clock.advance(11)
    assert len(log.held) == 1
    return started, offer


def guessed(offer: wire.CompletionRequest, *, channel: int) -> wire.CompletionRequest:
    """The offer that the next executor will get, as far as this one can know it."""
    name = offer.channel.partition(".")[0]
    return offer.model_copy(update={"attempt": offer.attempt + 1, "channel": f"{name}.{channel}"})


@rule("E4", "E11")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("channel", [1, 2])
async def test_an_executor_whose_offer_was_withdrawn_cannot_end_the_next_attempt(
    server: MemoryServer, log: SlowLog, desk: ScriptedExecutor, end: dict[str, Any], channel: int
) -> None:
    other = await laptop(server)
    started, offer = await withdrawn(server, log, desk)
    forged = guessed(offer, channel=channel)
    waiting = [asyncio.ensure_future(desk.send(offer, 0)) for _ in range(HEARTBEATS)]
    waiting.append(asyncio.ensure_future(desk.send(forged, 0, done=True, **end)))
    await settle()
    log.let()
    assert await codes(*waiting) == {"stale_attempt"}
    second = await other.offer()
    assert second.attempt == 2
    assert await other.claim(second) == 0
    assert await other.finish(second, 0, "stop", text_line("real"), DONE) == 2
    assert await ended(server, started) == ("done", None, "real")


@rule("E4", "E11")
async def test_neither_can_it_claim_or_write(server: MemoryServer, log: SlowLog, desk: ScriptedExecutor) -> None:
    other = await laptop(server)
    started, offer = await withdrawn(server, log, desk)
    forged = guessed(offer, channel=2)
    waiting = [asyncio.ensure_future(desk.send(offer, 0)) for _ in range(HEARTBEATS)]
    waiting += [asyncio.ensure_future(desk.send(forged, 0)), asyncio.ensure_future(desk.send(forged, 0, DONE))]
    await settle()
    log.let()
    assert await codes(*waiting) == {"stale_attempt"}
    assert await state_of(server, started) == "offered"
    with refused("not_yours"):  # now the attempt is known, and it is the laptop's
        await desk.send(forged, 0, done=True)
    assert await other.claim(await other.offer()) == 0


@rule("E4")
async def test_nobody_sends_for_an_attempt_that_is_not_committed(
    server: MemoryServer, log: SlowLog, desk: ScriptedExecutor
) -> None:
    other = await laptop(server)
    started, offer = await withdrawn(server, log, desk)
    log.let()
    await settle()
    other_offer = await other.offer()
    for executor in (desk, other):
        for attempt in (3, 4, 10**6):
            later = other_offer.model_copy(update={"attempt": attempt, "channel": f"{offer.channel[:-2]}.{attempt}"})
            with refused("stale_attempt"):
                await executor.send(later, 0, done=True)
    assert (await run_of(server, started)).attempt == 2


@rule("E5")
async def test_a_frame_comes_on_the_channel_of_its_attempt(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    name = offer.channel.partition(".")[0]
    for channel in (f"{name}.", f"{name}.0", f"{name}.01", f"{name}.2", f"{name}.1.1", f"{name}.x"):
        with refused("stale_attempt"):
            await desk.send(offer.model_copy(update={"channel": channel}), 1, text_line("x"))
    await desk.finish(offer, 1)
    assert await ended(server, started) == ("done", None, "a")
    with refused("stale_attempt"):
        await desk.send(offer.model_copy(update={"channel": f"{name}.2"}), 1)
    assert await desk.finish(offer, 1) == 1


@rule("E5")
async def test_ordinary_frames_pass_however_slow_the_commits_are(
    server: MemoryServer, log: SlowLog, desk: ScriptedExecutor
) -> None:
    started, offer = await ask_desk_first(server, desk)
    log.held = []
    sent = [asyncio.ensure_future(desk.claim(offer))]
    sent += [asyncio.ensure_future(desk.send(offer, at, text_line(f"{at}"))) for at in range(5)]
    sent.append(asyncio.ensure_future(desk.finish(offer, 5)))
    await settle()
    assert not any(one.done() for one in sent)
    log.let()
    assert await asyncio.gather(*sent) == [0, 1, 2, 3, 4, 5, 5]
    assert await ended(server, started) == ("done", None, "01234")
