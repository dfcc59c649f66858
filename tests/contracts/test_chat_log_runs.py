"""The contract of `ChatLog`, held by every implementation: how runs are found, and what they wait for."""

from dataclasses import replace
from typing import Any

import pytest

from keyside.core.deadline import shifted
from keyside.core.frames import EndMark
from keyside.core.inputs import Decline, Disconnect, Follow, Offer, Resume, Start, Stop, Unfollow
from keyside.core.limits import Deadline
from keyside.core.run import Run, RunRequest, State
from keyside.protocol.errors import failure
from keyside.services.ports import ChatLog
from tests.contracts.logs import ASSIGNMENT, LINES, OTHER, OWNER, Writer, new_writer, stepped
from tests.core.lines import text_line


def ids(runs: Any) -> list[str]:
    return [run.id for run in runs]


async def until(writer: Writer, id: str, at: float, **more: Any) -> Run:
    """A queued run that waits so long."""
    run = writer.run(id, f"a-{id}", waits_until=at, deadline=Deadline(at, "no_executor"), **more)
    await writer.commit(run)
    return run


# --- one run -----------------------------------------------------------------------------------------


@pytest.mark.rule("R6")
async def test_a_run_is_found_with_its_lines_counted_and_the_end_that_they_hold(
    chat_log: ChatLog, writer: Writer
) -> None:
    assert await chat_log.run(OWNER, "r1") is None
    run = await writer.started()
    assert await chat_log.run(OWNER, "r1") == run
    run = await writer.write(run, *LINES)
    run = await writer.write(run, text_line("", finish_reason="length"))
    found = await chat_log.run(OWNER, "r1")
    assert found == run
    assert (found.expected, found.end_mark) == (6, EndMark("length"))
    assert await chat_log.run_on("c-r1") == run
    assert await chat_log.runs_in(writer.chat.id) == (run,)
    assert await chat_log.runs_of(ASSIGNMENT.key) == (run,)
    assert await chat_log.left_at_home() == (run,)
    ended = await writer.end(run)
    assert await chat_log.run(OWNER, "r1") == ended
    assert ended.expected == 6


@pytest.mark.rule("E5")
async def test_a_run_is_found_on_its_channel_from_its_first_offer_to_after_its_end(
    chat_log: ChatLog, writer: Writer
) -> None:
    await writer.ask("other")
    run = await writer.ask()
    assert await chat_log.run_on("c-r1") is None
    for input in (Offer(ASSIGNMENT, "c-r1"), Disconnect(1), Offer(ASSIGNMENT, "another"), Start(2)):
        run = await writer.apply(run, input)
        assert await chat_log.run_on("c-r1") == run
    assert await chat_log.run_on("another") is None
    assert await chat_log.run_on("c-r1.2") is None
    run = await writer.end(run)
    assert await chat_log.run_on("c-r1") == run


# --- several ----------------------------------------------------------------------------------------


@pytest.mark.rule("R4")
async def test_the_runs_of_a_chat_or_of_some_of_its_messages(chat_log: ChatLog, writer: Writer) -> None:
    elsewhere = await new_writer(chat_log)
    await elsewhere.ask("elsewhere")
    queued = await writer.ask("queued")
    await writer.end(await writer.started("done"))
    interrupted = await writer.interrupt(await writer.started("interrupted"))
    closed = await writer.interrupt(await writer.started("closed"))
    await writer.commit(stepped(closed, Stop()))
    id = writer.chat.id
    assert await chat_log.runs_in(id) == (queued, interrupted)
    assert await chat_log.runs_in(id, {"a-interrupted", "a-done", "a-closed", "a-elsewhere"}) == (interrupted,)
    assert await chat_log.runs_in(id, [f"x{n}" for n in range(40_000)]) == ()
    assert await chat_log.runs_in(id, []) == ()
    assert await chat_log.runs_in(999) == ()


@pytest.mark.rule("E1", "R4")
async def test_the_runs_of_an_executor_are_those_that_it_had_last_until_they_have_ended(
    chat_log: ChatLog, writer: Writer
) -> None:
    phone = replace(ASSIGNMENT, key="1/phone", executor_id="phone")
    await writer.ask("queued")
    declined = await writer.apply(await writer.offered("declined"), Decline(1, failure("no_executor")))
    offered = await writer.offered("offered")
    moved = await writer.apply(await writer.offered("moved"), Disconnect(1), Offer(phone, "c"))
    interrupted = await writer.interrupt(await writer.started("interrupted"))
    await writer.end(await writer.started("done"))
    theirs = await new_writer(chat_log, user_id=OTHER)
    other = await theirs.offered("theirs")
    assert await chat_log.runs_of(ASSIGNMENT.key) == (declined, offered, interrupted, other)
    assert await chat_log.runs_of("1/phone") == (moved,)
    await writer.apply(interrupted, Stop())
    assert ids(await chat_log.runs_of(ASSIGNMENT.key)) == ["declined", "offered", "theirs"]


