"""Authenticates requests by the signed cookie or a token, and checks that browser requests come from our own page."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from fastapi import Request, Response
from itsdangerous import BadSignature, Signer
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from keyside.protocol.errors import KeysideError
from keyside.services.accounts import SIGN_IN_SECONDS, Accounts, Identity
from keyside.web.origins import Origins

COOKIE = "keyside_session"
HOST_COOKIE = f"__Host-{COOKIE}"
"""Under https: browsers take a cookie of this name from this very host only, over https only, and for all paths."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CALLER = "keyside.caller"
"""The name in the scope of a request under which `web/callers.py` keeps who sends it."""
OTHER_SITES = frozenset({"cross-site", "same-site"})
"""What `Sec-Fetch-Site` says of pages of other origins. `none` is a person: an address that was typed."""


class Authenticator:
    """Authenticates every request and every socket (C2). `SecurityHeaders` has checked the Host header before.

    `secret` signs the cookies.
    """

    def __init__(self, accounts: Accounts, origins: Origins, mode: Literal["local", "off"], secret: bytes) -> None:
        self.accounts = accounts
        self.origins = origins
        self.mode = mode
        self.cookie = HOST_COOKIE if origins.secure else COOKIE
        self._signer = Signer(secret, salt="keyside.session", digest_method=hashlib.sha256)

    async def identify(
        self, headers: Mapping[str, str], *, method: str, for_socket: bool = False, token: str | None = None
    ) -> Identity:
        """Identifies the caller by `token`, by a bearer token in `headers`, or by the cookie.

        The names of `headers` are in lower case. `token` is one that was sent outside of the headers.
        Raises `unauthorized`, or `bad_origin` if a page of another site uses the cookie.
        """
        if self.mode == "off":
            self.check_origin(headers)
            return await self.accounts.anyone()
        token = token or _bearer(headers.get("authorization", ""))
        found = await (self.accounts.by_token(token) if token else self.signed_in(headers))
        if found is None:
            raise KeysideError("unauthorized")
        if found.kind == "session" and (for_socket or method not in SAFE_METHODS):
            self.check_origin(headers, needed=True)
        return found

    def check_origin(self, headers: Mapping[str, str], *, needed: bool = False) -> None:
        """Raises `bad_origin` for a page of another site. With `needed`, a request of unknown origin is refused too.

        Programs send no Origin. Browsers omit it when they only read, and say by the header `Sec-Fetch-Site` whose page
        asks; pages cannot forge either.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None:
            own, foreign = self.origins.owns(origin, headers.get("host")), True
        else:
            own, foreign = site == "same-origin", site in OTHER_SITES
        if not own and (needed or foreign):
            raise KeysideError("bad_origin")

    def current(self, *scopes: str) -> Callable[[Request], Awaitable[Identity]]:
        """A FastAPI dependency that returns the caller's identity. It raises `forbidden` if a scope is missing."""

        async def dependency(request: Request) -> Identity:
            identity: Identity = await request.scope[CALLER].identity()
            for scope in scopes:
                identity.require(scope)
            return identity

        return dependency

    def sign_in(self, response: Response, value: str) -> None:
        """Sets the session cookie on the response, with the signed value."""
        signed = self._signer.sign(value).decode()
        response.set_cookie(
            self.cookie, signed, SIGN_IN_SECONDS, path="/", secure=self.origins.secure, httponly=True, samesite="lax"
        )

    def sign_out(self, response: Response) -> None:
        """Deletes the session cookie."""
        response.delete_cookie(self.cookie, path="/", secure=self.origins.secure, httponly=True, samesite="lax")

    async def signed_in(self, headers: Mapping[str, str]) -> Identity | None:
        """Who is signed in by the cookie, or anybody in `off` mode.

        Nothing is looked up for a cookie that this server has not signed.
        """
        if self.mode == "off":
            return await self.accounts.anyone()
        value = self._signed_value(headers)
        return await self.accounts.by_cookie(value) if value else None

    def knows(self, scope: Scope) -> bool:
        """Whether nobody needs to sign in, or the browser that sends this request has once done so."""
        return self.mode == "off" or self.has_signed_cookie(Headers(scope=scope))

    def has_signed_cookie(self, headers: Mapping[str, str]) -> bool:
        """Whether there is a cookie that this server has signed. Nothing is looked up, so it may be revoked."""
        return self._signed_value(headers) is not None

    def _signed_value(self, headers: Mapping[str, str]) -> str | None:
        signed = cookie_parser(headers.get("cookie", "")).get(self.cookie)
        try:
            return self._signer.unsign(signed).decode() if signed else None
        except (BadSignature, UnicodeDecodeError):
            return None


def _bearer(authorization: str) -> str | None:
    kind, _, value = authorization.partition(" ")
    return value.strip() or None if kind.lower() == "bearer" else None
