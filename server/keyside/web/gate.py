"""Refuses requests of other sites' pages before anything else looks at them, where nobody signs in (C2)."""

from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from keyside.protocol.errors import KeysideError
from keyside.web.auth import Authenticator
from keyside.web.http.errors import answer

API = frozenset({"api", "v1", "uploads", "ws"})
"""The first segments of paths at which data are read or changed."""


class Gate:
    """ASGI middleware in front of the socket endpoint, the API and the page.

    In `off` mode there is no credential that a foreign page would lack, so each request is checked by itself: also the
    polls after a handshake, upgrades, and reading.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one HTTP request, one WebSocket, or the lifespan events of the server."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        try:
            self._check(scope)
        except KeysideError as error:
            if scope["type"] == "websocket":
                # The socket is closed before it was accepted, so the client sees status 403.
                return await send({"type": "websocket.close"})
            return await answer(error)(scope, receive, send)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises `bad_request`, `bad_host` or `bad_origin`."""
        first = scope["path"].strip("/").split("/")[0]
        if first == "ws" and "j" in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            raise KeysideError("bad_request", "JSONP ('j') is not served: a script could be read by any site.")
        if self._authenticator.mode != "off":
            return
        headers = Headers(scope=scope)
        if any(name == "forwarded" or name.startswith("x-forwarded-") for name in headers):
            raise KeysideError(
                "bad_host",
                "With KEYSIDE_AUTH=off the server does not answer through a proxy: it would let in whoever reaches the "
                "proxy. Open the address that it printed at its start, or let people sign in.",
            )
        if first in API or not _opens_a_page(scope, headers):
            self._authenticator.check_origin(headers)


def _opens_a_page(scope: Scope, headers: Headers) -> bool:
    """Whether somebody follows a link, which may stand on any site."""
    return scope.get("method") == "GET" and headers.get("sec-fetch-dest") == "document" and "origin" not in headers