@pytest.mark.rule("R3")
async def test_queued_runs_come_oldest_first_and_in_pages(chat_log: ChatLog, writer: Writer) -> None:
    theirs = await new_writer(chat_log, user_id=OTHER)
    runs = [await (theirs if n % 3 == 2 else writer).ask(f"r{n}") for n in range(9)]
    again = await writer.apply(runs[1], Offer(ASSIGNMENT, "c"), Disconnect(1))
    await writer.apply(runs[3], Offer(ASSIGNMENT, "c3"))
    await writer.end(runs[4], Stop())
    found = await chat_log.queued(OWNER)
    assert [run for _, run in found] == [runs[0], again, runs[6], runs[7]]
    assert sorted(position for position, _ in found) == [position for position, _ in found]
    assert ids(run for _, run in await chat_log.queued(None)) == ["r0", "r1", "r2", "r5", "r6", "r7", "r8"]
    assert ids(run for _, run in await chat_log.queued(OTHER)) == ["r2", "r5", "r8"]
    for user_id in (OWNER, None):
        pages: list[tuple[int, Run]] = []
        after = 0
        while page := await chat_log.queued(user_id, after=after, limit=2):
            assert len(page) <= 2
            pages += page
            after = page[-1][0]
        assert tuple(pages) == await chat_log.queued(user_id, limit=1000)


async def test_of_very_many_queued_runs_only_a_page_is_read(chat_log: ChatLog, writer: Writer) -> None:
    await writer.commit(*(writer.run(f"r{n}", "a") for n in range(300)))
    assert len(await chat_log.queued(None)) == len(await chat_log.queued(OWNER)) == len(await chat_log.due(1e9)) == 100


@pytest.mark.rule("R8", "R9")
async def test_a_queued_run_with_callers_is_left_with_the_process(chat_log: ChatLog, writer: Writer) -> None:
    run = writer.run("r", "a", request=RunRequest(model="m", caller_grace=5))
    await writer.commit(run)
    assert await chat_log.left_at_home() == ()
    run = await writer.apply(run, Follow("c"))
    assert await chat_log.left_at_home() == (run,)
    run = await writer.apply(run, Unfollow("c"))
    assert await chat_log.left_at_home() == ()
    run = await writer.apply(run, Offer(ASSIGNMENT, "c"))
    assert await chat_log.left_at_home() == (run,)
    await writer.apply(run, Stop())
    assert await chat_log.left_at_home() == ()


# --- deadlines ---------------------------------------------------------------------------------------


@pytest.mark.rule("R3", "R4")
async def test_what_has_waited_long_enough_is_due(chat_log: ChatLog, writer: Writer) -> None:
    assert await chat_log.next_deadline() is None
    assert await chat_log.due(1e9) == ()
    for id, at in (("late", 300.0), ("soon", 100.0), ("middle", 200.0), ("never", float("inf"))):
        await until(writer, id, at)
    await until(await new_writer(chat_log, user_id=OTHER), "theirs", 200.0)
    await writer.offered("offered")
    await writer.started("streaming")
    assert await chat_log.next_deadline() == 100.0
    assert ids(await chat_log.due(99.75)) == []
    assert ids(await chat_log.due(100.0)) == ["soon"]
    assert ids(await chat_log.due(1e9)) == ["soon", "middle", "theirs", "late"]
    assert ids(await chat_log.due(1e9, limit=2)) == ["soon", "middle"]
    soon = (await chat_log.due(100.0))[0]
    await writer.apply(soon, Offer(ASSIGNMENT, "c"))
    assert await chat_log.next_deadline() == 200.0


@pytest.mark.rule("R4")
async def test_an_interrupted_run_is_due_until_it_is_closed(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.interrupt(await writer.started())
    assert run.deadline is not None
    assert await chat_log.next_deadline() == run.deadline.at
    assert await chat_log.due(run.deadline.at) == (run,)
    back = await writer.bring_back(run)
    assert await chat_log.next_deadline() is None
    run = await writer.interrupt(back)
    await writer.apply(run, Stop())
    assert await chat_log.due(1e12) == ()


@pytest.mark.rule("D4", "R3", "R4")
async def test_the_limits_of_what_waits_move_and_of_what_is_at_home_do_not(chat_log: ChatLog, writer: Writer) -> None:
    queued = await until(writer, "queued", 100.0)
    never = await until(writer, "never", float("inf"))
    left = await until(writer, "left", 300.0, request=RunRequest(model="m", caller_grace=5))
    left = await writer.apply(left, Follow("c"), Unfollow("c"))
    bare = writer.run("bare", "a-bare", deadline=None)
    await writer.commit(bare)
    interrupted = await writer.interrupt(await writer.started("interrupted"))
    streaming = await writer.started("streaming")
    done = await writer.end(await writer.started("done"))
    await chat_log.shift_deadlines(64.5)
    for run in (queued, never, left, bare, interrupted):
        assert await chat_log.run(OWNER, run.id) == shifted(run, 64.5)
    for run in (streaming, done):
        assert await chat_log.run(OWNER, run.id) == run
    assert left.unfollowed_at == 20.0
    assert await chat_log.next_deadline() == 20.0 + 5 + 64.5
    assert ids(await chat_log.due(164.5)) == ["left", "queued"]
    # They are changed on from there as any other.
    back = await writer.apply(shifted(interrupted, 64.5), Resume(1))
    assert (back.state, back.started_at) == (State.STREAMING, 84.5)
