"""Opens the accounts of a data directory, for commands that work beside a running server and before its first start."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from keyside.adapters.clock import RandomIds, SystemClock
from keyside.adapters.sql.accounts import SqlAccounts
from keyside.adapters.sql.database import Database, database_of
from keyside.adapters.sql.writer import SqlWriter
from keyside.cli.problems import Problem
from keyside.services.accounts import Accounts
from keyside.settings import Settings


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database of a data directory that has one."""
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
    """The accounts; the database is made and brought up to date where that is needed."""
    os.umask(0o077)
    database = database_of(settings.make_data_dir(), sync=settings.sync)
    writer = SqlWriter(database)
    try:
        database.migrate()
        yield Accounts(SqlAccounts(database, writer), SystemClock(), RandomIds())
    finally:
        writer.stop()
        database.close()
