"""Opens the database of a data directory for commands. A server may be running, or may never have been started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from keyside.adapters.clock import RandomIds, SystemClock
from keyside.adapters.sql.accounts import SqlAccounts
from keyside.adapters.sql.database import Database, database_of
from keyside.adapters.sql.writer import SqlWriter
from keyside.cli.problems import Problem
from keyside.services.accounts import Accounts
from keyside.services.notices import Notices
from keyside.settings import Settings


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database of the data directory. Raises `Problem` if there is none."""
    if not (settings.data_dir / "keyside.db").is_file():
        raise Problem(f"There is no database in {settings.data_dir}: name another directory with --data-dir.")
    os.umask(0o077)
    database = database_of(settings.data_dir, sync=settings.sync)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def open_accounts(settings: Settings) -> Iterator[Accounts]:
    """The accounts of the data directory. The database is created or upgraded first if necessary."""
    os.umask(0o077)
    database = database_of(settings.make_data_dir(), sync=settings.sync)
    writer = SqlWriter(database)
    try:
        database.migrate()
        yield Accounts(SqlAccounts(database, writer), SystemClock(), RandomIds(), Notices())
    finally:
        writer.stop()
        database.close()
