"""Whose address counts: the peer's, or what a trusted proxy says of it."""

from typing import Any

import pytest

from keyside.web.client_address import ClientAddress, networks_of

PROXIES = "10.0.0.0/8, ::1,2001:db8::/32"


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded] + [(b"forwarded", b"for=192.0.2.1")]
    return {"type": "http", "client": (peer, 5000) if peer is not None else None, "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.5, 10.0.0.2"], "203.0.113.5"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["10.0.0.9, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1, "], "10.0.0.1"),
        ("::1", ["[2001:db9::5]:443"], "2001:db9::5"),
        ("2001:db8::1", ["203.0.113.5:1234"], "203.0.113.5"),
        ("::ffff:10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("::ffff:203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("a-test", ["198.51.100.1"], "a-test"),
        (None, ["198.51.100.1"], ""),
    ],
)
def test_the_nearest_address_that_no_trusted_proxy_has(peer: str | None, forwarded: list[str], client: str) -> None:
    assert ClientAddress(networks_of(PROXIES)).of(scope(peer, *forwarded)) == client


def test_by_default_no_proxy_is_trusted() -> None:
    assert ClientAddress().of(scope("127.0.0.1", "203.0.113.5")) == "127.0.0.1"
    assert networks_of("") == networks_of(" , ") == ()


@pytest.mark.parametrize("wrong", ["nginx", "10.0.0.1/8", "10.0.0.0/33", "*", "127.0.0.1:80"])
def test_what_is_no_network_is_said(wrong: str) -> None:
    with pytest.raises(ValueError, match="is neither an address nor a network such as"):
        networks_of(f"127.0.0.1,{wrong}")
