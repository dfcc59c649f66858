"""Adds the security headers to every response, and checks the Host header of every request (S4)."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyside.protocol.errors import KeysideError
from keyside.web.http.errors import answer
from keyside.web.origins import Origins

STRICT_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""For data and errors: no script runs and nothing is loaded."""

WORKER_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self' https: http: ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""For the executor's script, the only one that may connect to providers."""

EVERYWHERE = {
    "content-security-policy": STRICT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
"""The headers of every response. A route can override each of them by setting its own."""


def page_policy(origin: str) -> str:
    """The policy of the page: it may connect to its own server only, and start only the executor's workers.

    Images come from folders of this server, so that one in an answer cannot call the API.
    """

    def folders(*names: str) -> str:
        # A policy cannot name an IPv6 address.
        return "'self'" if "[" in origin else " ".join(f"{origin}/{name}/" for name in names)

    return (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        f"img-src {folders('assets', 'uploads')} data:; font-src 'self'; connect-src 'self'; "
        f"worker-src {folders('worker')}; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


class SecurityHeaders:
    """ASGI middleware around the whole application, with its sockets, errors and static files."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one HTTP request, one WebSocket, or the lifespan events of the server."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message.get("headers", [])))
                for name, value in EVERYWHERE.items():
                    headers.setdefault(name, value)
                message["headers"] = headers.raw
            await send(message)

        if self._origins.at(Headers(scope=scope).get("host")):
            # A socket's messages have no headers, and there are many of them.
            return await self._app(scope, receive, send if scope["type"] == "websocket" else send_with_headers)
        if scope["type"] == "websocket":
            # The socket is closed before it was accepted, so the client sees status 403.
            return await send({"type": "websocket.close"})
        await answer(KeysideError("bad_host"))(scope, receive, send_with_headers)
