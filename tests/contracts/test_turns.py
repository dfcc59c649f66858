"""The order in which the requests of strangers are begun."""

import asyncio
from functools import partial

import pytest

from keyside.adapters.listener.turns import Turns
from tests.contracts.listening import until

pytestmark = pytest.mark.rule("C9")


class Crowd:
    """Requests, in which turn of the event loop each was begun, and those that have gone before."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.turn = 0
        self.begun: list[tuple[int, str]] = []
        self.gone: set[str] = set()

    def ask(self, address: str, name: str) -> None:
        self.turns.take(address, partial(self._begin, name))

    def _begin(self, name: str) -> bool:
        if name in self.gone:
            return False
        self.begun.append((self.turn, name))
        return True

    async def see(self, count: int) -> list[str]:
        """The first so many that are begun; no two of them in the same turn."""
        while len(self.begun) < count and self.turn < 1000:
            await asyncio.sleep(0)
            self.turn += 1
        turns = [turn for turn, _ in self.begun]
        assert len(set(turns)) == len(turns) == count
        return [name for _, name in self.begun]


async def test_one_request_is_begun_in_a_turn_in_the_order_of_one_address() -> None:
    crowd = Crowd()
    names = [f"a{at}" for at in range(50)]
    for name in names:
        crowd.ask("a", name)
    assert crowd.begun == []
    assert await crowd.see(50) == names


async def test_it_goes_round_between_the_addresses() -> None:
    crowd = Crowd()
    for name in ("a1", "a2", "a3", "b1", "c1", "c2"):
        crowd.ask(name[0], name)
    assert await crowd.see(6) == ["a1", "b1", "c1", "a2", "c2", "a3"]


async def test_one_that_comes_later_waits_for_one_of_each_other_address() -> None:
    crowd = Crowd()
    for at in range(100):
        crowd.ask("a", f"a{at}")
    assert await crowd.see(10) == [f"a{at}" for at in range(10)]
    crowd.ask("b", "b0")
    assert "b0" in await crowd.see(12)


async def test_those_that_have_gone_take_no_turn() -> None:
    crowd = Crowd()
    for at in range(100):
        crowd.ask("a", f"a{at}")
    crowd.gone = {f"a{at}" for at in range(1, 99)}
    assert await crowd.see(2) == ["a0", "a99"]
    await until(lambda: not crowd.turns._goes_on)
    crowd.ask("a", "again")
    assert (await crowd.see(3))[-1] == "again"
