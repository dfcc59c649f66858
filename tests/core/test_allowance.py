"""A token bucket: what it lets through, and when the debt is too large."""

from keyside.core.allowance import Allowance


def test_so_many_at_once_and_then_at_its_rate() -> None:
    allowance = Allowance(rate=2, burst=3, now=100.0)
    assert [allowance.take(1, 100.0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.take(1, 100.5)  # one was earned, and pays for what was refused
    assert [allowance.take(1, 102.0) for _ in range(3)] == [True, True, False]


def test_a_pause_saves_up_no_more_than_may_be_done_at_once() -> None:
    allowance = Allowance(rate=10, burst=3, now=0.0)
    assert [allowance.take(1, 1000.0) for _ in range(4)] == [True, True, True, False]


def test_what_costs_more_than_all_that_may_be_done_at_once_is_refused() -> None:
    allowance = Allowance(rate=1, burst=3, now=0.0)
    assert not allowance.take(4, 0.0)
    assert not allowance.overdrawn


def test_it_is_overdrawn_when_the_debt_is_as_large_as_the_burst() -> None:
    allowance = Allowance(rate=1, burst=3, now=0.0)
    assert [(allowance.take(1, 0.0), allowance.overdrawn) for _ in range(7)] == [
        *[(True, False)] * 3,
        *[(False, False)] * 3,
        (False, True),
    ]
    allowance.take(0, 1.0)
    assert not allowance.overdrawn
