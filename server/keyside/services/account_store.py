"""The port for accounts, sign-ins, links and tokens. Codes, cookie values and tokens arrive here as hashes only."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class User:
    """An account."""

    id: int
    name: str


@dataclass(frozen=True)
class StoredSignIn:
    """A browser that is signed in. Its `id` is public; the cookie holds another value, which is not stored.

    Times are seconds since the epoch.
    """

    id: str
    user: User
    agent: str
    created_at: float
    expires_at: float


@dataclass(frozen=True)
class StoredToken:
    """The record of an API token. It does not contain the secret token or its hash."""

    id: str
    user: User
    name: str
    scopes: frozenset[str]
    created_at: float


MOST_LINKS = 50
"""How many links of a user are kept. With one more, the one that would end first is given up."""
MOST_SIGN_INS = 200
"""How many browsers a user is signed in with. With one more, the oldest sign-in ends."""


class AccountStore(Protocol):
    """Stores accounts and credentials. No method returns a credential that is revoked, spent or expired.

    All times are seconds since the epoch; `at` is the present time.
    """

    async def user(self, name: str, at: float) -> User:
        """The account of that name. It is created if there is none, and only once for simultaneous callers."""
        ...

    async def add_link(self, code_hash: str, user_id: int, at: float, expires_at: float) -> None:
        """Stores a one-time link, and deletes those that have expired or are more than `MOST_LINKS` of the user."""
        ...

    async def link_owner(self, code_hash: str, at: float) -> User | None:
        """The account that the link signs in to, or `None` if it is not valid. It only reads."""
        ...

    async def spend_link(
        self,
        code_hash: str,
        at: float,
        *,
        sign_in_id: str,
        value_hash: str,
        agent: str,
        expires_at: float,
        in_place_of: str | None = None,
    ) -> StoredSignIn | None:
        """Spends the link, stores the sign-in and revokes the one that it takes the place of, in one transaction.

        Sign-ins of the user that have ended are deleted, and the oldest that are more than `MOST_SIGN_INS`.
        Returns `None` if the link is not valid. Of several simultaneous callers, one gets the sign-in.
        """
        ...

    async def sign_in(self, value_hash: str, at: float) -> StoredSignIn | None:
        """The sign-in whose cookie holds the value of this hash."""
        ...

    async def sign_ins(self, user_id: int, at: float) -> tuple[StoredSignIn, ...]:
        """The user's sign-ins, newest first."""
        ...

    async def revoke_sign_in(self, user_id: int, sign_in_id: str, at: float) -> bool:
        """Revokes a sign-in. Returns whether the user had one with that id."""
        ...

    async def add_token(
        self, user_id: int, token_id: str, name: str, token_hash: str, scopes: frozenset[str], at: float
    ) -> StoredToken:
        """Stores a token, and deletes the user's that are revoked."""
        ...

    async def token(self, token_hash: str) -> StoredToken | None: ...

    async def tokens(self, user_id: int) -> tuple[StoredToken, ...]:
        """The user's tokens, newest first."""
        ...

    async def revoke_token(self, user_id: int, token_id: str, at: float) -> bool:
        """Revokes a token. Returns whether the user had one with that id."""
        ...

    async def lapsed(self, credential_ids: frozenset[str], at: float) -> frozenset[str]:
        """Those of the given ids whose sign-in or token is revoked, expired or unknown."""
        ...

    async def recall(self, key: str) -> str | None:
        """A value of the installation, or `None` if it was never stored."""
        ...

    async def remember(self, key: str, value: str) -> None:
        """Stores a value of the installation. It replaces an older one."""
        ...
