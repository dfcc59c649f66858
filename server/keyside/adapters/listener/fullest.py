"""Who must go where something is shared and too much of it is in use: it is the one who has the most, not the first."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

STRANGERS = "strangers"
"""In the place of an account: all connections on which nobody has signed in."""
_T = TypeVar("_T")


def turned_out(shares: Iterable[tuple[object, int, _T]], most: int) -> Iterator[_T]:
    """Those whose shares must go, so that all others together have at most so much.

    A share is `(account, size, whose it is)`. They are taken from the account that has the most, its largest first.
    """
    by_account: dict[object, list[tuple[int, _T]]] = defaultdict(list)
    for account, size, one in shares:
        by_account[account].append((size, one))
    total = 0
    of_account: dict[object, int] = {}
    for account, own in by_account.items():
        own.sort(key=lambda share: share[0])
        of_account[account] = sum(size for size, _ in own)
        total += of_account[account]
    while total > most:
        account = max(of_account, key=of_account.__getitem__)
        size, one = by_account[account].pop()
        of_account[account] -= size
        if not by_account[account]:
            del of_account[account]
        total -= size
        yield one
