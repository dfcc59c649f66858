"""The contract of `ChatLog`, which every implementation must fulfil: commits."""

import asyncio
from dataclasses import replace

import pytest

from keyside.core.changes import Change, Removed
from keyside.core.inputs import Offer, Start, Stop
from keyside.core.limits import ID_SECONDS
from keyside.core.run import State
from keyside.core.transcript import transcribe
from keyside.protocol.base import iso
from keyside.protocol.errors import failure
from keyside.services.ports import ChatLog, Conflict, RemovedRun
from tests.contracts.logs import (
    ASSIGNMENT,
    LINES,
    OTHER,
    OWNER,
    Writer,
    added,
    grown,
    new_writer,
    payloads,
    stepped,
)
from tests.core.lines import DONE, text_line

# --- numbering -------------------------------------------------------------------------------------


@pytest.mark.rule("V2")
async def test_events_are_numbered_from_1_without_gaps_whatever_they_are(chat_log: ChatLog, writer: Writer) -> None:
    assert await chat_log.heads([writer.chat.id]) == {writer.chat.id: 0}
    run = writer.run("r", "a")
    first = await writer.commit(writer.message("u", content="hi"), writer.message("a", "u"), run, writer.headed("a"))
    offered = stepped(run, Offer(ASSIGNMENT, "c"))
    started = stepped(offered, Start(1))
    second = await writer.commit(offered, started)
    third = await writer.commit(added(started, *LINES[:2]))
    fourth = await writer.commit(Removed(("a",)), writer.headed("u"))
    entries = [*first, *second, *third, *fourth]
    assert [entry.seq for entry in entries] == list(range(1, 10))
    assert {entry.chat_id for entry in entries} == {writer.chat.id}
    assert await chat_log.heads([writer.chat.id]) == {writer.chat.id: 9}


@pytest.mark.rule("V2")
async def test_each_chat_has_numbers_of_its_own(chat_log: ChatLog) -> None:
    one, two = await new_writer(chat_log), await new_writer(chat_log)
    assert [e.seq for e in await one.commit(one.message("u1", content="x"))] == [1]
    assert [e.seq for e in await two.commit(two.message("u2", content="x"), two.headed("u2"))] == [1, 2]
    assert [e.seq for e in await one.commit(one.headed("u1"))] == [2]
    assert await chat_log.heads([one.chat.id, two.chat.id, 999]) == {one.chat.id: 2, two.chat.id: 2}
    assert await chat_log.heads([]) == {}


# --- all or nothing --------------------------------------------------------------------------------


@pytest.mark.rule("D1", "R1")
@pytest.mark.parametrize("wrong", ["stale version", "future version", "lines known", "gap", "run id", "message id"])
async def test_a_conflict_leaves_nothing_of_its_transaction(chat_log: ChatLog, writer: Writer, wrong: str) -> None:
    elsewhere = await new_writer(chat_log)
    await elsewhere.commit(elsewhere.message("taken", content="x"))
    run = await writer.write(await writer.started(), *LINES[:2])
    before = await payloads(chat_log, writer.chat.id)
    ended = stepped(run, Stop())
    conflicts: dict[str, Change] = {
        "stale version": replace(run, request=replace(run.request, model="other")),
        "future version": replace(ended, version=ended.version + 1),
        "lines known": added(run, *LINES[1:3], at=1),
        "gap": added(run, *LINES[3:4], at=3),
        "run id": writer.run("r1", "a-r1"),
        "message id": writer.message("taken", content="y"),
    }
    fine: list[Change] = [writer.message("new", content="x"), added(run, *LINES[2:3]), writer.run("r2", "new")]
    for changes in ([*fine, conflicts[wrong]], [conflicts[wrong], *fine], [conflicts[wrong]]):
        if wrong == "gap" and changes[0] is not conflicts[wrong]:
            continue  # after these lines it would be none
        with pytest.raises(Conflict):
            await writer.commit(*changes)
    assert await payloads(chat_log, writer.chat.id) == before
    assert await chat_log.message(OWNER, "new") is None
    assert await chat_log.run(OWNER, "r2") is None
    assert await chat_log.run(OWNER, "r1") == run
    assert await chat_log.lines(run) == LINES[:2]
    taken = await chat_log.message(OWNER, "taken")
    assert taken is not None
    assert taken.chat_id == elsewhere.chat.id
    # And the log goes on as if nothing had been tried.
    assert [entry.seq for entry in await writer.commit(*fine)] == [len(before) + n for n in (1, 2, 3)]


