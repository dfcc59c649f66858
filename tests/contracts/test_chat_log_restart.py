"""The contract of `ChatLog`, which every implementation must fulfil: restarts."""

import asyncio
from dataclasses import replace

import pytest

from keyside.core.frames import EndMark
from keyside.core.inputs import Disconnect, Resume, Stop
from keyside.core.run import Run, RunRequest, State
from keyside.services.ports import Conflict
from tests.contracts.logs import LINES, OWNER, TEXT, Shelf, Writer, added, new_writer, payloads, stepped
from tests.core.lines import DONE, text_line


async def again(shelf: Shelf, *writers: Writer) -> None:
    """The process ends, and the next one opens the log."""
    log = await shelf.reopen()
    for writer in writers:
        writer.log = log


@pytest.mark.rule("R8")
async def test_the_next_process_finds_every_run_that_the_last_one_had_in_hand(shelf: Shelf) -> None:
    writer = await new_writer(shelf.log)
    await writer.ask("queued")
    called = writer.run("called", "a-called", request=RunRequest(model="m", caller_grace=0), callers=frozenset({"c"}))
    await writer.commit(called)
    offered = await writer.offered("offered")
    streaming = await writer.write(await writer.started("streaming"), *LINES[:2])
    suspended = await writer.write(await writer.started("suspended"), text_line("x", finish_reason="stop"))
    suspended = await writer.apply(suspended, Disconnect(1))
    interrupted = await writer.interrupt(await writer.write(await writer.started("interrupted"), *LINES))
    await writer.end(await writer.write(await writer.started("done"), *LINES))
    await writer.end(await writer.started("aborted"), Stop())
    closed = await writer.interrupt(await writer.started("closed"))
    await writer.commit(stepped(closed, Stop()))
    await again(shelf, writer)
    found = await writer.log.left_at_home()
    assert found == (called, offered, streaming, suspended)
    assert (streaming.expected, streaming.end_mark) == (2, None)
    assert (suspended.expected, suspended.end_mark) == (1, EndMark(reason="stop"))
    waiting = await writer.log.runs_in(writer.chat.id, ["a-queued", "a-interrupted", "a-closed", "a-done"])
    assert [run.id for run in waiting] == ["queued", "interrupted"]
    assert waiting[1] == interrupted
    assert interrupted.expected == 5


@pytest.mark.rule("D1", "R8", "V3")
async def test_the_next_process_shows_the_same_chat_and_goes_on_with_it(shelf: Shelf) -> None:
    writer = await new_writer(shelf.log)
    run = await writer.started()
    for line in LINES[:3]:
        run = await writer.write(run, line)
    id = writer.chat.id
    before = (await payloads(writer.log, id), await writer.log.view(id, limit=9), await writer.log.heads([id]))
    await again(shelf, writer)
    assert (await payloads(writer.log, id), await writer.log.view(id, limit=9), await writer.log.heads([id])) == before
    assert await writer.log.lines(run) == LINES[:3]
    head = before[2][id]
    for wrong in (2, 4):
        with pytest.raises(Conflict):
            await writer.commit(added(run, *LINES[3:4], at=wrong))
    assert [entry.seq for entry in await writer.commit(added(run, *LINES[3:]))] == [head + 1]
    run = replace(run, expected=5)
    await again(shelf, writer)
    await writer.end(run, None, DONE)
    await again(shelf, writer)
    message = await writer.log.message(OWNER, run.message_id)
    assert message is not None
    assert (message.content, message.status) == (TEXT, "sent")
    assert await writer.log.lines(run) == (*LINES, DONE)
    events = await payloads(writer.log, id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert "".join(event.get("content", "") for event in events) == message.content


async def interrupted_together(shelf: Shelf) -> tuple[Writer, Run, Run]:
    """Two runs whose lines were stored together; one is interrupted, the other goes on."""
    writer = await new_writer(shelf.log)
    one, two = await writer.started("one"), await writer.started("two")
    await asyncio.gather(writer.commit(added(one, *LINES[:2])), writer.commit(added(two, *LINES[:3])))
    one = await writer.interrupt(replace(one, expected=2))
    return writer, one, replace(two, expected=3)


@pytest.mark.rule("R4")
@pytest.mark.parametrize("restarts", [0, 1, 2, 3])
async def test_an_interrupted_run_that_comes_back_late_goes_on_at_its_line(shelf: Shelf, restarts: int) -> None:
    writer, run, beside = await interrupted_together(shelf)
    if restarts >= 1:
        await again(shelf, writer)
    assert await writer.log.lines(run) == LINES[:2]
    run = await writer.bring_back(run)
    if restarts >= 2:
        await again(shelf, writer)
    assert await writer.log.lines(run) == LINES[:2]
    with pytest.raises(Conflict):
        await writer.commit(added(run, *LINES[:2], at=0))
    run = await writer.write(run, *LINES[2:4])
    if restarts >= 3:
        await again(shelf, writer)
    assert await writer.log.lines(run) == LINES[:4]
    view = await writer.log.view(writer.chat.id, limit=9)
    assert view is not None
    assert [found.expected for found in await writer.log.left_at_home()] == [4, 3]
    run = await writer.end(run, None, LINES[4], DONE)
    assert await writer.log.lines(run) == (*LINES, DONE)
    assert await writer.log.lines(beside) == LINES[:3]
    await again(shelf, writer)
    message = await writer.log.message(OWNER, run.message_id)
    assert message is not None
    assert message.content == TEXT
    assert await writer.log.lines(run) == (*LINES, DONE)
    events = await payloads(writer.log, writer.chat.id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    mine = [event.get("content", "") for event in events if event.get("run_id") == "one"]
    assert "".join(mine) == message.content


@pytest.mark.rule("R4")
async def test_a_run_may_be_interrupted_and_come_back_more_than_once(shelf: Shelf) -> None:
    writer, run, beside = await interrupted_together(shelf)
    for line in LINES[2:]:
        run = await writer.write(await writer.bring_back(run), line)
        beside = await writer.write(beside, line)
        await again(shelf, writer)
        run = await writer.interrupt(run)
        await again(shelf, writer)
    assert await writer.log.lines(run) == LINES
    assert await writer.log.lines(beside) == (*LINES[:3], *LINES[2:])
    final = await writer.log.run(OWNER, run.id)
    assert final is not None
    assert (final.state, final.expected) == (State.INTERRUPTED, 5)
    events = await payloads(writer.log, writer.chat.id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


@pytest.mark.rule("R4")
async def test_a_run_that_comes_back_at_the_same_time_as_it_is_closed_does_one_of_both(shelf: Shelf) -> None:
    writer, run, _ = await interrupted_together(shelf)
    back, closed = stepped(run, Resume(1)), stepped(run, Stop())
    found = await asyncio.gather(writer.commit(back), writer.commit(closed), return_exceptions=True)
    assert sorted(type(result).__name__ for result in found) == ["Conflict", "tuple"]
    assert await writer.log.lines(run) == LINES[:2]
