"""The contract of `ChatLog`, which every implementation must fulfil: restarts."""

import asyncio
from dataclasses import replace

import pytest
from keyside.core.attempt import Mark

from keyside.core.changes import Written
from keyside.core.inputs import Lose, Return, Stop
from keyside.core.run import Run, State, step
from keyside.services.ports import Conflict
from keyside.testing import DONE, text_line
from tests.contracts.logs import LINES, OWNER, TEXT, Shelf, Writer, new_writer, payloads


async def again(shelf: Shelf, *writers: Writer) -> None:
    """The process ends, and the next one opens the log."""
    log = await shelf.reopen()
    for writer in writers:
        writer.log = log


@pytest.mark.rule("R8")
async def test_the_next_process_finds_every_run_that_has_not_ended_for_good(shelf: Shelf) -> None:
    writer = await new_writer(shelf.log)
    queued = await writer.ask("queued")
    offered = await writer.offered("offered")
    streaming = await writer.write(await writer.started("streaming"), *LINES[:2])
    suspended = await writer.write(await writer.started("suspended"), text_line("x", finish_reason="stop"))
    suspended = await writer.feed(suspended, Lose())
    interrupted = await writer.interrupt(await writer.write(await writer.started("interrupted"), *LINES))
    await writer.end(await writer.write(await writer.started("done"), *LINES))
    await writer.end(await writer.started("aborted"), Stop())
    closed = await writer.interrupt(await writer.started("closed"))
    await writer.commit(step(closed, Stop(), 99)[0])
    await again(shelf, writer)
    found = await writer.log.unfinished()
    assert found == (queued, offered, streaming, suspended, interrupted)
    assert (streaming.expected, streaming.mark) == (2, None)
    assert (suspended.expected, suspended.mark) == (1, Mark(reason="stop"))
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
            await writer.commit(Written(run, wrong, LINES[3:4]))
    assert [entry.seq for entry in await writer.commit(Written(run, 3, LINES[3:]))] == [head + 1]
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
    await asyncio.gather(writer.commit(Written(one, 0, LINES[:2])), writer.commit(Written(two, 0, LINES[:3])))
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
        await writer.commit(Written(run, 0, LINES[:2]))
    run = await writer.write(run, *LINES[2:4])
    if restarts >= 3:
        await again(shelf, writer)
    assert await writer.log.lines(run) == LINES[:4]
    view = await writer.log.view(writer.chat.id, limit=9)
    assert view is not None
    assert [found.expected for found in await writer.log.unfinished()] == [4, 3]
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
    final = (await writer.log.unfinished())[0]
    assert (final.state, final.expected) == (State.INTERRUPTED, 5)
    events = await payloads(writer.log, writer.chat.id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


@pytest.mark.rule("R4")
async def test_a_run_that_comes_back_at_the_same_time_as_it_is_closed_does_one_of_both(shelf: Shelf) -> None:
    writer, run, _ = await interrupted_together(shelf)
    back, closed = step(run, Return(1), 50)[0], step(run, Stop(), 50)[0]
    found = await asyncio.gather(writer.commit(back), writer.commit(closed), return_exceptions=True)
    assert sorted(type(result).__name__ for result in found) == ["Conflict", "tuple"]
    assert await writer.log.lines(run) == LINES[:2]
