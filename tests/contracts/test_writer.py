"""The one writer: groups, callbacks in order, one thread for everything, and readers that see no more than was told."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError

from keyside.adapters.sql.accounts import SqlAccounts
from keyside.adapters.sql.group_writer import Done, GroupWriter, Land, WriteGroup
from keyside.adapters.sql.registry import SqlRegistry
from keyside.services.ports import Unavailable
from tests.contracts.logs import LINES, OWNER, SqlShelf, added, new_writer
from tests.contracts.test_registry import DESK


def doubling(group: Sequence[tuple[int, Done]]) -> WriteGroup:
    """Doubles each item in the thread; refuses 13 there, and 7 before."""
    items = [item for item, _ in group]
    if 7 in items:
        raise ValueError("7")

    def store(tell: Callable[[Land], None]) -> None:
        if 13 in items:
            raise ValueError("13")
        tell(lambda: [item * 2 for item in items])

    return store


async def settled(writer: GroupWriter[int], *items: int) -> list[Any]:
    """What is told of the items, in the order in which it was told."""
    told: list[Any] = []
    for item in items:
        writer.submit(item, told.append)
    await writer.close()
    return told


@pytest.mark.parametrize("bad", [7, 13])
async def test_only_the_bad_item_of_a_group_is_refused(bad: int) -> None:
    first, refused, last = await settled(GroupWriter[int](doubling), 1, bad, 2)
    assert (first, str(refused), last) == (2, str(bad), 4)


async def test_one_that_fails_when_it_is_told_does_not_keep_the_others_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = GroupWriter[int](doubling)
    told: list[Any] = []

    def broken(result: Any) -> None:
        raise RuntimeError("a bug")

    for done in (told.append, broken, told.append):
        writer.submit(1, done)
    assert await settled(writer, 5) == [10]
    assert told == [2, 2]
    assert "a bug" in caplog.text


async def test_a_bug_after_a_commit_is_told_to_whoever_waits_and_the_next_group_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def prepare(group: Sequence[tuple[int, Done]]) -> WriteGroup:
        def land() -> list[int]:
            if group[0][0] == 13:
                raise RuntimeError("a bug")
            return [item for item, _ in group]

        return lambda tell: tell(land)

    writer = GroupWriter[int](prepare)
    told: list[Any] = []

    def again(result: Any) -> None:
        told.append(result)
        writer.submit(2, told.append)

    writer.submit(13, again)
    await writer.close()
    assert [str(one) for one in told] == ["a bug", "2"]
    assert "a bug" in caplog.text


async def test_what_is_submitted_when_something_was_told_goes_into_the_next_group() -> None:
    groups: list[list[int]] = []

    def prepare(group: Sequence[tuple[int, Done]]) -> WriteGroup:
        groups.append([item for item, _ in group])
        return doubling(group)

    writer = GroupWriter[int](prepare)
    told: list[int] = []

    def again(result: int) -> None:
        told.append(result)
        if result < 16:
            writer.submit(result, again)

    writer.submit(1, again)
    writer.submit(3, told.append)
    await writer.close()
    assert (groups, told) == ([[1, 3], [2], [4], [8]], [2, 6, 4, 8, 16])


# --- the writer of a database ------------------------------------------------------------------------


class Held:
    """Work that stays in the writer's thread until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.thread = ""

    def __call__(self, connection: Connection) -> None:
        connection.execute(text("DELETE FROM meta WHERE key = 'probe'"))
        self.thread = threading.current_thread().name
        self.begun.set()
        assert self.let_go.wait(60)