@pytest.mark.rule("R1")
async def test_of_two_that_change_a_run_at_once_one_is_refused(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.ask()
    offers = [stepped(run, Offer(ASSIGNMENT, channel)) for channel in ("c1", "c2")]
    found = await asyncio.gather(*(writer.commit(offer) for offer in offers), return_exceptions=True)
    assert sorted(type(result).__name__ for result in found) == ["Conflict", "tuple"]
    stored = await chat_log.run(OWNER, "r1")
    assert stored is not None
    assert (stored.state, stored.version) == (State.OFFERED, 1)


@pytest.mark.rule("E5")
async def test_several_frames_of_one_run_may_be_one_transaction(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.started()
    two = [added(run, *LINES[:2]), added(run, *LINES[2:4], at=2)]
    await writer.commit(*two)
    assert await chat_log.lines(run) == LINES[:4]
    with pytest.raises(Conflict):
        await writer.commit(added(run, *LINES[:1], at=4), added(run, *LINES[:1], at=4))
    assert await chat_log.lines(run) == LINES[:4]


@pytest.mark.rule("D1")
async def test_a_chat_that_is_gone_takes_no_change(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.started()
    await writer.delete()
    changes: list[Change] = [added(run, *LINES[:1]), writer.message("m", content="x"), writer.headed(None)]
    for change in changes:
        with pytest.raises(Conflict):
            await writer.commit(change)
    with pytest.raises(Conflict):
        await Writer(chat_log, writer.chat.model_copy(update={"id": 12345})).commit(writer.message("m", content="x"))


@pytest.mark.rule("D3")
async def test_a_change_that_fails_in_a_group_refuses_only_itself(chat_log: ChatLog) -> None:
    writers = [await new_writer(chat_log) for _ in range(6)]
    runs = [await writer.started(f"r{n}") for n, writer in enumerate(writers)]
    first_lines = [2 if n == 3 else 0 for n in range(6)]
    found = await asyncio.gather(
        *(w.commit(added(run, *LINES[:2], at=at)) for w, run, at in zip(writers, runs, first_lines, strict=True)),
        return_exceptions=True,
    )
    assert [isinstance(result, Conflict) for result in found] == [n == 3 for n in range(6)]
    stored = [await chat_log.lines(run) for run in runs]
    assert stored == [() if n == 3 else LINES[:2] for n in range(6)]
    heads = await chat_log.heads([w.chat.id for w in writers])
    assert list(heads.values()) == [5 if n == 3 else 6 for n in range(6)]


@pytest.mark.rule("D2", "D3")
async def test_of_many_runs_that_write_at_once_nothing_is_lost(chat_log: ChatLog) -> None:
    writers = [await new_writer(chat_log) for _ in range(4)]
    runs = [(w, await w.started(f"r{n}-{k}")) for n, w in enumerate(writers) for k in range(4)]

    async def stream(writer: Writer, run_id: str) -> None:
        run = next(run for _, run in runs if run.id == run_id)
        for n in range(12):
            run = await writer.write(run, text_line(f"{run_id}:{n} "))
        await writer.end(run, None, DONE)

    await asyncio.gather(*(stream(writer, run.id) for writer, run in runs))
    for _, run in runs:
        text = "".join(f"{run.id}:{n} " for n in range(12))
        message = await chat_log.message(OWNER, run.message_id)
        assert message is not None
        assert message.content == text
        lines = await chat_log.lines(run)
        assert transcribe(lines).content == text
        assert len(lines) == 13
    for writer in writers:
        events = await payloads(chat_log, writer.chat.id)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert len(events) == 4 * (3 + 2 + 12 + 3)


# --- deleting --------------------------------------------------------------------------------------


@pytest.mark.rule("R9")
async def test_a_deleted_chat_is_gone_with_all_that_belongs_to_it(chat_log: ChatLog, writer: Writer) -> None:
    kept = await new_writer(chat_log)
    kept_run = await kept.end(await kept.write(await kept.started("kept"), *LINES))
    ended = await writer.end(await writer.write(await writer.started("r1"), *LINES))
    running = await writer.write(await writer.started("r2"), *LINES)
    id = writer.chat.id
    await writer.delete()
    assert await chat_log.chat(OWNER, id) is None
    assert await chat_log.read(id, after=0) is None
    assert await chat_log.view(id, limit=10) is None
    assert (await chat_log.messages(OWNER, id)).messages == ()
    assert await chat_log.heads([id]) == {}
    for run in (ended, running):
        assert await chat_log.run(OWNER, run.id) is None
        assert await chat_log.message(OWNER, run.message_id) is None
        assert await chat_log.lines(run) == ()
    assert await chat_log.left_at_home() == ()
    assert await chat_log.lines(kept_run) == LINES
    assert [chat.id for chat in (await chat_log.chats(OWNER, limit=9)).chats] == [kept.chat.id]
    with pytest.raises(Conflict):
        await writer.delete()


@pytest.mark.rule("R9")
async def test_the_id_of_a_deleted_chat_is_never_used_again(chat_log: ChatLog, writer: Writer) -> None:
    await writer.delete()
    assert (await chat_log.new_chat(OWNER, "", 0)).id > writer.chat.id


@pytest.mark.rule("R9")
async def test_removed_messages_are_gone_with_their_runs_and_lines(chat_log: ChatLog, writer: Writer) -> None:
    await writer.commit(writer.message("u", content="hi"))
    old = await writer.end(await writer.write(await writer.started("old", message_id="a1", parent_id="u"), *LINES))
    run = await writer.write(await writer.started("new", message_id="a2", parent_id="u"), *LINES)
    aborted = stepped(run, Stop())
    entries = await writer.commit(aborted, Removed(("a1", "a2")), writer.headed("u"))
    assert [message.id for message in (await chat_log.messages(OWNER, writer.chat.id)).messages] == ["u"]
    for gone in (old, run):
        assert await chat_log.run(OWNER, gone.id) is None
        assert await chat_log.lines(gone) == ()
    assert await chat_log.left_at_home() == ()
    view = await chat_log.view(writer.chat.id, limit=9)
    assert view is not None
    assert ([message.id for message in view.messages], view.runs, view.seq) == (["u"], (), entries[-1].seq)


@pytest.mark.rule("R6", "R9")
@pytest.mark.parametrize("chat_too", [False, True])
async def test_the_id_of_a_removed_run_stays_taken_for_a_week(
    chat_log: ChatLog, writer: Writer, chat_too: bool
) -> None:
    await writer.commit(writer.message("u", content="hi"))
    run = await writer.started("gone", message_id="a", parent_id="u")
    assert await chat_log.removed_run(OWNER, "gone") is None
    aborted = stepped(run, Stop())
    if chat_too:
        await writer.delete(aborted)
    else:
        await writer.commit(aborted, Removed(("a",)), writer.headed("u"))
    assert await chat_log.removed_run(OWNER, "gone") == RemovedRun(run.created_at, unanswered=False)
    assert await chat_log.removed_run(OTHER, "gone") is None
    other = await new_writer(chat_log)
    for id, still_taken in (("next", True), ("last", False)):
        at = run.created_at + ID_SECONDS - still_taken
        asked = other.run(id, f"a-{id}", created_at=at)
        await other.commit(other.message(asked.message_id), asked, at=at)
        await other.commit(stepped(asked, Stop()), Removed((asked.message_id,)), at=at)
        assert await chat_log.removed_run(OWNER, id) == RemovedRun(at, unanswered=True)
        assert (await chat_log.removed_run(OWNER, "gone") is not None) is still_taken


@pytest.mark.rule("R6")
async def test_ids_are_counted_behind_a_prefix_though_some_of_the_runs_are_removed(chat_log: ChatLog) -> None:
    mine, theirs = await new_writer(chat_log), await new_writer(chat_log, user_id=OTHER)
    assert await chat_log.last_number(OWNER, "k-") is None
    for id in ("k-0", "k-9", "k-10", "k-x", "k-", "k-1-99", "j-77", "l-88"):
        await mine.ask(id)
    await theirs.ask("k-500")
    assert await chat_log.last_number(OWNER, "k-") == 10
    await mine.commit(Removed(("a-k-10", "a-k-0")))
    assert await chat_log.last_number(OWNER, "k-") == 10
    await mine.delete()
    assert await chat_log.last_number(OWNER, "k-") == 10
    assert await chat_log.last_number(OTHER, "k-") == 500


@pytest.mark.rule("R6")
async def test_of_a_removed_run_it_is_known_whether_anybody_got_something_of_it(chat_log: ChatLog) -> None:
    writer = await new_writer(chat_log)
    unfollowed = await writer.started("unfollowed")
    runs = {
        "waiting": (await writer.ask("waiting"), True),
        "offered": (await writer.offered("offered"), True),
        "running": (await writer.started("running"), False),
        "done": (await writer.end(await writer.started("done")), False),
        "unfollowed": (await writer.apply(unfollowed, Stop(failure("caller_gone"))), True),
    }
    for id, (run, unanswered) in runs.items():
        assert run.unanswered is unanswered
        await writer.commit(Removed((run.message_id,)))
        assert await chat_log.removed_run(OWNER, id) == RemovedRun(run.created_at, unanswered)


@pytest.mark.rule("R6", "R9")
async def test_the_id_of_a_run_that_is_removed_after_a_week_is_free(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.started("old", message_id="a")
    await writer.commit(stepped(run, Stop()), Removed(("a",)), at=run.created_at + ID_SECONDS)
    assert await chat_log.removed_run(OWNER, "old") is None


@pytest.mark.rule("V3", "R9")
@pytest.mark.parametrize("running", [True, False])
async def test_a_removal_raises_the_floor_to_where_the_removed_lines_were(
    chat_log: ChatLog, writer: Writer, running: bool
) -> None:
    await writer.commit(writer.message("u", content="hi"))
    old = await writer.write(await writer.started("old", message_id="a1", parent_id="u"), *LINES)
    floor = (await chat_log.heads([writer.chat.id]))[writer.chat.id]
    if not running:
        await writer.end(old)
    going_on = await writer.write(await writer.started("new", message_id="a2", parent_id="u"), *LINES[:2])
    changes: list[Change] = [stepped(old, Stop())] if running else []
    head = (await writer.commit(*changes, Removed(("a1",)), writer.headed("a2")))[-1].seq
    await writer.write(going_on, *LINES[2:])
    for after in range(floor):
        assert await chat_log.read(writer.chat.id, after=after) is None
    for after in range(floor, head + 2):
        entries = await chat_log.read(writer.chat.id, after=after)
        assert entries is not None
        assert [entry.seq for entry in entries] == list(range(after + 1, head + 2))


@pytest.mark.rule("R6")
async def test_what_one_user_removes_under_an_id_stays_with_another_who_has_the_same_id(chat_log: ChatLog) -> None:
    mine = await new_writer(chat_log)
    theirs = await new_writer(chat_log, user_id=OTHER)
    run = await mine.end(await mine.write(await mine.started("r", message_id="a"), *LINES[:2]))
    other = await theirs.write(await theirs.started("r", message_id="a"), *LINES[2:4])
    assert await chat_log.lines(run) == LINES[:2]
    assert await chat_log.lines(other) == LINES[2:4]
    await mine.commit(Removed(("a",)))
    assert await chat_log.run(OWNER, "r") is None
    assert await chat_log.run(OTHER, "r") is not None
    assert await chat_log.lines(other) == LINES[2:4]


@pytest.mark.rule("C2", "R6")
async def test_another_user_sees_nothing_and_deletes_nothing(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.end(await writer.write(await writer.started(), *LINES))
    id = writer.chat.id
    with pytest.raises(Conflict):
        await Writer(chat_log, writer.chat, OTHER).delete()
    assert await chat_log.chat(OTHER, id) is None
    assert (await chat_log.chats(OTHER, limit=9)).chats == ()
    assert (await chat_log.messages(OTHER, id)).messages == ()
    assert await chat_log.message(OTHER, run.message_id) is None
    assert await chat_log.run(OTHER, run.id) is None
    assert await chat_log.lines(replace(run, user_id=OTHER)) == ()
    assert (await chat_log.chat(OWNER, id)) is not None
    assert [message.id for message in (await chat_log.messages(OWNER, id)).messages] == [run.message_id]
    assert await chat_log.lines(run) == LINES
    assert len(await payloads(chat_log, id)) == 8


# --- runs and messages -----------------------------------------------------------------------------


async def test_a_run_and_its_message_come_back_as_they_were_stored(chat_log: ChatLog, writer: Writer) -> None:
    prefix = writer.message("a", content="Once", reasoning="r", images=["/i"], error=None)
    run = replace(writer.run("r", "a", prefix=prefix), tried=frozenset({"x@y"}))
    await writer.commit(prefix, run)
    assert await chat_log.run(OWNER, "r") == run
    assert await chat_log.message(OWNER, "a") == prefix
    changed = prefix.model_copy(update={"content": "Twice", "updated_at": iso(9)})
    await writer.commit(changed)
    assert await chat_log.message(OWNER, "a") == changed
    assert (await chat_log.messages(OWNER, writer.chat.id)).messages == (changed,)


async def test_lines_are_kept_in_order_through_many_frames(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.started()
    lines = [text_line(str(n)) for n in range(300)]
    for n in range(0, 300, 2):
        run = await writer.write(run, *lines[n : n + 2])
        if n in (0, 100, 126, 128, 130, 298):
            assert await chat_log.lines(run) == tuple(lines[: n + 2])
    assert await chat_log.lines(await writer.end(run, None, DONE)) == (*lines, DONE)


async def test_a_run_that_ends_without_lines_has_none(chat_log: ChatLog, writer: Writer) -> None:
    stopped = await writer.end(await writer.ask(), Stop())
    assert await chat_log.lines(stopped) == ()
    assert grown(stopped, ()) == stopped
