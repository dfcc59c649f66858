"""How the log in SQL reads: by an index, and no more than it needs."""

from typing import Any

from sqlalchemy import event

from keyside.core.changes import Removed
from keyside.core.inputs import Follow, Stop
from keyside.core.run import RunRequest
from tests.contracts.logs import ASSIGNMENT, LINES, OWNER, SqlShelf, Writer, added, new_writer, stepped

GROWING = ("run", "message", "event", "lines", "chat", "removed_run")


class Plans:
    """Collects statements, and has SQLite say how it would run them."""

    def __init__(self, sql: SqlShelf) -> None:
        self._sql = sql
        self._seen: dict[str, Any] = {}
        event.listen(sql.database.engine, "before_cursor_execute", self._note)

    def _note(self, _c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.split()[0] in ("SELECT", "WITH", "UPDATE", "DELETE", "INSERT"):
            self._seen[statement] = parameters

    def scans(self) -> dict[str, list[str]]:
        """The statements that look through a whole table, and through an index of one."""
        event.remove(self._sql.database.engine, "before_cursor_execute", self._note)
        assert self._seen
        found: dict[str, list[str]] = {}
        with self._sql.database.write() as connection:
            for statement, parameters in self._seen.items():
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                wrong = [row[3] for row in plan if is_scan(row[3])]
                if wrong:
                    found[statement] = wrong
        return found


def is_scan(step: str) -> bool:
    """Whether a step of a plan goes through all rows of a table that grows."""
    words = step.split()
    return words[0] == "SCAN" and words[1] in GROWING


async def filled(sql: SqlShelf) -> Writer:
    """A chat with some of everything, and a database that knows how its columns are distributed."""
    await new_writer(sql.log, hidden=True)
    writer = await new_writer(sql.log)
    for n in range(20):
        await writer.end(await writer.write(await writer.started(f"done{n}"), *LINES))
    await writer.interrupt(await writer.started("interrupted"))
    await writer.ask("queued")
    called = writer.run("called", "a-queued", request=RunRequest(model="m", caller_grace=0))
    await writer.commit(called)
    await writer.apply(called, Follow("c"))
    await writer.write(await writer.started("streaming"), *LINES)
    return writer


async def test_no_read_looks_through_a_whole_table(sql: SqlShelf) -> None:
    writer = await filled(sql)
    await sql.reopen()
    log, id = sql.log, writer.chat.id
    plans = Plans(sql)
    run = await log.run(OWNER, "done0")
    assert run is not None
    await log.read(id, after=3)
    await log.view(id, limit=2)
    await log.changed_at(id)
    await log.chat(OWNER, id)
    await log.is_hidden(id)
    page = await log.chats(OWNER, limit=1)
    await log.chats(OWNER, limit=1, cursor=page.next_cursor or "5:5")
    await log.messages(OWNER, id)
    await log.changed_after(id, 3, [("message", "a-done0")])
    assert len((await log.branch(OWNER, id, "a-done0")).messages) == 1
    await log.links(OWNER, id)
    await log.message(OWNER, "a-done0")
    await log.run_on("c-done0")
    await log.removed_run(OWNER, "done0")
    await log.last_number(OWNER, "done")
    await log.runs_in(id)
    await log.runs_in(id, ["a-queued"])
    await log.runs_of(ASSIGNMENT.key)
    await log.queued(OWNER, after=1)
    await log.queued(None, after=1)
    await log.due(1e9)
    await log.next_deadline()
    await log.left_at_home()
    await log.lines(run)
    await log.hidden_before(5)
    await log.heads([id, 999])
    await log.floor(id)
    assert plans.scans() == {}


async def test_no_write_looks_through_a_whole_table(sql: SqlShelf) -> None:
    writer = await filled(sql)
    other = await new_writer(sql.log)
    plans = Plans(sql)
    run = await sql.log.run(OWNER, "streaming")
    assert run is not None
    await sql.log.shift_deadlines(1)
    await sql.log.probe(1)
    await other.commit(other.headed(None))
    await writer.commit(added(run, *LINES), stepped(run, Stop()), Removed(("a-done0", "a-streaming")))
    await writer.delete()
    assert plans.scans() == {}


def test_a_scan_is_known_when_it_is_seen() -> None:
    assert is_scan("SCAN run")
    assert is_scan("SCAN message USING INDEX message_chat")
    assert not is_scan("SEARCH run USING INDEX run_id (user_id=? AND id=?)")
    assert not is_scan("SCAN json_each VIRTUAL TABLE INDEX 1:")


class Steps:
    """Counts, by tens, the steps of SQLite's machine on connections that are made from now on."""

    def __init__(self, sql: SqlShelf) -> None:
        self._count = 0
        event.listen(sql.database.engine, "connect", self._watch)
        sql.database.engine.dispose()

    def _watch(self, connection: Any, _: object) -> None:
        connection.set_progress_handler(self._note, 10)

    def _note(self) -> None:
        self._count += 1

    def taken(self) -> int:
        """Since it was asked the last time."""
        count, self._count = self._count * 10, 0
        return count


async def test_of_a_long_chat_only_what_is_asked_for_is_looked_at(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    messages = [writer.message(f"m{n}", f"m{n - 1}" if n else None, content="x") for n in range(2000)]
    await writer.commit(*messages, writer.headed("m1999"))
    run = await writer.started("r", parent_id="m1999")
    id, log = writer.chat.id, sql.log
    steps = Steps(sql)
    view = await log.view(id, limit=3)
    assert view is not None
    assert [message.id for message in view.messages] == ["m1998", "m1999", "a-r"]
    assert steps.taken() < 2000
    entries = await log.read(id, after=2001)
    assert entries is not None
    assert len(entries) == 5
    assert steps.taken() < 2000
    assert await log.runs_in(id, ["a-r", "m3"]) == (run,)
    assert await log.message(OWNER, "m7") is not None
    assert await log.changed_at(id) == 2006
    assert steps.taken() < 2000
    assert len((await log.branch(OWNER, id, "m9")).messages) == 10
    assert steps.taken() < 4000
    assert len(await log.links(OWNER, id)) == 2001
    assert steps.taken() > 4000, "the steps are counted"
