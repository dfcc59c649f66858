"""The one writer of a database: chats, accounts and known executors, all on one thread and in the same transactions."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.pool import PoolProxiedConnection

from keyside.adapters.sql.batch import Batch, NeedsTransaction
from keyside.adapters.sql.committed import Committed
from keyside.adapters.sql.database import Database
from keyside.adapters.sql.group_writer import Done, GroupWriter, Land, WriteGroup
from keyside.adapters.sql.journal import INSERT, delete_before, insert_row
from keyside.core.changes import Changes

T = TypeVar("T")
Work = Sequence[Changes] | Callable[[Connection], Any]
"""What is written in one piece, all or nothing."""


class SqlWriter:
    """Whoever writes shares this; `close` stores what waits. Work that fails may have been called twice."""

    def __init__(self, database: Database) -> None:
        self.committed = Committed()
        self._database = database
        self._groups = GroupWriter[Work](self._prepare)
        self._transactions: Connection | None = None
        self._appends: PoolProxiedConnection | None = None
        self._committing = threading.Lock()

    def submit(self, work: Work, done: Done) -> None:
        """Calls `done` in the event loop with the entries or the result that are stored now, or with an exception."""
        self._groups.submit(work, done)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Writes on the writer's connection, in its thread; raises what the work raises, or `Unavailable`."""
        written: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.submit(work, partial(settle, written))
        return await written

    def caught_up(self) -> None:
        """For a reader's thread, after it has read: what it saw is known in the event loop before it goes on there."""
        with self._committing:
            pass

    async def close(self) -> None:
        """Stores what waits, and closes the connections."""
        await self._groups.close()
        self.stop()

    def stop(self) -> None:
        """The same where nothing waits, and no event loop is left."""
        self._groups.stop()
        for connection in (self._transactions, self._appends):
            if connection is not None:
                connection.close()
        self._transactions = self._appends = None

    # --- a group ---------------------------------------------------------------------------------

    def _prepare(self, group: Sequence[tuple[Work, Done]]) -> WriteGroup:
        """What the thread is to do.

        Lines alone, as nearly always, are made ready here, and one statement is left for the thread: with each step
        of Python that it takes it would wait for the event loop to let it.
        """
        if self.committed.is_long or any(callable(work) for work, _ in group):
            return partial(self._transact, group)
        batch = Batch(None, self.committed.heads, self.committed.tails)
        try:
            results = [batch.apply(work) for work, _ in group if not callable(work)]
        except NeedsTransaction:
            return partial(self._transact, group)
        return partial(self._append, batch, results, batch.journal())

    def _append(self, batch: Batch, results: list[Any], body: bytes | None, tell: Callable[[Land], None]) -> None:
        journal_id = None
        if body is not None:
            self._appends = self._appends or self._database.connect_appender()
            journal_id = self._database.append(self._appends, INSERT, (body,))
        tell(partial(self._land, batch, journal_id, results))

    def _transact(self, group: Sequence[tuple[Work, Done]], tell: Callable[[Land], None]) -> None:
        self._transactions = self._transactions or self._database.connect_writer()
        with ExitStack() as until_told:
            with self._database.write_on(self._transactions) as connection:
                batch = Batch(connection, self.committed.heads, self.committed.tails)
                results = [work(connection) if callable(work) else batch.apply(work) for work, _ in group]
                if self.committed.is_long:
                    batch.settle(self.committed.held_back())
                body = batch.journal()
                journal_id = None if body is None else insert_row(connection, body)
                batch.journal_from = self.committed.needed_from(batch.released, journal_id)
                if batch.journal_from is not None:
                    delete_before(connection, batch.journal_from)
                # From the commit until the event loop is told, no reader goes on: nobody sees more than is known there.
                until_told.enter_context(self._committing)
            tell(partial(self._land, batch, journal_id, results))

    def _land(self, batch: Batch, journal_id: int | None, results: list[Any]) -> list[Any]:
        self.committed.take(batch, journal_id)
        return results


def settle(future: "asyncio.Future[Any]", result: Any) -> None:
    """Ends a future with what `submit` tells."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
