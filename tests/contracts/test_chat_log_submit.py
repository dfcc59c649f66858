"""The contract of `ChatLog`, held by every implementation: when and how a writer is told what is stored."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from keyside.core.changes import Entry
from keyside.core.frames import EndMark
from keyside.core.inputs import Disconnect, Expire, Offer, Resume, Start, Stop
from keyside.core.run import State
from keyside.services.ports import ChatLog, Conflict
from tests.contracts.logs import ASSIGNMENT, LATE, LINES, OTHER, OWNER, Writer, added, new_writer, payloads, stepped
from tests.core.lines import text_line


class Told:
    """What `stored` was called with, in order."""

    def __init__(self, count: int) -> None:
        self.found: list[Any] = []
        self._left = count
        self._all = asyncio.get_running_loop().create_future()

    def __call__(self, result: tuple[Entry, ...] | Exception) -> None:
        self.found.append(result)
        self._left -= 1
        if not self._left:
            self._all.set_result(None)

    async def all(self) -> list[Any]:
        await self._all
        return self.found


@pytest.mark.rule("D1", "V2")
async def test_each_is_told_its_entries_in_the_order_of_the_commits(chat_log: ChatLog) -> None:
    writers = [await new_writer(chat_log) for _ in range(3)]
    runs = [await writer.started(f"r{n}") for n, writer in enumerate(writers)]
    told = Told(9)
    for n, line in enumerate(LINES[:3]):
        for writer, run in zip(writers, runs, strict=True):
            chat_log.submit([writer.changes(added(run, line, at=n))], told)
    found = await told.all()
    assert [(entry.chat_id, entry.seq) for (entry,) in found] == [(w.chat.id, 6 + n) for n in range(3) for w in writers]


@pytest.mark.rule("D1")
async def test_when_a_writer_is_told_readers_have_it_and_heads_too(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.started()
    seen: list[Any] = []

    def stored(_: Any) -> None:
        seen.append(chat_log.heads([writer.chat.id]))
        seen.append(chat_log.lines(run))

    chat_log.submit([writer.changes(added(run, *LINES))], stored)
    await writer.commit(added(run, *LINES[:1], at=5))
    heads, lines = [await one for one in seen]
    assert heads[writer.chat.id] in (6, 7)
    assert lines[:5] == LINES


@pytest.mark.rule("D1", "R1")
async def test_who_is_refused_is_told_why_and_the_others_are_stored(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.started()
    told = Told(3)
    for index in (0, 7, 5):
        chat_log.submit([writer.changes(added(run, *LINES, at=index))], told)
    first, refused, last = await told.all()
    assert isinstance(refused, Conflict)
    assert [entry.seq for entry in (*first, *last)] == [6, 7]
    assert await chat_log.lines(run) == LINES + LINES


@pytest.mark.rule("D1")
async def test_several_chats_may_change_in_one_transaction(chat_log: ChatLog) -> None:
    one, two = await new_writer(chat_log), await new_writer(chat_log)
    entries = await chat_log.commit(
        one.changes(one.headed(None, title="1"), at=1),
        two.changes(two.headed(None, title="2"), at=2),
        one.changes(one.headed(None, title="3"), at=3),
    )
    assert [(e.chat_id, e.seq) for e in entries] == [(one.chat.id, 1), (two.chat.id, 1), (one.chat.id, 2)]
    with pytest.raises(Conflict):
        await chat_log.commit(one.changes(one.headed(None, title="4")), two.changes(two.run("r", "a", version=1)))
    assert [event["chat"]["title"] for event in await payloads(chat_log, one.chat.id)] == ["3", "3"]
    assert await chat_log.commit() == ()


# --- versions ----------------------------------------------------------------------------------------


@pytest.mark.rule("R1")
@pytest.mark.parametrize("off", [-1, 1])
async def test_lines_of_a_run_as_it_is_not_are_refused(chat_log: ChatLog, writer: Writer, off: int) -> None:
    """Its owner does not know what happened to it meanwhile."""
    run = await writer.write(await writer.started(), LINES[0])
    stale = replace(run, version=run.version + off)
    for changes in ([added(stale, LINES[1])], [writer.headed(None), added(stale, LINES[1])]):
        with pytest.raises(Conflict):
            await writer.commit(*changes)
    assert await chat_log.lines(run) == LINES[:1]
    await writer.write(run, LINES[1])


@pytest.mark.rule("R1")
async def test_lines_that_come_with_a_change_of_their_run_may_name_it_before_or_after(
    chat_log: ChatLog, writer: Writer
) -> None:
    offered = await writer.offered()
    started = stepped(offered, Start(1))
    await writer.commit(started, added(started, LINES[0]))
    stopped = stepped(replace(started, expected=3), Stop())
    with pytest.raises(Conflict):
        await writer.commit(stopped, added(stopped, LINES[1], at=1))
    await writer.commit(added(started, LINES[1], at=1), added(stopped, LINES[2], at=2), stopped)
    assert await chat_log.lines(started) == LINES[:3]
    assert await chat_log.run(OWNER, "r1") == stopped


@pytest.mark.rule("R1")
async def test_lines_of_a_run_that_does_not_run_are_refused(chat_log: ChatLog, writer: Writer) -> None:
    queued, offered = await writer.ask("queued"), await writer.offered("offered")
    ended = await writer.end(await writer.write(await writer.started("ended"), LINES[0]))
    interrupted = await writer.interrupt(await writer.write(await writer.started("interrupted"), LINES[0]))
    unknown = writer.run("unknown", "a")
    head = await chat_log.heads([writer.chat.id])
    for run in (queued, offered, ended, interrupted, unknown):
        with pytest.raises(Conflict):
            await writer.commit(added(run, LINES[1]))
    assert await chat_log.heads([writer.chat.id]) == head
    back = await writer.bring_back(interrupted)
    await writer.write(back, LINES[1])
    assert await chat_log.lines(back) == LINES[:2]


@pytest.mark.rule("R1", "R4")
async def test_a_run_may_change_several_times_in_one_transaction(chat_log: ChatLog, writer: Writer) -> None:
    queued = await writer.ask()
    offered = stepped(queued, Offer(ASSIGNMENT, "c"))
    started = stepped(offered, Start(1))
    await writer.commit(offered, started)
    assert await chat_log.run(OWNER, "r1") == started
    run = await writer.write(started, LINES[0])
    interrupted = await writer.interrupt(run)
    back = stepped(interrupted, Resume(1))
    await writer.commit(back, added(back, LINES[1]), stepped(back, Stop()))
    found = await chat_log.run(OWNER, "r1")
    assert found is not None
    assert (found.state, await chat_log.lines(found)) == (State.ABORTED, LINES[:2])


@pytest.mark.rule("E7", "R4")
async def test_a_run_that_comes_back_with_lines_knows_the_end_that_the_older_ones_hold(
    chat_log: ChatLog, writer: Writer
) -> None:
    stopped = text_line("", finish_reason="length")
    run = await writer.write(await writer.started(), LINES[0], stopped, "noise")
    queued, interrupted = await writer.offered("r2"), stepped(await writer.apply(run, Disconnect(1)), Expire(), LATE)
    assert interrupted.state is State.DONE, "its mark ends it"
    lost = replace(interrupted, state=State.INTERRUPTED, closed_by=None)
    await writer.commit(lost)
    back = stepped(lost, Resume(1))
    await writer.commit(added(lost, LINES[1]), back)
    started = stepped(queued, Start(1))
    await writer.commit(added(queued, LINES[0]), started)
    found = await chat_log.run(OWNER, "r1")
    assert found is not None
    assert (found.expected, found.end_mark) == (4, EndMark("length"))
    assert await chat_log.lines(back) == (LINES[0], stopped, "noise", LINES[1])
    assert await chat_log.lines(started) == LINES[:1]


# --- the end of a chat -------------------------------------------------------------------------------


@pytest.mark.rule("R9")
async def test_a_chat_goes_with_the_transaction_that_says_so(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.write(await writer.started(), *LINES)
    stopped = stepped(run, Stop())
    with pytest.raises(Conflict):
        await writer.delete(replace(stopped, version=9))
    assert await chat_log.chat(OWNER, writer.chat.id) is not None
    with pytest.raises(Conflict):
        await Writer(chat_log, writer.chat, OTHER).delete()
    entries = await writer.delete(stopped, writer.headed(None))
    assert [entry.seq for entry in entries] == [7, 8]
    assert entries[0].change == stopped
    assert await chat_log.chat(OWNER, writer.chat.id) is None
    assert await chat_log.run(OWNER, run.id) is None
    assert await chat_log.run_on("c-r1") is None
    assert await chat_log.runs_of(ASSIGNMENT.key) == await chat_log.left_at_home() == ()


@pytest.mark.rule("R9")
async def test_what_comes_for_a_chat_in_the_moment_when_it_goes_is_refused(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.started()
    told = Told(3)
    chat_log.submit([writer.changes(added(run, LINES[0]))], told)
    chat_log.submit([writer.changes(deletes_chat=True)], told)
    chat_log.submit([writer.changes(added(run, LINES[1], at=1))], told)
    first, gone, late = await told.all()
    assert (len(first), gone, type(late)) == (1, (), Conflict)
    with pytest.raises(Conflict):
        await chat_log.commit(writer.changes(deletes_chat=True))
    assert await chat_log.heads([writer.chat.id]) == {}
