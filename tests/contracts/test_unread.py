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

    def __init__(self, waiting: int, owner: object = None) -> None:
        self.held = waiting
        self.owner = owner
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


@pytest.mark.parametrize(
    ("shares", "go"),
    [
        ([("a", 20), ("a", 61), ("a", 30), ("a", 60)], [1, 3]),
        ([("a", 90), ("b", 30), ("b", 31), ("b", 32)], [0, 3]),
        ([("a", 90), ("b", 50), ("b", 51)], [0, 2]),
        ([("a", 60), ("b", 40), ("b", 41)], [2]),
        ([("a", 99), ("a", 1)], []),
        ([("a", 200), ("b", 200)], [0, 1]),
    ],
)
async def test_those_go_for_whose_account_the_most_waits_the_fullest_first(
    shares: list[tuple[str, int]], go: list[int]
) -> None:
    readers = [Reader(size, account) for account, size in shares]
    await looked(*readers)
    assert [at for at, reader in enumerate(readers) if reader.is_cut_off] == go


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
    readers[0].held = 51
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
