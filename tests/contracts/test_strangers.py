"""Connections without sign-in: which of them is closed when there are too many."""

import asyncio

import pytest

from keyside.adapters.listener.strangers import Stranger, Strangers
from keyside.adapters.socketio.unconnected import ConnectLimits, Unconnected
from tests.edge.live import SECONDS


class Place:
    """Takes places, and notes whose was taken away."""

    def __init__(self, per_address: int, in_all: int) -> None:
        self.strangers = Strangers(per_address=per_address, in_all=in_all)
        self.closed: list[str] = []

    def add(self, name: str, address: str) -> Stranger:
        return self.strangers.add(address, lambda: self.closed.append(name))


def test_the_oldest_of_an_address_makes_room_for_its_next() -> None:
    place = Place(per_address=2, in_all=100)
    for name, address in [("a", "1.1.1.1"), ("b", "2.2.2.2"), ("c", "1.1.1.1"), ("d", "1.1.1.1"), ("e", "1.1.1.1")]:
        place.add(name, address)
    assert place.closed == ["a", "c"]
    assert len(place.strangers) == 3


def test_the_oldest_of_all_makes_room_when_there_are_too_many_in_all() -> None:
    place = Place(per_address=2, in_all=3)
    for at in range(6):
        place.add(str(at), f"1.1.1.{at}")
    assert place.closed == ["0", "1", "2"]
    assert len(place.strangers) == 3


def test_whoever_signs_in_or_goes_makes_room_and_is_never_closed() -> None:
    place = Place(per_address=2, in_all=3)
    first = place.add("first", "1.1.1.1")
    place.add("second", "1.1.1.1")
    first.leave()
    first.leave()
    assert len(place.strangers) == 1
    place.add("third", "1.1.1.1")
    assert place.closed == []
    place.add("fourth", "1.1.1.1")
    assert place.closed == ["second"]
    first.leave()
    assert len(place.strangers) == 2


def test_one_that_was_closed_counts_no_more_when_its_end_is_told() -> None:
    place = Place(per_address=1, in_all=3)
    first = place.add("first", "1.1.1.1")
    place.add("second", "1.1.1.1")
    first.leave()
    assert len(place.strangers) == 1
    place.add("third", "1.1.1.1")
    assert place.closed == ["first", "second"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:1.2.3.4", "1.2.3.4", True),
        ("1.2.3.4", "1.2.3.5", False),
        ("no address", "no address", True),
        ("", "1.2.3.4", False),
    ],
    ids=["one network", "two networks", "IPv4 in IPv6", "IPv4", "a name", "unknown"],
)
def test_what_counts_as_the_same_client(one: str, other: str, same: bool) -> None:
    place = Place(per_address=1, in_all=100)
    place.add("one", one)
    place.add("other", other)
    assert place.closed == (["one"] if same else [])


class Sessions:
    """Sessions without a CONNECT, and those of them that were ended."""

    def __init__(self, **limits: float) -> None:
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        known = {"seconds": 1000.0, "per_address": 10, "in_all": 10, **limits}
        self.unconnected = Unconnected(ConnectLimits(**known), self.ended.put_nowait)  # type: ignore[arg-type]

    def begin(self, name: str, address: str = "1.1.1.1") -> None:
        self.unconnected.begin(name, {"client": (address, 1)})


async def test_a_session_that_does_not_sign_in_is_ended_and_another_is_not() -> None:
    sessions = Sessions(seconds=0.05)
    sessions.begin("signs in")
    sessions.begin("does not")
    sessions.unconnected.leave("signs in")
    sessions.begin("nor this")
    ended = {await asyncio.wait_for(sessions.ended.get(), SECONDS) for _ in range(2)}
    assert ended == {"does not", "nor this"}
    assert "does not" not in sessions.unconnected
    assert sessions.ended.empty()


async def test_sessions_without_sign_in_are_counted_by_address_and_in_all() -> None:
    sessions = Sessions(per_address=1, in_all=2)
    for name, address in [("a", "1.1.1.1"), ("b", "1.1.1.1"), ("c", "2.2.2.2"), ("d", "3.3.3.3")]:
        sessions.begin(name, address)
    assert [sessions.ended.get_nowait() for _ in range(2)] == ["a", "b"]
    assert "c" in sessions.unconnected
    assert "d" in sessions.unconnected
    sessions.unconnected.leave("c")
    sessions.unconnected.leave("c")
    sessions.begin("e", "4.4.4.4")
    assert sessions.ended.empty()


async def test_a_session_that_begins_again_has_one_place() -> None:
    sessions = Sessions(per_address=2)
    sessions.begin("a")
    sessions.begin("a")
    sessions.begin("b")
    assert sessions.ended.empty()
