"""A client that reads nothing is cut off, and one that reads slowly is not."""

import asyncio

from keyside.adapters.listener.stall import Stall
from tests.edge.live import SECONDS


class Pipe:
    """A transport in which so much waits at each look, the last of it for ever."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = list(sizes)
        self.looked = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        if len(self.sizes) == 1:
            self.looked.set()
            return self.sizes[0]
        return self.sizes.pop(0)


async def test_a_client_that_reads_nothing_is_cut_off_whatever_is_added() -> None:
    cut_off = asyncio.Event()
    pipe = Pipe(100, 100, 200, 300)
    Stall(pipe, 0.05, cut_off.set)
    await asyncio.wait_for(cut_off.wait(), SECONDS)
    assert pipe.looked.is_set()


async def test_a_client_that_reads_slowly_is_not_cut_off() -> None:
    cut_off = asyncio.Event()
    pipe = Pipe(70, *(size for start in range(900, 0, -100) for size in (1000, start)), 0)
    stall = Stall(pipe, 0.05, cut_off.set)
    await asyncio.wait_for(pipe.looked.wait(), SECONDS)
    assert not cut_off.is_set()
    stall.end()
