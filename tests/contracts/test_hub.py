"""How events reach readers in this process, and calls a scripted session."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from keyside.adapters.followers import Followers
from keyside.adapters.memory.hub import MemoryHub
from keyside.core.changes import Entry, Removed
from keyside.services.ports import Gone
from keyside.testing import MemoryCalls


def entry(chat_id: int, seq: int) -> Entry:
    return Entry(chat_id, seq, 0, Removed(()))


async def next_of(coming: AsyncIterator[Entry], count: int) -> list[int]:
    async with asyncio.timeout(5):
        return [(await anext(coming)).seq for _ in range(count)]


@pytest.mark.rule("V2")
async def test_every_reader_of_a_chat_gets_its_events_in_the_order_of_publishing() -> None:
    hub = MemoryHub()
    with hub.follow(1) as first:
        hub.publish([entry(1, 1), entry(1, 2)])
        with hub.follow(1) as second, hub.follow(2) as other:
            hub.publish([entry(2, 7)])
            hub.publish([entry(1, 3)])
            hub.publish([entry(1, 4), entry(1, 5)])
            assert await next_of(first, 5) == [1, 2, 3, 4, 5]
            assert await next_of(second, 3) == [3, 4, 5]
            assert await next_of(other, 1) == [7]


async def test_a_reader_waits_for_what_is_still_to_come() -> None:
    followers = Followers()
    with followers.follow(1) as coming:
        waiting = asyncio.ensure_future(next_of(coming, 2))
        await asyncio.sleep(0)
        assert not waiting.done()
        followers.publish([entry(1, 1), entry(1, 2)])
        assert await waiting == [1, 2]


async def test_a_reader_that_has_left_is_forgotten() -> None:
    followers = Followers()
    with followers.follow(1) as stays:
        with pytest.raises(RuntimeError, match="gone"), followers.follow(1):
            raise RuntimeError("gone")
        followers.publish([entry(1, 1)])
        assert await next_of(stays, 1) == [1]
    followers.publish([entry(1, 2)])
    assert vars(followers) == vars(Followers())


async def test_the_hub_in_memory_notes_who_is_where_and_what_was_told() -> None:
    hub = MemoryHub()
    await hub.join("s1", "chat:1")
    await hub.join("s2", "chat:1")
    await hub.leave("s1", "chat:1")
    await hub.leave("s1", "nowhere")
    hub.tell("chat:1", {"type": "x", "data": {}})
    assert hub.rooms["chat:1"] == {"s2"}
    assert hub.told == [("chat:1", {"type": "x", "data": {}})]


async def test_a_call_raises_as_soon_as_its_session_goes() -> None:
    calls = MemoryCalls()
    with pytest.raises(Gone):
        await calls.call("nobody", {"type": "x", "data": {}})
    calls.sessions["s"] = asyncio.Queue()
    waiting = asyncio.ensure_future(calls.call("s", {"type": "x", "data": {"n": 1}}))
    await asyncio.sleep(0)
    assert calls.sessions["s"].get_nowait() == {"type": "x", "data": {"n": 1}}
    calls.gone("s")
    with pytest.raises(Gone):
        await waiting
    calls.tell("s", {"type": "x", "data": {}})