@pytest.mark.rule("D3", "D4")
async def test_executors_and_accounts_wait_for_the_same_thread_as_the_chats(sql: SqlShelf) -> None:
    """While a transaction is written, nobody meets its lock: the next one has everything that came meanwhile."""
    chat = await new_writer(sql.log)
    threads: set[str] = set()

    @event.listens_for(sql.database.engine, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.split()[0] in ("INSERT", "UPDATE", "DELETE"):
            threads.add(threading.current_thread().name)

    held = Held()
    long = asyncio.create_task(sql.writer.write(held))
    await asyncio.to_thread(held.begun.wait)
    accounts, registry = SqlAccounts(sql.database, sql.writer), SqlRegistry(sql.database, sql.writer)
    waiting = [
        asyncio.create_task(work)
        for work in (
            registry.save(DESK),
            accounts.remember("key", "value"),
            accounts.add_link("hash", OWNER, 0, 600),
            chat.commit(chat.headed(None, title="new")),
            registry.forget(OWNER, "phone"),
        )
    ]
    assert await registry.load() == ()
    assert not any(task.done() for task in [long, *waiting])
    held.let_go.set()
    await asyncio.gather(long, *waiting)
    assert await registry.load() == (DESK,)
    assert await accounts.recall("key") == "value"
    assert threads == {held.thread}


async def test_work_that_fails_leaves_nothing_and_refuses_only_itself(sql: SqlShelf) -> None:
    accounts = SqlAccounts(sql.database, sql.writer)

    def broken(connection: Connection) -> None:
        connection.execute(text("INSERT INTO meta VALUES ('half', 'done')"))
        raise ValueError("a bug")

    found = await asyncio.gather(
        accounts.remember("one", "1"), sql.writer.write(broken), accounts.remember("two", "2"), return_exceptions=True
    )
    assert [type(one) for one in found] == [type(None), ValueError, type(None)]
    assert [await accounts.recall(key) for key in ("one", "half", "two")] == ["1", None, "2"]


@pytest.mark.rule("D1")
async def test_whoever_reads_meets_nothing_that_was_not_told_yet(
    sql: SqlShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that saw a commit goes on after the commit was told, also where the thread is slow to tell it."""
    chat = await new_writer(sql.log)
    order: list[str] = []
    committed, has_read, tell = threading.Event(), threading.Event(), threading.Event()
    caught_up = sql.writer.caught_up

    def note() -> None:
        has_read.set()
        caught_up()

    def commit(connection: Connection) -> None:
        """The rows are there for others, and the thread has not told it."""
        driver: Any = connection.connection.driver_connection
        driver.execute("COMMIT")
        driver.execute("BEGIN")
        committed.set()
        assert tell.wait(60)

    monkeypatch.setattr(sql.writer, "caught_up", note)
    event.listen(sql.database.engine, "commit", commit, once=True)
    sql.log.submit([chat.changes(chat.headed(None, title="new"))], lambda _: order.append("told"))
    await asyncio.to_thread(committed.wait)
    reading = asyncio.create_task(sql.log.chat(OWNER, chat.chat.id))
    reading.add_done_callback(lambda _: order.append("read"))
    await asyncio.to_thread(has_read.wait)
    for _ in range(20):
        await asyncio.to_thread(str)
    tell.set()
    found = await reading
    assert found is not None
    assert (found.title, order) == ("new", ["told", "read"])


# --- whether the store is away -----------------------------------------------------------------------


@pytest.mark.rule("D4")
async def test_a_statement_that_is_wrong_is_a_bug_and_not_a_store_that_is_away(sql: SqlShelf) -> None:
    def wrong(connection: Connection) -> None:
        connection.execute(text("SELECT nonsense FROM chat"))

    chat = await new_writer(sql.log)
    run = await chat.started()
    found = await asyncio.gather(chat.commit(added(run, *LINES)), sql.writer.write(wrong), return_exceptions=True)
    assert [type(one) for one in found] == [tuple, OperationalError]
    with pytest.raises(OperationalError, match="nonsense"), sql.database.read() as session:
        session.connection().execute(text("SELECT nonsense FROM chat"))


@pytest.mark.rule("D4")
@pytest.mark.parametrize(
    ("code", "away"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_LOCKED, True),
        (sqlite3.SQLITE_READONLY, True),
        (sqlite3.SQLITE_IOERR_FSYNC, True),
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_CANTOPEN, True),
        (sqlite3.SQLITE_PROTOCOL, True),
        (sqlite3.SQLITE_ERROR, False),
        (sqlite3.SQLITE_SCHEMA, False),
        (sqlite3.SQLITE_TOOBIG, False),
        (sqlite3.SQLITE_INTERRUPT, False),
    ],
)
async def test_only_where_disk_file_or_lock_fail_the_store_is_away(sql: SqlShelf, code: int, away: bool) -> None:
    def fail(connection: Connection) -> None:
        error = sqlite3.OperationalError("said by SQLite")
        error.sqlite_errorcode = code
        raise OperationalError("", None, error)

    with pytest.raises(Unavailable if away else OperationalError, match="said by SQLite"):
        await sql.writer.write(fail)


@pytest.mark.rule("D4")
async def test_a_database_that_may_not_be_written_is_away_until_it_may(sql: SqlShelf) -> None:
    chat = await new_writer(sql.log)
    run = await chat.started()

    async def set_read_only(value: int) -> None:
        transactions, appends = sql.writer._transactions, sql.writer._appends
        drivers: list[Any] = [transactions.connection.driver_connection] if transactions else []
        drivers += [appends.driver_connection] if appends else []
        for driver in drivers:
            await asyncio.to_thread(driver.execute, f"PRAGMA query_only={value}")

    await chat.write(run, LINES[0])
    await set_read_only(1)
    for change in (added(run, *LINES[1:], at=1), chat.headed(None)):
        with pytest.raises(Unavailable, match="readonly"):
            await chat.commit(change)
    await set_read_only(0)
    await chat.commit(added(run, *LINES[1:], at=1))
    assert await sql.log.lines(run) == LINES
