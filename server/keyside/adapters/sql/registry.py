"""The executors that ever announced themselves, in SQL."""

import asyncio

from sqlalchemy import Connection
from sqlmodel import Session, col, delete, select

from keyside.adapters.sql.database import Database
from keyside.adapters.sql.rows import connections_json, connections_of
from keyside.adapters.sql.tables import ExecutorRow
from keyside.adapters.sql.writer import SqlWriter
from keyside.protocol.entities import ExecutorKind
from keyside.services.ports import KnownExecutor


class SqlRegistry:
    """`Registry` in the executor table."""

    def __init__(self, database: Database, writer: SqlWriter) -> None:
        self._database = database
        self._writer = writer

    async def load(self) -> tuple[KnownExecutor, ...]:
        """See `Registry`."""
        return await asyncio.to_thread(self._load)

    def _load(self) -> tuple[KnownExecutor, ...]:
        with self._database.read() as session:
            return tuple(_known(row) for row in session.exec(select(ExecutorRow)))

    async def save(self, known: KnownExecutor) -> None:
        """See `Registry`."""

        def work(connection: Connection) -> None:
            with Session(connection) as session:
                session.merge(_row(known))
                session.flush()

        await self._writer.write(work)

    async def forget(self, user_id: int, executor_id: str) -> None:
        """See `Registry`."""
        mine = (col(ExecutorRow.user_id) == user_id) & (col(ExecutorRow.executor_id) == executor_id)
        await self._writer.write(lambda connection: connection.execute(delete(ExecutorRow).where(mine)))


def _row(known: KnownExecutor) -> ExecutorRow:
    return ExecutorRow(
        user_id=known.user_id,
        executor_id=known.executor_id,
        secret_hash=known.secret_hash,
        name=known.name,
        kind=known.kind,
        connections=connections_json(known.connections),
        max_runs=known.max_runs,
        last_active_at=known.last_active_at,
    )


def _known(row: ExecutorRow) -> KnownExecutor:
    kind: ExecutorKind = row.kind  # type: ignore[assignment]
    return KnownExecutor(
        row.user_id,
        row.executor_id,
        row.secret_hash,
        row.name,
        kind,
        connections_of(row.connections),
        row.max_runs,
        row.last_active_at,
    )
