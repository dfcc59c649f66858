"""Authenticates requests by the signed cookie or a token, and checks that browser requests come from our own page."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from fastapi import Request, Response
from itsdangerous import BadSignature, Signer
from starlette.requests import cookie_parser

from keyside.protocol.errors import KeysideError
from keyside.services.accounts import SIGN_IN_SECONDS, Accounts, Identity
from keyside.web.origins import Origins

COOKIE = "keyside_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Authenticator:
    """Authenticates every request and every socket (C2). `SecurityHeaders` has checked the Host header before."""

    def __init__(self, accounts: Accounts, origins: Origins, mode: Literal["local", "off"]) -> None:
        self.accounts = accounts
        self.origins = origins
        self.mode = mode
        self._signer: Signer | None = None

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
        found = await (self.accounts.by_token(token) if token else self._by_cookie(headers))
        if found is None:
            raise KeysideError("unauthorized")
        if found.kind == "session" and (for_socket or method not in SAFE_METHODS):
            self.check_origin(headers, needed=True)
        return found

    def check_origin(self, headers: Mapping[str, str], *, needed: bool = False) -> None:
        """Raises `bad_origin` for a page of another site. With `needed`, a request of unknown origin is refused too.

        Programs send no Origin. Browsers omit it only in same-origin GETs, which the header `Sec-Fetch-Site` can
        confirm; pages cannot forge that header.
        """
        origin = headers.get("origin")
        own = origin is not None and self.origins.owns(origin, headers.get("host"))
        if own or (origin is None and headers.get("sec-fetch-site") == "same-origin"):
            return
        if needed or origin is not None:
            raise KeysideError("bad_origin")

    def current(self, scope: str | None = None) -> Callable[[Request], Awaitable[Identity]]:
        """A FastAPI dependency that returns the caller's identity. It raises `forbidden` if the scope is missing."""

        async def dependency(request: Request) -> Identity:
            identity = await self.identify(request.headers, method=request.method)
            if scope is not None:
                identity.require(scope)
            return identity

        return dependency

    async def sign_in(self, response: Response, sign_in_id: str) -> None:
        """Sets the signed session cookie on the response."""
        signed = (await self._cookie_signer()).sign(sign_in_id).decode()
        response.set_cookie(
            COOKIE, signed, SIGN_IN_SECONDS, path="/", secure=self._secure, httponly=True, samesite="lax"
        )

    def sign_out(self, response: Response) -> None:
        """Deletes the session cookie."""
        response.delete_cookie(COOKIE, path="/", secure=self._secure, httponly=True, samesite="lax")

    @property
    def _secure(self) -> bool:
        return self.origins.public.startswith("https:")

    async def _by_cookie(self, headers: Mapping[str, str]) -> Identity | None:
        value = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if not value:
            return None
        try:
            sign_in_id = (await self._cookie_signer()).unsign(value).decode()
        except (BadSignature, UnicodeDecodeError):
            return None
        return await self.accounts.by_signin(sign_in_id)

    async def _cookie_signer(self) -> Signer:
        if self._signer is None:
            secret = await self.accounts.cookie_secret()
            self._signer = Signer(secret, salt="keyside.session", digest_method=hashlib.sha256)
        return self._signer


def _bearer(authorization: str) -> str | None:
    kind, _, value = authorization.partition(" ")
    return value.strip() or None if kind.lower() == "bearer" else None
