"""Opens the database: one writer's connection, readers beside it, migrations, and the lock on the data directory."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

from keyside.services.ports import Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0002"
"""The newest of them."""
PAGE_BYTES = 2048
"""Of a new database: each commit writes whole pages, and half of SQLite's own size holds the lines of a few frames."""
BUSY_SECONDS = 2
"""How long a write waits for another process; after that the store counts as away (D4)."""


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
        """One write transaction. It takes the write lock at once, so that what it reads first stays true."""
        with _said_to_be_away(), self._writes.begin() as connection:
            yield connection

    @contextmanager
    def write_on(self, kept: Connection) -> Iterator[Connection]:
        """The same on a connection that `connect_writer` made: for whoever writes all the time."""
        with _said_to_be_away(), kept.begin():
            yield kept

    def connect_writer(self, *, single: bool = False) -> Connection:
        """A connection for `write_on`, to be closed. With `single` each statement is a transaction of its own."""
        return (self.engine.execution_options(**{_SINGLE: True}) if single else self._writes).connect()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One read transaction: everything in it is seen as of its first query."""
        with _said_to_be_away(), Session(self.engine) as session:
            yield session

    def migrate(self) -> None:
        """Brings the tables to what this version needs; does nothing when they are."""
        with self.write() as connection:
            if _revision(connection) == HEAD:
                return
            # Alembic takes half of a second to import: a server that is up to date does not wait for it.
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def backup(self, target: Path) -> None:
        """Copies the database as of one moment, also while a server writes (SQLite's online backup).

        The copy is written aside and then renamed: `target` is a whole database or is not there.
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
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF not in _AWAY:
            raise
        raise Unavailable(str(error.orig)) from error


_WRITES = "keyside_writes"
_SINGLE = "keyside_single"


def _on_connect(sync: str) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    def on_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by itself, and only before it writes: reads would not be of one moment.
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
    if not options.get(_SINGLE):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITES) else "BEGIN")


def _revision(connection: Connection) -> str | None:
    """What the tables were brought to the last time; `None`: there are none."""
    known = connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")).scalar()
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if known else None


def database_of(data_dir: Path, *, sync: str = "full") -> Database:
    """The database of a data directory."""
    return Database(data_dir / "keyside.db", sync=sync)


class DataDirectoryLock:
    """Held while a server runs: a second one on the same directory is refused."""

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
        """Lets the next server in."""
        self._file.close()
