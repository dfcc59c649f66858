"""Accounts and credentials: one-time links, signed-in browsers, API tokens, and the identity that each proves."""

import asyncio
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NoReturn

from keyside.protocol.errors import KeysideError
from keyside.services.account_store import AccountStore, StoredSignIn, StoredToken, User
from keyside.services.notices import CredentialRevoked, Notices
from keyside.services.ports import Clock, Ids
from keyside.services.sign_in_throttle import SignInThrottle

OWNER = "owner"
MOST_TOKENS = 200
LINK_SECONDS = 10 * 60
SIGN_IN_SECONDS = 90 * 86400
TOKEN_PREFIX = "ks_"  # noqa: S105
LOOKUPS = 4
"""How many codes and tokens are looked up at the same time. Anybody can invent one, and each takes a thread."""

SHARED = "executor:shared"
SHARED_BY_OPERATOR = (
    "A token for a shared executor is made on the server's own command line: "
    "`keyside token create --name NAME --scope executor:shared`."
)
TOKEN_SCOPES = frozenset({"api", "chats", "executor", SHARED})
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

    def url(self, origin: str) -> str:
        """The link that a person opens. What follows `#` is never sent to a server, nor written to its log."""
        return f"{origin}/#signin={self.code}"


@dataclass(frozen=True)
class NewSignIn:
    """A new sign-in: the value for the cookie, which is not stored, and the identity that it proves."""

    value: str
    identity: Identity


class Accounts:
    """Creates, checks and revokes credentials. Codes, cookie values and tokens are stored as hashes only."""

    def __init__(self, store: AccountStore, clock: Clock, ids: Ids, notices: Notices) -> None:
        self._store = store
        self._notices = notices
        self._clock = clock
        self._ids = ids
        self._throttle = SignInThrottle(clock)
        self._lookups = asyncio.Semaphore(LOOKUPS)
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

    async def link_owner(self, code: str, address: str) -> User:
        """The account that a link signs in to. The link stays good.

        `address` is the client's address, for the limit of failures. Raises `link_invalid` or `too_many_attempts`.
        """
        async with self._lookups:
            owner = await self._store.link_owner(digest(code), self._clock.now())
        return owner or self._refuse_link(address)

    async def redeem(self, code: str, agent: str, address: str, before: Identity | None = None) -> NewSignIn:
        """Signs a browser in with the code of a link. `address` and errors are as in `link_owner`.

        `before` is who was signed in there. That sign-in ends: its cookie is given up, and nobody else has it.
        """
        # Looked up first, so that a code that is none costs no write.
        await self.link_owner(code, address)
        value, now = secrets.token_urlsafe(32), self._clock.now()
        signed_in = await self._store.spend_link(
            digest(code),
            now,
            sign_in_id=self._ids.new(),
            value_hash=digest(value),
            agent=agent,
            expires_at=now + SIGN_IN_SECONDS,
            in_place_of=before.credential_id if before else None,
        )
        if signed_in is None:
            self._refuse_link(address)
        if before is not None and before.credential_id is not None:
            self._revoked(before.credential_id, True)
        return NewSignIn(value, _session(signed_in))

    def _refuse_link(self, address: str) -> NoReturn:
        self._throttle.failed(address)
        raise KeysideError("link_invalid")

    async def by_cookie(self, value: str) -> Identity | None:
        """The identity of the sign-in whose cookie holds the value, or `None` if it is unknown, revoked or expired.

        The caller has checked the cookie's signature: nobody can make values up.
        """
        found = await self._store.sign_in(digest(value), self._clock.now())
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

    async def new_token(
        self, user_id: int, name: str, scopes: Iterable[str], *, by_operator: bool = False
    ) -> tuple[StoredToken, str]:
        """Creates a token; returns its record and the secret token, which is not stored.

        A shared executor gets the runs of other users, so only the operator of the server may admit one.
        Raises `bad_request`, `forbidden`, or `conflict` where there are too many.
        """
        wanted = frozenset(scopes)
        if not wanted or not wanted <= TOKEN_SCOPES:
            raise KeysideError("bad_request", f"A token's scopes are some of {', '.join(sorted(TOKEN_SCOPES))}.")
        if SHARED in wanted and not by_operator:
            raise KeysideError("forbidden", SHARED_BY_OPERATOR)
        if len(await self._store.tokens(user_id)) >= MOST_TOKENS:
            raise KeysideError("conflict", f"An account has at most {MOST_TOKENS} tokens. Revoke one of them first.")
        token, now = TOKEN_PREFIX + secrets.token_urlsafe(32), self._clock.now()
        stored = await self._store.add_token(user_id, self._ids.new(), name, digest(token), wanted, now)
        return stored, token

    async def by_token(self, token: str) -> Identity | None:
        """The identity of a token, or `None` if it is unknown or revoked."""
        if not token.startswith(TOKEN_PREFIX):
            return None
        async with self._lookups:
            found = await self._store.token(digest(token))
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
