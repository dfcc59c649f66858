"""What waits for clients that do not read: it is bounded in all, not for each of them alone."""

import asyncio
from contextlib import suppress

import pytest
from engineio.packet import CLOSE, MESSAGE, Packet

from keyside.adapters.listener.unread import Unread
from keyside.adapters.socketio.backlog import Backlog
from tests.contracts.listening import until

pytestmark = pytest.mark.rule("C10")


class Reader:
    """A client for which so much waits."""

    def __init__(self, waiting: int, *, is_stranger: bool = False) -> None:
        self.waiting = waiting
        self.is_stranger = is_stranger
        self.is_cut_off = False

    def cut_off(self) -> None:
        self.is_cut_off = True


async def looked(*readers: Reader) -> None:
    """Returns when it was looked whether too much waits for them and for others."""
    canary = Reader(10**9)
    unread = Unread(100)
    for reader in (*readers, canary):
        unread.add(reader)
    await until(lambda: canary.is_cut_off)


async def test_for_whom_the_most_waits_goes_first() -> None:
    readers = [Reader(20), Reader(61), Reader(30), Reader(60)]
    await looked(*readers)
    assert [reader.is_cut_off for reader in readers] == [False, True, False, True]


async def test_strangers_go_before_all_others() -> None:
    signed_in = [Reader(90), Reader(5)]
    stranger = Reader(6, is_stranger=True)
    await looked(*signed_in, stranger)
    assert [reader.is_cut_off for reader in (*signed_in, stranger)] == [False, False, True]


async def test_as_long_as_it_is_not_too_much_nobody_goes() -> None:
    unread = Unread(100)
    readers = [Reader(50), Reader(50)]
    for reader in readers:
        unread.add(reader)
    gone = Reader(10)
    unread.add(gone)
    unread.discard(gone)
    await asyncio.sleep(0.2)
    assert not any(reader.is_cut_off for reader in (*readers, gone))
    readers[0].waiting = 51
    await until(lambda: readers[0].is_cut_off)
    assert not readers[1].is_cut_off


def packet(size: int) -> Packet:
    return Packet(MESSAGE, "x" * (size - 1))


async def test_what_waits_in_backlogs_is_bounded_in_all() -> None:
    unread = Unread(1_000_000)
    first, second = Backlog(unread), Backlog(unread)
    for backlog in (first, second, second):
        backlog.put_nowait(packet(400_000))
    await until(lambda: second.waiting < 10)
    assert (await second.get()).packet_type == CLOSE
    assert first.waiting == 400_000


async def test_a_backlog_that_was_emptied_counts_no_more() -> None:
    unread = Unread(1_000_000)
    first, second = Backlog(unread), Backlog(unread)
    first.put_nowait(packet(900_000))
    assert await first.get()
    second.put_nowait(packet(900_000))
    await asyncio.sleep(0.2)
    assert (first.waiting, second.waiting) == (0, 900_000)


async def test_not_all_of_a_backlog_is_taken_out_at_once() -> None:
    """The library takes all that there is, and what is taken out is counted by nobody."""
    backlog = Backlog(Unread())
    for _ in range(10):
        backlog.put_nowait(packet(50_000))
    at_once = []
    while backlog.qsize():
        at_once.append(1)
        await backlog.get()
        with suppress(asyncio.QueueEmpty):
            while True:
                backlog.get_nowait()
                at_once[-1] += 1
    assert at_once == [2, 2, 2, 2, 2]
