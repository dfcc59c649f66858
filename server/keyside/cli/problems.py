"""Turns expected failures into one sentence for the user, without a traceback."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


class Problem(Exception):
    """An expected failure. The program prints the sentence on standard error and exits with `exit_code`."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        self.exit_code = exit_code
        super().__init__(sentence)


@contextmanager
def foreseeable() -> Iterator[None]:
    """Raises a `Problem` in place of an expected failure. Other exceptions are bugs and pass unchanged."""
    try:
        yield
    except Exception as error:
        problem = error if isinstance(error, Problem) else _explained(error)
        if problem is None:
            raise
        raise problem from None


def _explained(error: Exception) -> Problem | None:
    from pydantic_settings import SettingsError

    from keyside.protocol.errors import KeysideError
    from keyside.settings import BadSettings

    if isinstance(error, BadSettings | SettingsError):
        return Problem(str(error), 2)
    if isinstance(error, KeysideError):
        return Problem(str(error), 2 if error.code == "bad_request" else 1)
    return _of_the_store(error)


def _of_the_store(error: Exception) -> Problem | None:
    from alembic.util.exc import CommandError
    from sqlalchemy.exc import DatabaseError

    from keyside.adapters.secret_file import BadSecret
    from keyside.adapters.sql.database import DataDirectoryTaken
    from keyside.services.ports import Unavailable

    if isinstance(error, DataDirectoryTaken):
        return Problem(f"{error}: stop it, or choose another with --data-dir.")
    if isinstance(error, BadSecret):
        return Problem(f"{error}.")
    if isinstance(error, CommandError):
        return Problem("The database was made by a newer version of Keyside: use that one, or a backup.")
    if isinstance(error, Unavailable):
        return Problem(f"The database cannot be used: {error}.")
    if isinstance(error, DatabaseError | sqlite3.Error):
        cause = error.orig if isinstance(error, DatabaseError) else error
        return Problem(f"The database cannot be used: {cause}.")
    if isinstance(error, OSError) and error.filename:
        return Problem(f"{error.filename} cannot be used: {error.strerror}.")
    return None
