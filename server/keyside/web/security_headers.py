"""What every response of the origin carries, and the check of the Host header, around the whole application (S4)."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyside.protocol.errors import KeysideError
from keyside.web.http.errors import answer
from keyside.web.origins import Origins

STRICT_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""For what is data, or an error: nothing runs, nothing loads."""

WORKER_POLICY = "default-src 'none'; script-src 'self'; connect-src 'self' https: http: ws: wss:"
"""For the executor's own script: it alone may reach providers."""

EVERYWHERE = {
    "content-security-policy": STRICT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
"""What a response gets unless its maker has set it, and knows better."""


def page_policy(origin: str) -> str:
    """The page's policy: it talks to its own server only, and may start only the executor's scripts."""
    # A policy cannot name an IPv6 address.
    workers = "'self'" if "[" in origin else f"{origin}/worker/"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        f"font-src 'self'; connect-src 'self'; worker-src {workers}; manifest-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


class SecurityHeaders:
    """Pure ASGI: wraps the application and its sockets, errors and files included."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one socket, or the server's start and end."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message.get("headers", [])))
                for name, value in EVERYWHERE.items():
                    headers.setdefault(name, value)
                message["headers"] = headers.raw
            await send(message)

        if self._origins.at(Headers(scope=scope).get("host")):
            # A socket's messages have no headers, and there are many of them.
            return await self._app(scope, receive, send if scope["type"] == "websocket" else guarded_send)
        if scope["type"] == "websocket":
            # Closed before it is accepted: the client sees status 403.
            return await send({"type": "websocket.close"})
        await answer(KeysideError("bad_host"))(scope, receive, guarded_send)
