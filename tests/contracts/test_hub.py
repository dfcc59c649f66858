"""How events reach readers in this process, and how a session is called: in memory, and over both transports."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from keyside.adapters.memory.hub import MemoryHub
from keyside.adapters.subscriptions import Subscriptions
from keyside.core.changes import Entry, Removed
from keyside.services.ports import Gone
from tests.contracts.sockets import CALL, World, made, world
from tests.edge.live import SECONDS


@pytest.fixture(params=["memory", "lean", "stock", "stock with callbacks"])
async def here(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with world(request.param) as made:
        yield made


def entry(chat_id: int, seq: int) -> Entry:
    return Entry(chat_id, seq, 0, Removed(()))


async def next_of(coming: AsyncIterator[Entry], count: int) -> list[int]:
    async with asyncio.timeout(5):
        return [(await anext(coming)).seq for _ in range(count)]


@pytest.mark.rule("V2")
async def test_every_reader_of_a_chat_gets_its_events_in_the_order_of_publishing(here: World) -> None:
    hub = here.hub
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
    followers = Subscriptions()
    with followers.follow(1) as coming:
        waiting = asyncio.ensure_future(next_of(coming, 2))
        await asyncio.sleep(0)
        assert not waiting.done()
        followers.publish([entry(1, 1), entry(1, 2)])
        assert await waiting == [1, 2]


async def test_a_reader_that_has_left_is_forgotten() -> None:
    followers = Subscriptions()
    with followers.follow(1) as stays:
        with pytest.raises(RuntimeError, match="gone"), followers.follow(1):
            raise RuntimeError("gone")
        followers.publish([entry(1, 1)])
        assert await next_of(stays, 1) == [1]
    followers.publish([entry(1, 2)])
    assert vars(followers) == vars(Subscriptions())


@pytest.mark.rule("V2")
async def test_for_a_reader_that_lags_only_so_much_waits_and_the_newest_is_always_there() -> None:
    """What it misses it reads from the log: it sees that a number is missing."""
    followers = Subscriptions()
    long = [Entry(1, seq, 0, Removed(("x" * 100_000,))) for seq in range(1, 101)]
    with followers.follow(1) as coming:
        followers.publish(long)
        (reader,) = followers._readers[1]
        assert 0 < len(reader._entries) <= 11
        first = (await next_of(coming, 1))[0]
        assert first > 89
        assert await next_of(coming, 100 - first) == list(range(first + 1, 101))
        followers.publish([entry(1, 101)])
        assert await next_of(coming, 1) == [101]
        assert reader._weight == 0


async def test_the_hub_in_memory_notes_who_is_where_and_what_was_told() -> None:
    hub = MemoryHub()
    await hub.join("s1", "chat:1")
    await hub.join("s2", "chat:1")
    await hub.leave("s1", "chat:1")
    await hub.leave("s1", "nowhere")
    hub.tell("chat:1", {"type": "x", "data": {}})
    assert hub.rooms["chat:1"] == {"s2"}
    assert hub.told == [("chat:1", {"type": "x", "data": {}})]


# --- calls -----------------------------------------------------------------------------------------


def request(n: int) -> dict[str, object]:
    return {"type": CALL, "data": {"n": n}}


async def test_a_call_returns_what_its_session_answers(here: World) -> None:
    session, other = await here.session(), await here.session()
    session.answers(lambda data: {"n": data["n"] + 1})
    other.answers(lambda data: {"n": -data["n"]})
    async with asyncio.timeout(SECONDS):
        assert await asyncio.gather(*(here.calls.call(session.session_id, made(request(n))) for n in range(20))) == [
            {"n": n + 1} for n in range(20)
        ]
        assert await here.calls.call(other.session_id, made(request(5))) == {"n": -5}
    assert (await session.next(CALL))["data"] == {"n": 0}


async def test_a_call_raises_as_soon_as_its_session_goes(here: World) -> None:
    session = await here.session()
    waiting = [asyncio.ensure_future(here.calls.call(session.session_id, made(request(n)))) for n in (1, 2)]
    assert [(await session.next(CALL))["data"]["n"] for _ in waiting] == [1, 2]
    await session.close()
    for one in waiting:
        with pytest.raises(Gone):
            await asyncio.wait_for(one, SECONDS)
    with pytest.raises(Gone):
        await asyncio.wait_for(here.calls.call(session.session_id, made(request(3))), SECONDS)


async def test_a_call_to_nobody_raises_at_once(here: World) -> None:
    with pytest.raises(Gone):
        await asyncio.wait_for(here.calls.call("nobody", made(request(1))), SECONDS)


async def test_a_call_that_is_given_up_leaves_the_others_alone(here: World) -> None:
    session = await here.session()
    given_up = asyncio.ensure_future(here.calls.call(session.session_id, made(request(1))))
    await session.next(CALL)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    session.answers(lambda data: data["n"])
    async with asyncio.timeout(SECONDS):
        assert await here.calls.call(session.session_id, made(request(2))) == 2


async def test_what_is_told_arrives_in_order_and_may_be_told_to_nobody(here: World) -> None:
    session = await here.session()
    here.calls.tell("nobody", {"type": "x", "data": {}})
    for n in range(50):
        here.calls.tell(session.session_id, {"type": "x", "data": {"n": n}})
    got = [(await session.next("x"))["data"]["n"] for _ in range(50)]
    assert all(one < other for one, other in itertools.pairwise(got))
