"""The journal of the log in SQL: it holds what running runs need, is bounded, and no number is given twice."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from keyside.adapters.sql import committed
from keyside.adapters.sql.doctor import examine
from keyside.core.inputs import Stop
from keyside.core.run import Run
from tests.contracts.logs import LINES, OTHER, OWNER, SqlShelf, Writer, added, new_writer, payloads
from tests.core.lines import DONE, text_line


def rows(sql: SqlShelf) -> list[int]:
    """The ids of the journal's rows."""
    with sql.database.write() as connection:
        return list(connection.execute(text("SELECT id FROM journal ORDER BY id")).scalars())


async def several(sql: SqlShelf, count: int, user_id: int = OWNER) -> tuple[Writer, list[Run]]:
    """Runs that have begun, one after the other, in one chat."""
    writer = await new_writer(sql.log, user_id=user_id)
    return writer, [await writer.write(await writer.started(f"r{n}"), LINES[0]) for n in range(count)]


@pytest.mark.rule("D3")
async def test_rows_go_with_the_end_of_the_run_that_needed_them_first(sql: SqlShelf) -> None:
    writer, runs = await several(sql, 3)
    runs[1] = await writer.write(runs[1], LINES[1])
    assert rows(sql) == [1, 2, 3, 4]
    await writer.end(runs[1], Stop())
    assert rows(sql) == [1, 2, 3, 4], "the first run needs them"
    await writer.end(runs[0], None, DONE)
    assert rows(sql) == [3, 4]
    await writer.end(runs[2])
    assert rows(sql) == []


@pytest.mark.rule("D3", "R4")
async def test_a_run_that_came_back_needs_no_older_rows(sql: SqlShelf) -> None:
    writer, (one, two) = await several(sql, 2)
    one = await writer.bring_back(await writer.interrupt(one))
    assert rows(sql) == [2]
    one = await writer.write(one, LINES[1])
    await writer.end(two)
    assert len(rows(sql)) == 1
    for _ in range(2):
        assert await sql.log.lines(one) == LINES[:2]
        writer.log = await sql.reopen()
    await writer.end(one)
    assert rows(sql) == []


@pytest.mark.rule("D3", "R9")
async def test_removed_messages_and_deleted_chats_need_no_rows(sql: SqlShelf) -> None:
    writer, _ = await several(sql, 2)
    other, _ = await several(sql, 1, OTHER)
    await writer.delete()
    assert rows(sql) == [3]
    await other.delete()
    assert rows(sql) == []


@pytest.mark.rule("D3", "R8")
async def test_what_the_last_process_left_goes_with_the_first_transaction(sql: SqlShelf) -> None:
    writer, (one, two) = await several(sql, 2)
    with sql.database.write() as connection:  # as if the process had died before they were deleted
        kept = connection.execute(text("SELECT id, body FROM journal")).all()
    await writer.end(one)
    with sql.database.write() as connection:
        for id, body in kept:
            connection.execute(text("INSERT OR REPLACE INTO journal VALUES (:id, :body)"), {"id": id, "body": body})
    writer.log = await sql.reopen()
    assert rows(sql) == [1, 2]
    assert await sql.log.lines(two) == LINES[:1]
    await writer.commit(writer.headed(None))
    assert rows(sql) == [2]


# --- the bound ---------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """The journal is too long with so many rows."""
    monkeypatch.setattr(committed, "MOST_ROWS", 20)
    return 20


@pytest.mark.rule("D3", "R8", "V2", "V3")
@pytest.mark.parametrize("restarts", [False, True])
async def test_one_long_run_does_not_hold_back_all_rows(sql: SqlShelf, short: int, restarts: bool) -> None:
    writer = await new_writer(sql.log)
    long = await writer.started("long")
    beside = await writer.write(await writer.started("beside"), LINES[0])
    lines = [text_line(f"{n} ") for n in range(3 * short)]
    most = 0
    for n, line in enumerate(lines):
        long = await writer.write(long, line)
        if n % 7 == 0:
            brief = await writer.write(await writer.started(f"brief{n}"), LINES[0])
            await writer.end(brief)
        if restarts and n % 11 == 0:
            writer.log = await sql.reopen()
        most = max(most, len(rows(sql)))
    assert most <= short + 2
    assert examine(sql.database).findings == []
    assert await sql.log.lines(long) == tuple(lines)
    assert await sql.log.lines(beside) == LINES[:1]
    for reopens in (False, True):
        if reopens:
            writer.log = await sql.reopen()
        events = await payloads(sql.log, writer.chat.id)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert "".join(e.get("content", "") for e in events if e.get("run_id") == "long").split() == [
            str(n) for n in range(len(lines))
        ]
    await writer.end(long, None, DONE)
    await writer.end(beside)
    assert rows(sql) == []
    assert examine(sql.database).findings == []


@pytest.mark.rule("V2")
async def test_no_number_is_given_twice_where_only_a_row_of_its_own_holds_the_newest_lines(
    sql: SqlShelf, short: int
) -> None:
    """The chat's own row counts no lines, and of those that were written as a row the journal forgets the rest."""
    writer = await new_writer(sql.log)
    run = await writer.started()
    while sql.count("lines") == 0:
        run = await writer.write(run, text_line("x "))
    head = (await sql.log.heads([writer.chat.id]))[writer.chat.id]
    assert rows(sql) == []
    writer.log = await sql.reopen()
    assert await sql.log.heads([writer.chat.id]) == {writer.chat.id: head}
    assert [entry.seq for entry in await writer.commit(added(run, DONE))] == [head + 1]


@pytest.mark.rule("D3")
async def test_the_memory_of_a_writer_does_not_grow_with_the_journal(sql: SqlShelf) -> None:
    writers = [await new_writer(sql.log) for _ in range(3)]
    runs = [await writer.started(f"r{n}") for n, writer in enumerate(writers)]
    for n in range(30):
        await asyncio.gather(*(w.commit(added(run, LINES[0], at=n)) for w, run in zip(writers, runs, strict=True)))
    known = sql.writer.committed
    assert [tail.journal_id for tail in known.tails.values()] == [1, 1, 1]
    for writer, run in zip(writers, runs, strict=True):
        await writer.end(replace(run, expected=30))
    assert (known.tails, rows(sql)) == ({}, [])
    assert await sql.log.left_at_home() == ()
    assert await sql.log.run(OWNER, "r0") is not None
