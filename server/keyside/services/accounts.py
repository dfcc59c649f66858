"""Accounts and credentials: one-time links, signed-in browsers, API tokens, and the identity that each proves."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from keyside.protocol.errors import KeysideError
from keyside.services.account_store import AccountStore, StoredSignIn, StoredToken, User
from keyside.services.notices import CredentialRevoked, Notices
from keyside.services.ports import Clock, Ids
from keyside.services.sign_in_throttle import SignInThrottle

OWNER = "owner"
LINK_SECONDS = 10 * 60
SIGN_IN_SECONDS = 90 * 86400
TOKEN_PREFIX = "ks_"  # noqa: S105

TOKEN_SCOPES = frozenset({"api", "chats", "executor", "executor:shared"})
SESSION_SCOPES = frozenset({"api", "chats", "executor", "account"})
"""`account` allows managing links, sign-ins and tokens. No token has it, so a token cannot create another."""


@dataclass(frozen=True)
class Identity:
    """The caller's account and scopes, and the id of the sign-in or token that proved it (`None` in `off` mode)."""

    user_id: int
    name: str
    scopes: frozenset[str]
    kind: Literal["session", "token", "off"]
    credential_id: str | None = None

    def require(self, scope: str) -> None:
        """Raises `forbidden` if the scope is missing."""
        if scope not in self.scopes:
            raise KeysideError("forbidden", f"This needs the scope '{scope}', which the token does not have.")


@dataclass(frozen=True)
class NewLink:
    """The code of a new link, which is not stored, and its end in seconds since the epoch."""

    code: str
    expires_at: float


class Accounts:
    """Creates, checks and revokes credentials. Codes and tokens are stored as hashes only."""

    def __init__(self, store: AccountStore, clock: Clock, ids: Ids, notices: Notices) -> None:
        self._store = store
        self._notices = notices
        self._clock = clock
        self._ids = ids
        self._throttle = SignInThrottle(clock)
        self._owner: User | None = None

    async def owner(self) -> User:
        """The only account of the modes `local` and `off`. It is created at the first start."""
        if self._owner is None:
            self._owner = await self._store.user(OWNER, self._clock.now())
        return self._owner

    async def anyone(self) -> Identity:
        """The identity of every caller in `off` mode: the owner, with all scopes."""
        owner = await self.owner()
        return Identity(owner.id, owner.name, SESSION_SCOPES | TOKEN_SCOPES, "off")

    # --- links and sign-ins

    async def new_link(self, user_id: int) -> NewLink:
        """Creates a code that signs in once, within ten minutes."""
        code, now = secrets.token_urlsafe(24), self._clock.now()
        await self._store.add_link(digest(code), user_id, now, now + LINK_SECONDS)
        return NewLink(code, now + LINK_SECONDS)

    async def redeem(self, code: str, agent: str, address: str) -> tuple[str, Identity]:
        """Signs in with the code of a link; returns the new sign-in's id and the identity.

        `address` is the client's address, for the rate limit. Raises `link_invalid` or `too_many_attempts`.
        """
        self._throttle.check(address)
        now = self._clock.now()
        signed_in = await self._store.spend_link(
            digest(code), now, sign_in_id=self._ids.new(), agent=agent, expires_at=now + SIGN_IN_SECONDS
        )
        if signed_in is None:
            self._throttle.failed(address)
            raise KeysideError("link_invalid")
        return signed_in.id, _session(signed_in)

    async def by_signin(self, sign_in_id: str) -> Identity | None:
        """The identity of a sign-in, or `None` if it is unknown, revoked or expired."""
        found = await self._store.sign_in(sign_in_id, self._clock.now())
        return _session(found) if found else None

    async def sign_ins(self, user_id: int) -> tuple[StoredSignIn, ...]:
        """The browsers in which the user is signed in, newest first."""
        return await self._store.sign_ins(user_id, self._clock.now())

    async def revoke_sign_in(self, user_id: int, sign_in_id: str) -> None:
        """Signs a browser out. Raises `not_found` if the user has no such sign-in."""
        self._revoked(sign_in_id, await self._store.revoke_sign_in(user_id, sign_in_id, self._clock.now()))

    async def drop_lapsed(self, credential_ids: Iterable[str]) -> None:
        """Tells that those credentials are revoked which have expired or which another process has revoked (C7)."""
        held = frozenset(credential_ids)
        if held:
            for credential_id in await self._store.lapsed(held, self._clock.now()):
                self._revoked(credential_id, True)

    # --- tokens

    async def new_token(self, user_id: int, name: str, scopes: Iterable[str]) -> tuple[StoredToken, str]:
        """Creates a token; returns its record and the secret token, which is not stored. Raises `bad_request`."""
        wanted = frozenset(scopes)
        if not wanted or not wanted <= TOKEN_SCOPES:
            raise KeysideError("bad_request", f"A token's scopes are some of {', '.join(sorted(TOKEN_SCOPES))}.")
        token, now = TOKEN_PREFIX + secrets.token_urlsafe(32), self._clock.now()
        stored = await self._store.add_token(user_id, self._ids.new(), name, digest(token), wanted, now)
        return stored, token

    async def by_token(self, token: str) -> Identity | None:
        """The identity of a token, or `None` if it is unknown or revoked."""
        found = await self._store.token(digest(token)) if token.startswith(TOKEN_PREFIX) else None
        if found is None:
            return None
        return Identity(found.user.id, found.user.name, found.scopes, "token", found.id)

    async def tokens(self, user_id: int) -> tuple[StoredToken, ...]:
        """The user's tokens, newest first."""
        return await self._store.tokens(user_id)

    async def revoke_token(self, user_id: int, token_id: str) -> None:
        """Revokes a token. Raises `not_found` if the user has no such token."""
        self._revoked(token_id, await self._store.revoke_token(user_id, token_id, self._clock.now()))

    # --- the installation

    async def cookie_secret(self) -> str:
        """The secret that signs the cookies of this installation. It is created once."""
        return await self._store.remember_once("cookie_secret", secrets.token_urlsafe(32))

    async def remember_url(self, url: str) -> None:
        """Stores the address of the running server for `keyside link`."""
        await self._store.remember("url", url)

    async def url(self) -> str | None:
        """The last stored address of the server, if there is one."""
        return await self._store.recall("url")

    def _revoked(self, credential_id: str, was_there: bool) -> None:
        if not was_there:
            raise KeysideError("not_found")
        self._notices.put(CredentialRevoked(credential_id))


def digest(secret: str) -> str:
    """The hash of a code or token. They are long and random, so a fast hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _session(signed_in: StoredSignIn) -> Identity:
    user = signed_in.user
    return Identity(user.id, user.name, SESSION_SCOPES, "session", signed_in.id)
