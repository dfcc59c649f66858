"""Opens the database: connections for one writer and many readers, migrations, backup, and the directory's lock."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlmodel import Session

from keyside.services.ports import Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0004"
"""The newest of them."""
PAGE_BYTES = 2048
"""The page size of a new database: half of SQLite's default, because most commits write only a few lines of text."""
BUSY_SECONDS = 2
"""How long a write waits for another process. After that, `Unavailable` is raised (D4)."""


_AWAY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""What SQLite says where the disk, the file or another process is in the way; anything else is a bug."""


class DataDirectoryTaken(Exception):
    """Another server uses this data directory."""


class Database:
    """A SQLite database in WAL mode.

    `sync` is SQLite's `synchronous`: `full` covers power loss, `normal` only the death of the process (D2).
    Where the disk or the file fails, `read`, `write` and `write_on` raise `Unavailable` (D4).
    """

    def __init__(self, path: Path, *, sync: str = "full") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.url = f"sqlite:///{path}"
        self.engine = create_engine(
            self.url, pool_size=8, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
        )
        event.listen(self.engine, "connect", _on_connect(sync))
        event.listen(self.engine, "begin", _on_begin)
        self._writes = self.engine.execution_options(**{_WRITES: True})

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction. It takes the write lock at its beginning, so nobody changes what it has read."""
        with _said_to_be_away(), self._writes.begin() as connection:
            yield connection

    @contextmanager
    def write_on(self, kept: Connection) -> Iterator[Connection]:
        """A write transaction on a connection of `connect_writer`, which saves opening one for each transaction."""
        with _said_to_be_away(), kept.begin():
            yield kept

    def connect_writer(self) -> Connection:
        """A connection for `write_on`; the caller closes it."""
        return self._writes.connect()

    def connect_appender(self) -> PoolProxiedConnection:
        """A connection for `append`; the caller closes it."""
        return self.engine.raw_connection()

    @staticmethod
    def append(kept: PoolProxiedConnection, statement: str, values: tuple[Any, ...]) -> int:
        """Runs one INSERT as a transaction of its own, and returns the id of its row.

        The statement goes to the driver itself: nearly every commit is one, and SQLAlchemy costs as much as SQLite.
        """
        driver: Any = kept.driver_connection
        with _said_to_be_away():
            return int(driver.execute(statement, values).lastrowid)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One read transaction. All its queries see the database as it was at the first of them."""
        with _said_to_be_away(), Session(self.engine) as session:
            yield session

    def migrate(self) -> None:
        """Upgrades the tables to this version. Does nothing if they are current."""
        with self.write() as connection:
            if _revision(connection) == HEAD:
                return
            # Importing Alembic takes half a second, so it is imported only when there is something to upgrade.
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def backup(self, target: Path) -> None:
        """Copies the database to the file `target`, also while a server writes (SQLite's online backup).

        The copy shows one moment. It is written to a temporary file first, so `target` is never incomplete.
        """
        aside = target.with_name(target.name + ".part")
        aside.unlink(missing_ok=True)
        with self.engine.connect() as connection:
            source = connection.connection.driver_connection
            assert source is not None
            copy = sqlite3.connect(aside)
            try:
                source.backup(copy)
            finally:
                copy.close()
        aside.replace(target)

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()


@contextmanager
def _said_to_be_away() -> Iterator[None]:
    try:
        yield
    except (OperationalError, sqlite3.OperationalError) as error:
        cause = error.orig if isinstance(error, OperationalError) else error
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF not in _AWAY:
            raise
        raise Unavailable(str(cause)) from error


_WRITES = "keyside_writes"


def _on_connect(sync: str) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    def on_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # By default the driver begins a transaction only before a write; then reads would not see a single moment.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA page_size={PAGE_BYTES}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={'NORMAL' if sync == 'normal' else 'FULL'}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        cursor.close()

    return on_connect


def _on_begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITES) else "BEGIN")


def _revision(connection: Connection) -> str | None:
    """The migration that the tables are at, or `None` if there are no tables."""
    known = connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")).scalar()
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if known else None


def database_of(data_dir: Path, *, sync: str = "full") -> Database:
    """The database of a data directory."""
    return Database(data_dir / "keyside.db", sync=sync)


class DataDirectoryLock:
    """A lock that a server holds while it runs.

    Raises `DataDirectoryTaken` if another process holds the lock of the same directory.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file: IO[str] = (data_dir / "lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise DataDirectoryTaken(f"{data_dir} is in use by {holder}") from error
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()}")
        self._file.flush()

    def release(self) -> None:
        """Releases the lock, so that another server can start."""
        self._file.close()
