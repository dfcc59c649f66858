"""The implementations that the contract tests run against."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyside.services.ports import ChatLog
from tests.contracts.logs import MemoryShelf, Shelf, SqlShelf, Writer, make_template, new_writer


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database that is up to date."""
    return asyncio.run(make_template(tmp_path_factory.mktemp("template")))


@pytest.fixture
async def sql(tmp_path: Path, template: Path) -> AsyncIterator[SqlShelf]:
    """The log in SQLite."""
    shelf = SqlShelf(tmp_path, template)
    await shelf.open()
    yield shelf
    await shelf.close()


@pytest.fixture(params=["sql", "memory"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    """Each log in turn."""
    found: Shelf = request.getfixturevalue("sql") if request.param == "sql" else MemoryShelf()
    return found


@pytest.fixture
def chat_log(shelf: Shelf) -> ChatLog:
    """Each log in turn, for tests that do not reopen it."""
    return shelf.log


@pytest.fixture
async def writer(chat_log: ChatLog) -> Writer:
    """A writer with a new chat."""
    return await new_writer(chat_log, title="first")
