"""What only the log in SQL promises: how little it writes, and what it does when nothing can be stored."""

import asyncio
import sqlite3
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from keyside.core.inputs import Stop
from keyside.services.ports import Unavailable
from tests.contracts.logs import LINES, OWNER, SqlShelf, added, new_writer, payloads
from tests.core.lines import DONE


def said_by_sqlite(code: int) -> OperationalError:
    """An error as the driver raises it."""
    error = sqlite3.OperationalError("cannot")
    error.sqlite_errorcode = code
    return OperationalError("", None, error)


@pytest.mark.rule("D3")
async def test_lines_are_kept_once_in_the_journal_and_then_in_one_row(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    run, beside = await writer.started("r1"), await writer.started("r2")
    for line in LINES:
        run = await writer.write(run, line)
    beside = await writer.write(beside, *LINES)
    assert (sql.count("journal"), sql.count("lines")) == (6, 0)
    await writer.end(run, None, DONE)
    assert (sql.count("journal"), sql.count("lines")) == (1, 1)
    await writer.end(beside, Stop())
    assert (sql.count("journal"), sql.count("lines")) == (0, 2)


@pytest.mark.rule("D3")
async def test_whatever_arrives_while_a_transaction_runs_is_one_row_of_the_next(sql: SqlShelf) -> None:
    writers = [await new_writer(sql.log) for _ in range(20)]
    runs = [await writer.started(f"r{n}") for n, writer in enumerate(writers)]
    transactions = 0

    @event.listens_for(sql.database.engine, "commit")
    def count(_connection: object) -> None:
        nonlocal transactions
        transactions += 1

    await asyncio.gather(*(w.commit(added(run, *LINES)) for w, run in zip(writers, runs, strict=True)))
    assert transactions <= 2
    assert 1 <= sql.count("journal") <= 2
    for run in runs:
        assert await sql.log.lines(run) == LINES


def appender(sql: SqlShelf) -> sqlite3.Connection:
    """The driver's own connection by which lines are appended."""
    assert sql.writer._appends is not None
    driver: Any = sql.writer._appends.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


@pytest.mark.rule("D3")
async def test_a_frame_touches_neither_run_nor_chat_nor_an_index(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    run = await writer.write(await writer.started(), *LINES[:1])
    statements: list[str] = []
    appender(sql).set_trace_callback(statements.append)

    @event.listens_for(sql.database.engine, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    await writer.write(run, *LINES[1:])
    appender(sql).set_trace_callback(None)
    assert [statement.split()[:3] for statement in statements if "BEGIN" not in statement] == [
        ["INSERT", "INTO", "journal"]
    ]
    with sql.database.write() as connection:
        names = connection.exec_driver_sql("PRAGMA index_list(journal)").all()
    assert names == []


@pytest.mark.rule("D3", "R8")
async def test_a_journal_whose_runs_have_all_ended_is_emptied_by_the_next_process(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    one = await writer.started("one")
    two = await writer.started("two")
    await asyncio.gather(writer.commit(added(one, *LINES)), writer.commit(added(two, *LINES)))
    one, two = replace(one, expected=5), replace(two, expected=5)
    await writer.end(one)
    await sql.reopen()
    writer.log = sql.log
    assert await sql.log.lines(two) == LINES
    await writer.end(two)
    await sql.reopen()
    writer.log = sql.log
    await writer.commit(writer.headed(None))
    assert (sql.count("journal"), sql.count("lines")) == (0, 2)
    assert (await sql.log.lines(one), await sql.log.lines(two)) == (LINES, LINES)


@pytest.mark.rule("D3", "R9")
async def test_a_deleted_chat_leaves_no_row(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    await writer.end(await writer.write(await writer.started("r1"), *LINES))
    await writer.write(await writer.started("r2"), *LINES)
    await writer.delete()
    await sql.log.new_chat(OWNER, "", 0)
    left = {table: sql.count(table) for table in ("chat", "message", "run", "event", "lines", "journal")}
    assert left == {"chat": 1, "message": 0, "run": 0, "event": 0, "lines": 0, "journal": 0}


@pytest.mark.rule("D4")
async def test_while_nothing_can_be_stored_nothing_changes_and_then_it_goes_on(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    run = await writer.write(await writer.started(), *LINES[:2])
    before = await payloads(sql.log, writer.chat.id)
    full = True
    appender(sql).execute("PRAGMA query_only=1")

    @event.listens_for(sql.database.engine, "before_cursor_execute")
    def refuse(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if full and statement.split()[0] in ("INSERT", "UPDATE", "DELETE"):
            raise said_by_sqlite(sqlite3.SQLITE_FULL)

    refused = await asyncio.gather(
        writer.commit(added(run, *LINES[2:])),
        writer.commit(writer.headed(None, title="new")),
        sql.log.new_chat(OWNER, "new", 0),
        writer.delete(),
        return_exceptions=True,
    )
    assert [type(result) for result in refused] == [Unavailable] * 4
    assert await payloads(sql.log, writer.chat.id) == before
    assert await sql.log.heads([writer.chat.id]) == {writer.chat.id: len(before)}
    assert await sql.log.lines(run) == LINES[:2]
    full = False
    appender(sql).execute("PRAGMA query_only=0")
    assert [entry.seq for entry in await writer.commit(added(run, *LINES[2:]))] == [len(before) + 1]
    assert await sql.log.lines(run) == LINES
    await sql.reopen()
    assert await sql.log.lines(run) == LINES


@pytest.mark.rule("D4")
async def test_while_nothing_can_be_read_a_reader_is_told_so(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    gone = True

    @event.listens_for(sql.database.engine, "before_cursor_execute")
    def refuse(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if gone and statement.startswith("SELECT"):
            raise said_by_sqlite(sqlite3.SQLITE_CANTOPEN)

    for reading in (
        sql.log.view(writer.chat.id, limit=1),
        sql.log.read(writer.chat.id, after=0),
        sql.log.chats(OWNER, limit=1),
    ):
        with pytest.raises(Unavailable):
            await reading
    gone = False
    assert await sql.log.view(writer.chat.id, limit=1) is not None


@pytest.mark.rule("D1")
async def test_what_was_committed_is_there_for_another_connection_at_once(sql: SqlShelf) -> None:
    """Nobody hears of a commit before it is in the file."""
    writer = await new_writer(sql.log)
    run = await writer.started()
    for n in range(5):
        run = await writer.write(run, LINES[n])
        assert sql.count("journal") == n + 1


async def test_what_waits_is_stored_before_the_log_closes(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    run = await writer.started()
    waiting = asyncio.ensure_future(writer.commit(added(run, *LINES)))
    await asyncio.sleep(0)
    await sql.reopen()
    await waiting
    assert await sql.log.lines(run) == LINES
