"""What waits for a socket and what of it is being worked on, counted."""

import asyncio

import pytest
from engineio.packet import CLOSE, MESSAGE, Packet

from keyside.adapters.listener.unread import Unread
from keyside.adapters.listener.websocket import MOST_WAITING
from keyside.adapters.socketio.backlog import Backlog
from keyside.adapters.socketio.in_hand import MOST_EVENT_BYTES, MOST_EVENTS, MOST_FRAME_BYTES, InHand
from tests.edge.live import SECONDS


def test_there_is_room_for_so_many_events_and_again_when_one_is_answered() -> None:
    hand = InHand()
    for _ in range(MOST_EVENTS):
        assert not hand.full
        hand.begin_event(1)
    assert hand.full
    hand.end_event(1)
    assert not hand.full


def test_large_events_take_more_room() -> None:
    hand = InHand()
    found = []
    for step in (hand.begin_event, hand.begin_event, hand.end_event):
        step(MOST_EVENT_BYTES // 2)
        found.append(hand.full)
    assert found == [False, True, False]


def test_frames_count_by_their_bytes_and_not_as_events() -> None:
    hand = InHand()
    for _ in range(1000):
        hand.begin_frame(400)
    assert not hand.full
    hand.begin_frame(MOST_FRAME_BYTES)
    found = [hand.full]
    for size in (400, MOST_FRAME_BYTES):
        hand.end_frame(size)
        found.append(hand.full)
    assert found == [True, True, False]


def test_empty_frames_are_bounded_too() -> None:
    hand = InHand()
    count = 0
    while not hand.full and count < 1_000_000:
        hand.begin_frame(0)
        count += 1
    assert 1000 < count < 100_000


def test_an_answered_event_makes_no_room_where_frames_take_it() -> None:
    hand = InHand()
    hand.begin_event(1)
    hand.begin_frame(MOST_FRAME_BYTES)
    hand.end_event(1)
    assert hand.full


async def test_whoever_waits_for_room_goes_on_when_there_is_some() -> None:
    hand = InHand()
    for _ in range(MOST_EVENTS):
        hand.begin_event(1)
    waiting = asyncio.ensure_future(hand.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    hand.end_event(1)
    await asyncio.wait_for(waiting, SECONDS)


def packet(size: int) -> Packet:
    return Packet(MESSAGE, "x" * (size - 1))


async def test_a_backlog_knows_how_much_waits() -> None:
    backlog = Backlog(Unread())
    backlog.put_nowait(packet(100))
    await backlog.put(packet(50))
    backlog.put_nowait(None)
    assert backlog.waiting == 150
    backlog.get_nowait()
    assert backlog.waiting == 50


@pytest.mark.parametrize("taken", [0, 3])
async def test_a_backlog_that_is_too_long_becomes_the_end_of_its_socket(taken: int) -> None:
    backlog = Backlog(Unread())
    size = MOST_WAITING // 8
    for _ in range(taken):
        backlog.put_nowait(packet(size))
        await backlog.get()
        backlog.task_done()
    for _ in range(12):
        backlog.put_nowait(packet(size))
    backlog.put_nowait(None)
    left = [await backlog.get() for _ in range(backlog.qsize())]
    assert [one and one.packet_type for one in left] == [CLOSE, None]
    assert backlog.waiting == 0
    backlog.put_nowait(packet(1))  # nothing comes after what was dropped
    assert backlog.empty()


async def test_nobody_waits_for_a_client_that_does_not_read_its_backlog() -> None:
    backlog = Backlog(Unread())
    backlog.put_nowait(packet(10))
    await asyncio.wait_for(backlog.join(), SECONDS)
