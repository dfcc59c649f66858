"""Finds the address of whoever sent a request, also behind proxies that the operator trusts."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def networks_of(text: str) -> tuple[Network, ...]:
    """Addresses and networks, separated by commas. Raises `ValueError` with a sentence if one of them is neither."""
    return tuple(_network(entry.strip()) for entry in text.split(",") if entry.strip())


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f"'{text}' is neither an address nor a network such as 10.0.0.0/8") from None


class ClientAddress:
    """Tells clients apart by address. `trusted` are the proxies whose `X-Forwarded-For` is believed."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = trusted

    def of(self, scope: Scope) -> str:
        """The client's address, or an empty string if the connection has none.

        Each proxy adds the address that it was called from at the right of `X-Forwarded-For`. So the header is read
        from its right end, and only as long as a trusted proxy has written: what is left of that, anybody can invent.
        """
        peer = scope.get("client")
        address = _peer(peer[0]) if peer else None
        if address is None:
            return peer[0] if peer else ""
        for entry in _forwarded(scope):
            before = _parse(entry) if self._trusts(address) else None
            if before is None:
                break
            address = before
        return str(address)

    def is_proxy(self, address: str) -> bool:
        """Whether the address is of a trusted proxy."""
        known = _peer(address)
        return known is not None and self._trusts(known)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _forwarded(scope: Scope) -> Iterable[str]:
    """The entries of all `X-Forwarded-For` headers, the last one first."""
    headers = Headers(scope=scope).getlist("x-forwarded-for")
    return reversed([entry.strip() for header in headers for entry in header.split(",")])


@lru_cache(maxsize=1024)
def _peer(text: str) -> Address | None:
    """The address at the other end of a connection. There are few, and it is looked up several times for each one."""
    return _parse(text)


def _parse(text: str) -> Address | None:
    """An address, which may come with brackets and a port."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    host = host.partition(":")[0] if host.count(":") == 1 else host
    try:
        address = ip_address(host)
    except ValueError:
        return None
    # A socket that listens on both families shows IPv4 addresses in this form.
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
