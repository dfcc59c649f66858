"""The port for accounts, sign-ins, links and tokens. Codes and tokens arrive here as hashes only."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class User:
    """An account."""

    id: int
    name: str


@dataclass(frozen=True)
class StoredSignIn:
    """A browser that is signed in. Times are seconds since the epoch."""

    id: str
    user: User
    agent: str
    created_at: float
    expires_at: float


@dataclass(frozen=True)
class StoredToken:
    """An API token, without itself."""

    id: str
    user: User
    name: str
    scopes: frozenset[str]
    created_at: float


class AccountStore(Protocol):
    """What is revoked, spent or too old is found by nothing here."""

    async def user(self, name: str, at: float) -> User:
        """The account of that name, made at `at` if there is none; two callers at once get the same."""
        ...

    async def add_link(self, code_hash: str, user_id: int, at: float, expires_at: float) -> None:
        """Stores a one-time link; those that are too old by `at` are forgotten."""
        ...

    async def spend_link(
        self, code_hash: str, at: float, *, sign_in_id: str, agent: str, expires_at: float
    ) -> StoredSignIn | None:
        """Spends the link and stores the sign-in in one transaction. Of two callers at once, one gets it."""
        ...

    async def sign_in(self, sign_in_id: str, at: float) -> StoredSignIn | None: ...

    async def sign_ins(self, user_id: int, at: float) -> tuple[StoredSignIn, ...]:
        """The newest first."""
        ...

    async def revoke_sign_in(self, user_id: int, sign_in_id: str, at: float) -> bool:
        """Whether there was one of that user to revoke."""
        ...

    async def add_token(
        self, user_id: int, token_id: str, name: str, token_hash: str, scopes: frozenset[str], at: float
    ) -> StoredToken: ...

    async def token(self, token_hash: str) -> StoredToken | None: ...

    async def tokens(self, user_id: int) -> tuple[StoredToken, ...]:
        """The newest first."""
        ...

    async def revoke_token(self, user_id: int, token_id: str, at: float) -> bool:
        """Whether there was one of that user to revoke."""
        ...

    async def lapsed(self, credential_ids: frozenset[str], at: float) -> frozenset[str]:
        """Those of the sign-ins and tokens that are revoked or too old by `at`."""
        ...

    async def recall(self, key: str) -> str | None:
        """A value of the installation."""
        ...

    async def remember(self, key: str, value: str) -> None:
        """Keeps a value of the installation, in place of an older one."""
        ...

    async def remember_once(self, key: str, value: str) -> str:
        """Keeps the value unless there is one; returns the one that is kept."""
        ...
