"""The group writer: one bad item, or a failure in its callbacks, does not stop later items."""

from collections.abc import Callable

import pytest

from keyside.adapters.sql.writer import GroupWriter


def store(group: list[int]) -> Callable[[], list[int]]:
    """Doubles each item; refuses 13."""

    def work() -> list[int]:
        if 13 in group:
            raise ValueError("13")
        return [item * 2 for item in group]

    return work


async def test_only_the_bad_item_of_a_group_is_refused() -> None:
    landed: list[int] = []
    writer = GroupWriter[int, int](store, landed.extend)
    first, bad, last = (writer.submit(item) for item in (1, 13, 2))
    assert (await first, await last) == (2, 4)
    with pytest.raises(ValueError, match="13"):
        await bad
    assert landed == [2, 4]
    await writer.close()


async def test_a_bug_after_a_commit_is_told_to_whoever_waits_and_the_next_group_is_written() -> None:
    broken = [True]

    def landed(_: list[int]) -> None:
        if broken.pop():
            raise RuntimeError("a bug")

    writer = GroupWriter[int, int](store, landed)
    with pytest.raises(RuntimeError, match="a bug"):
        await writer.submit(1)
    broken.append(False)
    assert await writer.submit(2) == 4
    await writer.close()
