"""A store in a SQLite database."""

import asyncio
from pathlib import Path

from keyside.adapters.sql.accounts import SqlAccounts
from keyside.adapters.sql.database import DataDirectoryLock, database_of
from keyside.adapters.sql.log import SqlChatLog
from keyside.adapters.sql.registry import SqlRegistry
from keyside.adapters.sql.writer import SqlWriter


class SqlStore:
    """`Store` in a database of the data directory, which is locked for this process. `sync` is as in `Database`."""

    def __init__(self, data_dir: Path, *, sync: str = "full") -> None:
        self._lock = DataDirectoryLock(data_dir)
        self._database = database_of(data_dir, sync=sync)
        self._writer = SqlWriter(self._database)
        self.chat_log = SqlChatLog(self._database, self._writer)
        self.registry = SqlRegistry(self._database, self._writer)
        self.accounts = SqlAccounts(self._database, self._writer)

    async def start(self) -> None:
        """Brings the tables up to date, and loads what the last process left unfinished."""
        await asyncio.to_thread(self._database.migrate)
        await self.chat_log.start()

    async def stop(self) -> None:
        """Writes what waits, and lets the next server in."""
        await self._writer.close()
        self._database.close()
        self._lock.release()
