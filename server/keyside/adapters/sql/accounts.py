"""The account store in SQL: what changes goes through the one writer, each piece all or nothing."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, text, update
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from keyside.adapters.sql.database import Database
from keyside.adapters.sql.tables import LinkRow, MetaRow, SignInRow, TokenRow, UserRow
from keyside.adapters.sql.writer import SqlWriter
from keyside.services.account_store import MOST_LINKS, MOST_SIGN_INS, StoredSignIn, StoredToken, User

T = TypeVar("T")


class SqlAccounts:
    """`AccountStore` on short sessions; other processes may write beside it."""

    def __init__(self, database: Database, writer: SqlWriter) -> None:
        self._database = database
        self._writer = writer

    async def _do(self, work: Callable[[Session], T]) -> T:
        def in_thread() -> T:
            with self._database.read() as session:
                return work(session)

        return await asyncio.to_thread(in_thread)

    async def _change(self, work: Callable[[Session], T]) -> T:
        def on(connection: Connection) -> T:
            with Session(connection) as session:
                result = work(session)
                session.flush()
                session.expunge_all()
                return result

        return await self._writer.write(on)

    async def user(self, name: str, at: float) -> User:
        """See the port."""

        def work(session: Session) -> User:
            query = select(UserRow).where(UserRow.name == name)
            row = session.exec(query).first()
            if row is None:
                session.exec(insert(UserRow).values(name=name, created_at=at).on_conflict_do_nothing())
                row = session.exec(query).one()
            return _user(row)

        return await self._change(work)

    async def add_link(self, code_hash: str, user_id: int, at: float, expires_at: float) -> None:
        """See the port."""

        def work(session: Session) -> None:
            session.exec(delete(LinkRow).where(col(LinkRow.expires_at) <= at))
            session.add(LinkRow(code_hash=code_hash, user_id=user_id, expires_at=expires_at))
            session.flush()
            mine = col(LinkRow.user_id) == user_id
            kept = (
                select(LinkRow.code_hash)
                .where(mine)
                .order_by(col(LinkRow.expires_at).desc(), text("rowid DESC"))
                .limit(MOST_LINKS)
            )
            session.exec(delete(LinkRow).where(mine, col(LinkRow.code_hash).not_in(kept)))

        await self._change(work)

    async def link_owner(self, code_hash: str, at: float) -> User | None:
        """See the port."""

        def work(session: Session) -> User | None:
            query = select(UserRow).where(UserRow.id == LinkRow.user_id, _unspent(code_hash, at))
            row = session.exec(query).first()
            return _user(row) if row else None

        return await self._do(work)

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

        def work(session: Session) -> StoredSignIn | None:
            spend = update(LinkRow).where(_unspent(code_hash, at)).values(used_at=at)
            user_id = session.scalar(spend.returning(col(LinkRow.user_id)))
            if user_id is None:
                return None
            times = {"created_at": at, "expires_at": expires_at}
            row = SignInRow(id=sign_in_id, hash=value_hash, user_id=user_id, agent=agent, **times)
            session.add(row)
            session.exec(update(SignInRow).where(col(SignInRow.id) == in_place_of).values(revoked_at=at))
            session.flush()
            mine = col(SignInRow.user_id) == user_id
            live = col(SignInRow.revoked_at).is_(None) & (col(SignInRow.expires_at) > at)
            newest = col(SignInRow.created_at).desc()
            kept = select(SignInRow.id).where(mine, live).order_by(newest).limit(MOST_SIGN_INS)
            session.exec(delete(SignInRow).where(mine, col(SignInRow.id).not_in(kept)))
            return _sign_in(row, session.get_one(UserRow, user_id))

        return await self._change(work)

    async def sign_in(self, value_hash: str, at: float) -> StoredSignIn | None:
        """See the port."""

        def work(session: Session) -> StoredSignIn | None:
            row = session.exec(_live_sign_ins(at).where(SignInRow.hash == value_hash)).first()
            return _sign_in(*row) if row else None

        return await self._do(work)

    async def sign_ins(self, user_id: int, at: float) -> tuple[StoredSignIn, ...]:
        """See the port."""

        def work(session: Session) -> tuple[StoredSignIn, ...]:
            query = _live_sign_ins(at).where(SignInRow.user_id == user_id)
            rows = session.exec(query.order_by(col(SignInRow.created_at).desc()))
            return tuple(_sign_in(*row) for row in rows)

        return await self._do(work)

    async def revoke_sign_in(self, user_id: int, sign_in_id: str, at: float) -> bool:
        """See the port."""
        live = col(SignInRow.revoked_at).is_(None) & (col(SignInRow.expires_at) > at)
        mine = (col(SignInRow.id) == sign_in_id) & (col(SignInRow.user_id) == user_id)
        revoke = update(SignInRow).where(mine & live).values(revoked_at=at).returning(col(SignInRow.id))
        return await self._change(lambda session: session.scalar(revoke) is not None)

    async def add_token(
        self, user_id: int, token_id: str, name: str, token_hash: str, scopes: frozenset[str], at: float
    ) -> StoredToken:
        """See the port."""
        joined = " ".join(sorted(scopes))

        def work(session: Session) -> StoredToken:
            session.exec(
                delete(TokenRow).where(col(TokenRow.user_id) == user_id, col(TokenRow.revoked_at).is_not(None))
            )
            row = TokenRow(id=token_id, user_id=user_id, name=name, hash=token_hash, scopes=joined, created_at=at)
            session.add(row)
            session.flush()
            return _token(row, session.get_one(UserRow, user_id))

        return await self._change(work)

    async def token(self, token_hash: str) -> StoredToken | None:
        """See the port."""

        def work(session: Session) -> StoredToken | None:
            row = session.exec(_live_tokens().where(TokenRow.hash == token_hash)).first()
            return _token(*row) if row else None

        return await self._do(work)

    async def tokens(self, user_id: int) -> tuple[StoredToken, ...]:
        """See the port."""

        def work(session: Session) -> tuple[StoredToken, ...]:
            query = _live_tokens().where(TokenRow.user_id == user_id)
            rows = session.exec(query.order_by(col(TokenRow.created_at).desc()))
            return tuple(_token(*row) for row in rows)

        return await self._do(work)

    async def revoke_token(self, user_id: int, token_id: str, at: float) -> bool:
        """See the port."""
        mine = (col(TokenRow.id) == token_id) & (col(TokenRow.user_id) == user_id)
        live = col(TokenRow.revoked_at).is_(None)
        revoke = update(TokenRow).where(mine & live).values(revoked_at=at).returning(col(TokenRow.id))
        return await self._change(lambda session: session.scalar(revoke) is not None)

    async def lapsed(self, credential_ids: frozenset[str], at: float) -> frozenset[str]:
        """See the port."""

        def work(session: Session) -> frozenset[str]:
            sign_ins = _live_sign_ins(at).where(col(SignInRow.id).in_(credential_ids))
            tokens = _live_tokens().where(col(TokenRow.id).in_(credential_ids))
            live = {row.id for query in (sign_ins, tokens) for row, _ in session.exec(query)}
            return credential_ids - live

        return await self._do(work)

    async def recall(self, key: str) -> str | None:
        """See the port."""

        def work(session: Session) -> str | None:
            row = session.get(MetaRow, key)
            return row.value if row else None

        return await self._do(work)

    async def remember(self, key: str, value: str) -> None:
        """See the port."""
        put = insert(MetaRow).values(key=key, value=value)
        put = put.on_conflict_do_update(index_elements=["key"], set_={"value": value})
        await self._change(lambda session: session.exec(put))


def _unspent(code_hash: str, at: float) -> Any:
    unspent = (col(LinkRow.code_hash) == code_hash) & (col(LinkRow.used_at).is_(None))
    return unspent & (col(LinkRow.expires_at) > at)


def _live_sign_ins(at: float) -> Any:
    live = col(SignInRow.revoked_at).is_(None) & (col(SignInRow.expires_at) > at)
    return select(SignInRow, UserRow).where(SignInRow.user_id == UserRow.id, live)


def _live_tokens() -> Any:
    return select(TokenRow, UserRow).where(TokenRow.user_id == UserRow.id, col(TokenRow.revoked_at).is_(None))


def _user(row: UserRow) -> User:
    if row.id is None:
        raise ValueError("this account was not stored")
    return User(row.id, row.name)


def _sign_in(row: SignInRow, user: UserRow) -> StoredSignIn:
    return StoredSignIn(row.id, _user(user), row.agent, row.created_at, row.expires_at)


def _token(row: TokenRow, user: UserRow) -> StoredToken:
    return StoredToken(row.id, _user(user), row.name, frozenset(row.scopes.split()), row.created_at)
