"""The account store in memory, for tests and for a server that keeps nothing after its end."""

from dataclasses import dataclass

from keyside.services.account_store import MOST_LINKS, MOST_SIGN_INS, StoredSignIn, StoredToken, User


@dataclass
class _Link:
    user_id: int
    expires_at: float


class MemoryAccounts:
    """`AccountStore` in dictionaries."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}
        self._links: dict[str, _Link] = {}
        self._sign_ins: dict[str, StoredSignIn] = {}
        self._tokens: dict[str, StoredToken] = {}
        self._values: dict[str, str] = {}

    async def user(self, name: str, at: float) -> User:
        """See the port."""
        return self._users.setdefault(name, User(len(self._users) + 1, name))

    async def add_link(self, code_hash: str, user_id: int, at: float, expires_at: float) -> None:
        """See the port."""
        self._links = {code: link for code, link in self._links.items() if link.expires_at > at}
        self._links[code_hash] = _Link(user_id, expires_at)
        mine = [code for code, link in self._links.items() if link.user_id == user_id]
        for code in mine[:-MOST_LINKS]:
            del self._links[code]

    async def link_owner(self, code_hash: str, at: float) -> User | None:
        """See the port."""
        link = self._links.get(code_hash)
        return self._user(link.user_id) if link and link.expires_at > at else None

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
        """See the port."""
        user = await self.link_owner(code_hash, at)
        if user is None:
            return None
        del self._links[code_hash]
        self._sign_ins = {value: one for value, one in self._sign_ins.items() if one.id != in_place_of}
        made = self._sign_ins[value_hash] = StoredSignIn(sign_in_id, user, agent, at, expires_at)
        mine = [value for value, one in self._sign_ins.items() if one.user.id == user.id and one.expires_at > at]
        for value in mine[:-MOST_SIGN_INS]:
            del self._sign_ins[value]
        return made

    async def sign_in(self, value_hash: str, at: float) -> StoredSignIn | None:
        """See the port."""
        found = self._sign_ins.get(value_hash)
        return found if found and found.expires_at > at else None

    async def sign_ins(self, user_id: int, at: float) -> tuple[StoredSignIn, ...]:
        """See the port."""
        all_of_them = reversed(self._sign_ins.values())
        return tuple(one for one in all_of_them if one.user.id == user_id and one.expires_at > at)

    async def revoke_sign_in(self, user_id: int, sign_in_id: str, at: float) -> bool:
        """See the port."""
        for value_hash, one in self._sign_ins.items():
            if one.id == sign_in_id and one.user.id == user_id and one.expires_at > at:
                del self._sign_ins[value_hash]
                return True
        return False

    async def add_token(
        self, user_id: int, token_id: str, name: str, token_hash: str, scopes: frozenset[str], at: float
    ) -> StoredToken:
        """See the port."""
        made = StoredToken(token_id, self._user(user_id), name, scopes, at)
        self._tokens[token_hash] = made
        return made

    async def token(self, token_hash: str) -> StoredToken | None:
        """See the port."""
        return self._tokens.get(token_hash)

    async def tokens(self, user_id: int) -> tuple[StoredToken, ...]:
        """See the port."""
        return tuple(one for one in reversed(self._tokens.values()) if one.user.id == user_id)

    async def revoke_token(self, user_id: int, token_id: str, at: float) -> bool:
        """See the port."""
        for token_hash, one in self._tokens.items():
            if one.id == token_id and one.user.id == user_id:
                del self._tokens[token_hash]
                return True
        return False

    async def lapsed(self, credential_ids: frozenset[str], at: float) -> frozenset[str]:
        """See the port."""
        live = {one.id for one in self._sign_ins.values() if one.expires_at > at}
        return credential_ids - live - {one.id for one in self._tokens.values()}

    async def recall(self, key: str) -> str | None:
        """See the port."""
        return self._values.get(key)

    async def remember(self, key: str, value: str) -> None:
        """See the port."""
        self._values[key] = value

    def _user(self, user_id: int) -> User:
        return next(user for user in self._users.values() if user.id == user_id)
