"""Knows which Host headers the server accepts, and which origins are its own (C2)."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
DEFAULT_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Whether the host can be reached from this machine only."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether the host stands for all addresses of the machine."""
    return host.strip("[]") in {"", "0.0.0.0", "::"}  # noqa: S104


def origin_of(url: str) -> str:
    """The origin of a URL, as browsers write it.

    Raises `ValueError` with a sentence if the URL is not http or https, or has more than scheme, host and port.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"'{url}' is not an address such as https://chat.example.org")
    if parts.username or parts.password or parts.query or parts.fragment or parts.path not in {"", "/"}:
        raise ValueError(f"'{url}' must be scheme, host and port only, such as https://chat.example.org")
    return make_origin(parts.scheme, parts.hostname, parts.port)


def make_origin(scheme: str, host: str, port: int | None) -> str:
    """The origin of a scheme, host and port. The default port of the scheme is left out."""
    name = host.strip("[]").lower()
    bracketed = f"[{name}]" if ":" in name else name
    return f"{scheme}://{bracketed}" + ("" if port in {None, DEFAULT_PORTS[scheme]} else f":{port}")


@dataclass(frozen=True)
class Origins:
    """Whose pages the server trusts: its own. All that is asked about origins is asked here.

    `public` is the origin that people use, `by_host` maps every accepted Host to its own.
    """

    public: str
    by_host: Mapping[str, str]

    @property
    def secure(self) -> bool:
        """Whether people reach the server by https."""
        return self.public.startswith("https:")

    def at(self, host: str | None) -> str | None:
        """The origin of pages that were requested from `host`, or `None` if that host is not this server.

        An unknown host comes from DNS rebinding or from a misconfigured proxy.
        """
        return None if host is None else self.by_host.get(host.strip().lower())

    def owns(self, origin: str, host: str | None) -> bool:
        """Whether a request from a page of `origin` to `host` comes from this server's own page."""
        return origin in {self.public, self.at(host)}


def origins_of(public_url: str, *, host: str, port: int, tls: bool) -> Origins:
    """The origins of a server that listens on `host` and `port`, and that people reach at `public_url`."""
    scheme = "https" if tls else "http"
    names = set() if is_wildcard(host) else {host}
    if is_loopback(host) or is_wildcard(host):
        names.update(LOOPBACK_NAMES)
    public = origin_of(public_url)
    by_host: dict[str, str] = {}
    for origin in [*(make_origin(scheme, name, port) for name in names), public]:
        parts = urlsplit(origin)
        by_host[parts.netloc] = origin
        if parts.port is None:
            by_host[f"{parts.netloc}:{DEFAULT_PORTS[parts.scheme]}"] = origin
    return Origins(public, by_host)
