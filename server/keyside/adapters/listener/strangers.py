"""Connections on which nobody has signed in: at most so many from one address, and so many in all."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import Final

_IPV6_NETWORK: Final = 64
"""One client of IPv6 usually has all addresses of a network of this size."""


class Stranger:
    """One connection, until somebody signs in on it or it ends."""

    def __init__(self, strangers: "Strangers", address: str, close: Callable[[], None]) -> None:
        self._strangers = strangers
        self.address = address
        self.close = close

    def leave(self) -> None:
        """Somebody has signed in, or the connection has ended: it counts no more. Calling it again does nothing."""
        self._strangers.forget(self)


class Strangers:
    """When there is no room for another one, the oldest is closed: whoever means to sign in does so at once."""

    def __init__(self, *, per_address: int, in_all: int) -> None:
        self._per_address = per_address
        self._in_all = in_all
        self._by_address: dict[str, dict[Stranger, None]] = {}
        self._all: dict[Stranger, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, address: str, close: Callable[[], None]) -> Stranger:
        """Counts a connection. `close` is called if others need its place; after that it counts no more."""
        stranger = Stranger(self, _client_of(address), close)
        self._all[stranger] = None
        same = self._by_address.setdefault(stranger.address, {})
        same[stranger] = None
        if len(same) > self._per_address:
            self._turn_out(next(iter(same)))
        elif len(self._all) > self._in_all:
            self._turn_out(next(iter(self._all)))
        return stranger

    def forget(self, stranger: Stranger) -> None:
        """Counts a connection no more."""
        if stranger not in self._all:
            return
        del self._all[stranger]
        same = self._by_address[stranger.address]
        del same[stranger]
        if not same:
            del self._by_address[stranger.address]

    def _turn_out(self, stranger: Stranger) -> None:
        self.forget(stranger)
        stranger.close()


@lru_cache(maxsize=1024)
def _client_of(address: str) -> str:
    """What addresses of the same client have in common."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return address
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, _IPV6_NETWORK), strict=False))
