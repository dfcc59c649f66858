"""Who sends an HTTP request: found once for each request, and no more than so many of one account at a time."""

from collections import Counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from keyside.protocol.errors import KeysideError
from keyside.services.accounts import Identity
from keyside.services.ports import SIGNED_IN
from keyside.web.auth import CALLER, Authenticator


def caller_of(scope: Scope) -> "Caller":
    """Who sends the request of this scope."""
    found: Caller = scope[CALLER]
    return found


class Callers:
    """ASGI middleware. It puts a `Caller` into the scope of each request."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, most_requests: int) -> None:
        self._app = app
        self._most_requests = most_requests
        self._under_way: Counter[int] = Counter()
        self.authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one HTTP request; everything else is passed on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        caller = scope[CALLER] = Caller(self, scope)
        try:
            await self._app(scope, receive, send)
        finally:
            caller.leave()
            del scope[CALLER]  # it has the scope itself: nothing is left to the garbage collector

    def enter(self, user_id: int) -> None:
        """A request of the account begins. Raises `too_many_connections`."""
        if self._under_way[user_id] >= self._most_requests:
            raise KeysideError("too_many_connections")
        self._under_way[user_id] += 1

    def leave(self, user_id: int) -> None:
        """A request of the account has ended."""
        self._under_way[user_id] -= 1
        if not self._under_way[user_id]:
            del self._under_way[user_id]


class Caller:
    """Who sends one request."""

    def __init__(self, callers: Callers, scope: Scope) -> None:
        self._callers = callers
        self._scope = scope
        self._identity: Identity | None = None
        self._signed_in = scope.get("extensions", {}).get(SIGNED_IN)
        if self._signed_in is not None and callers.authenticator.has_signed_cookie(Headers(scope=scope)):
            self._signed_in(None)  # so a team behind one address does not count as strangers while its pages load

    async def identity(self) -> Identity:
        """The caller's identity. Raises as `Authenticator.identify` does, and `too_many_connections`."""
        if self._identity is None:
            headers = Headers(scope=self._scope)
            identity = await self._callers.authenticator.identify(headers, method=self._scope["method"])
            self._callers.enter(identity.user_id)
            self._identity = identity
            if self._signed_in is not None:
                self._signed_in(identity.user_id)
        return self._identity

    def leave(self) -> None:
        """The request has ended."""
        if self._identity is not None:
            self._callers.leave(self._identity.user_id)
