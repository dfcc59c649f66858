"""The order in which the requests of strangers are begun."""

from functools import partial

import pytest

from keyside.adapters.listener import turns
from keyside.adapters.listener.turns import Turns
from tests.contracts.listening import until

pytestmark = pytest.mark.rule("C9")


class Crowd:
    """Requests, those of them that were begun, and those that have gone before."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.begun: list[str] = []
        self.gone: set[str] = set()

    def ask(self, *names: str) -> None:
        """Requests of the addresses with which their names begin."""
        for name in names:
            self.turns.take(name[0], partial(self._begin, name))

    def _begin(self, name: str) -> bool:
        if name in self.gone:
            return False
        self.begun.append(name)
        return True

    async def see(self, count: int) -> list[str]:
        """The first so many that are begun."""
        await until(lambda: len(self.begun) >= count)
        return self.begun[:count]


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    """At most five requests are begun without a pause."""
    monkeypatch.setattr(turns, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(turns, "_SAVED_SECONDS", 0.08)
    return Crowd()


async def test_some_requests_are_begun_at_once_and_the_others_in_order_after_them(crowd: Crowd) -> None:
    names = [f"a{at}" for at in range(12)]
    crowd.ask(*names)
    assert crowd.begun == names[:5]
    assert await crowd.see(12) == names
    crowd.ask("a12", "a13")
    assert crowd.begun == names  # there was no pause in which anything could be saved up
    assert (await crowd.see(14))[-2:] == ["a12", "a13"]


async def test_it_goes_round_between_the_addresses(crowd: Crowd) -> None:
    crowd.ask(*(f"x{at}" for at in range(5)), "a1", "a2", "a3", "b1", "c1", "c2")
    assert (await crowd.see(11))[5:] == ["a1", "b1", "c1", "a2", "c2", "a3"]


async def test_one_that_comes_later_waits_for_one_of_each_other_address(crowd: Crowd) -> None:
    crowd.ask(*(f"a{at}" for at in range(50)))
    await crowd.see(7)
    crowd.ask("b0")
    assert "b0" in await crowd.see(9)


async def test_those_that_have_gone_take_no_turn(crowd: Crowd) -> None:
    crowd.gone = {f"a{at}" for at in range(1, 999)}
    crowd.ask("x0", "x1", "x2", "x3", *(f"a{at}" for at in range(1000)))
    assert crowd.begun == ["x0", "x1", "x2", "x3", "a0"]
    assert await crowd.see(6) == ["x0", "x1", "x2", "x3", "a0", "a999"]
