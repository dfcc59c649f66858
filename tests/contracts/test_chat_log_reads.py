"""The contract of `ChatLog`, which every implementation must fulfil: reads."""

import asyncio
from typing import Any

import pytest

from keyside.core.changes import LinesAdded, Removed
from keyside.core.changes import view as shown_run
from keyside.core.inputs import Disconnect, Finish, Offer, Resume, Start, Stop
from keyside.core.run import Run, State
from keyside.core.transcript import fold, transcribe
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat
from keyside.services.ports import ChatLog
from tests.contracts.logs import ASSIGNMENT, LINES, OTHER, OWNER, TEXT, Writer, added, new_writer, payloads, stepped
from tests.core.lines import DONE, text_line


def text_of(events: list[dict[str, Any]], run: Run) -> str:
    return "".join(event.get("content", "") for event in events if event.get("run_id") == run.id)


# --- events ----------------------------------------------------------------------------------------


@pytest.mark.rule("V2", "V3")
async def test_after_any_number_a_reader_gets_what_the_commits_returned(chat_log: ChatLog, writer: Writer) -> None:
    committed: list[dict[str, Any]] = []
    commit = writer.commit

    async def noting(*changes: Any, at: float | None = None) -> Any:
        entries = await commit(*changes, at=at)
        committed.extend(entry.payload for entry in entries)
        return entries

    writer.commit = noting  # type: ignore[method-assign]
    ended = await writer.end(await writer.write(await writer.started("r1"), *LINES[:2], ": noise"), None, DONE)
    running = await writer.started("r2", parent_id="a-r1")
    for line in LINES:
        running = await writer.write(running, line)
    assert await payloads(chat_log, writer.chat.id, len(committed)) == []
    for after in range(len(committed)):
        events = await payloads(chat_log, writer.chat.id, after)
        expected = committed[after:]
        assert [(e["seq"], e["kind"], e["at"]) for e in events] == [(e["seq"], e["kind"], e["at"]) for e in expected]
        deltas = [event for event in events if event["kind"] == "delta"]
        assert deltas == [event for event in expected if event["kind"] == "delta"]
    last = {event["run"]["id"]: event for event in committed if event["kind"] == "run"}
    for event in await payloads(chat_log, writer.chat.id):
        if event["kind"] == "run":
            assert event["run"] == last[event["run"]["id"]]["run"], "a run is shown as it is now"
    assert (ended.state, running.state) == (State.DONE, State.STREAMING)


@pytest.mark.rule("V2")
async def test_events_that_name_things_show_them_as_they_are_now(chat_log: ChatLog, writer: Writer) -> None:
    await writer.commit(writer.message("u", content="old"), writer.headed("u", title="old"))
    await writer.commit(writer.message("gone", "u", content="x"), writer.run("r", "gone"))
    await writer.commit(writer.message("u", content="new"), writer.headed("u", title="new"))
    await writer.commit(Removed(("gone",)))
    first, second, third, fourth, *rest = await payloads(chat_log, writer.chat.id)
    assert first["message"]["content"] == "new"
    assert (second["chat"]["title"], second["chat"]["running"]) == ("new", False)
    assert (third["kind"], third["message_ids"]) == ("removed", ["gone"])
    assert (fourth["kind"], fourth["message_ids"]) == ("removed", [])
    assert [event["kind"] for event in rest] == ["message", "chat", "removed"]
    assert rest[-1]["message_ids"] == ["gone"]


@pytest.mark.rule("V3")
async def test_above_the_head_there_is_nothing_to_read(chat_log: ChatLog, writer: Writer) -> None:
    id = writer.chat.id
    assert await chat_log.read(id, after=0) == ()
    assert await chat_log.read(id, after=1) is None
    run = await writer.started()
    head = (await chat_log.heads([id]))[id]
    assert await chat_log.read(id, after=head) == ()
    assert await chat_log.read(id, after=head + 1) is None
    await writer.write(run, *LINES)
    assert await payloads(chat_log, id, head) != []
    assert await chat_log.read(id, after=head + 1) == ()
    assert await chat_log.read(id, after=head + 2) is None
    assert await chat_log.read(12345, after=0) is None


@pytest.mark.rule("R7")
async def test_the_deltas_of_runs_beside_each_other_never_mix(chat_log: ChatLog, writer: Writer) -> None:
    await writer.commit(writer.message("u", content="hi"))
    one = await writer.started("r1", parent_id="u")
    two = await writer.started("r2", parent_id="u")
    for n in range(5):
        one = await writer.write(one, text_line(f"one{n}"))
        two = await writer.write(two, text_line(f"two{n}"))
    for finish in (False, True):
        if finish:
            one = await writer.end(one)
        events = await payloads(chat_log, writer.chat.id)
        assert text_of(events, one) == "".join(f"one{n}" for n in range(5))
        assert text_of(events, two) == "".join(f"two{n}" for n in range(5))


@pytest.mark.rule("V3")
async def test_readers_beside_a_writer_see_each_line_exactly_once(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.started()
    words = [f"{n} " for n in range(60)]
    begun = (await chat_log.heads([writer.chat.id]))[writer.chat.id]

    async def write() -> None:
        now = run
        for word in words:
            now = await writer.write(now, text_line(word))
        await writer.end(now, None, DONE)

    async def look() -> bool:
        """One snapshot, and what follows it. Returns whether the run had ended."""
        view = await chat_log.view(writer.chat.id, limit=9)
        assert view is not None
        shown = view.messages[-1]
        if shown.status == "streaming":
            assert (shown.content, view.seq) == ("", begun)
        events = await payloads(chat_log, writer.chat.id, view.seq)
        assert [event["seq"] for event in events] == list(range(view.seq + 1, view.seq + 1 + len(events)))
        so_far = shown.content + text_of(events, run)
        assert so_far == "".join(words)[: len(so_far)]
        return shown.status != "streaming"

    writing = asyncio.create_task(write())
    looks = 0
    while not await look():
        looks += 1
        await asyncio.sleep(0)
    await writing
    assert looks < 10_000
    assert text_of(await payloads(chat_log, writer.chat.id), run) == "".join(words)


# --- snapshots -------------------------------------------------------------------------------------


@pytest.mark.rule("V3")
async def test_a_snapshot_in_mid_stream_has_the_text_of_before_and_its_number(
    chat_log: ChatLog, writer: Writer
) -> None:
    run = await writer.started()
    for line in LINES:
        run = await writer.write(run, line)
        view = await chat_log.view(writer.chat.id, limit=9)
        assert view is not None
        shown = view.messages[-1]
        assert (shown.content, shown.status) == ("", "streaming")
        assert (view.seq, view.chat.running) == (5, True)
        assert (view.runs, view.writing) == ((shown_run(run),), (run.key,))
        assert await chat_log.message(OWNER, shown.id) == shown, "the message is written once, at the end"


@pytest.mark.rule("V3")
async def test_a_snapshot_and_what_follows_fold_to_the_stored_message(chat_log: ChatLog, writer: Writer) -> None:
    thinking = 'data: {"choices": [{"delta": {"reasoning": "Hm"}}]}'
    calling = 'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f"}}]}}]}'
    more = 'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]}'
    all_lines = [thinking, LINES[0], calling, LINES[1], more, DONE]
    run = await writer.started()
    for line in all_lines[:3]:
        run = await writer.write(run, line)
    view = await chat_log.view(writer.chat.id, limit=9)
    assert view is not None
    for line in all_lines[3:]:
        run = await writer.write(run, line)
    await writer.end(run)
    entries = await chat_log.read(writer.chat.id, after=view.seq)
    assert entries is not None
    draft = transcribe([])
    for entry in entries:
        if isinstance(entry.change, LinesAdded):
            draft = fold(draft, entry.change.delta)
    stored = await chat_log.message(OWNER, run.message_id)
    assert stored is not None
    assert (stored.content, stored.reasoning) == (draft.content, draft.reasoning) == ("Nothingis", "Hm")
    assert stored.tool_calls == list(draft.tool_calls) != []


@pytest.mark.rule("V3")
async def test_a_message_that_is_continued_shows_what_it_was_and_the_new_lines(
    chat_log: ChatLog, writer: Writer
) -> None:
    first = await writer.end(await writer.write(await writer.started("r1"), *LINES[:2]), Stop())
    message = await chat_log.message(OWNER, first.message_id)
    assert message is not None
    second = writer.run("r2", message.id, prefix=message)
    await writer.commit(message.model_copy(update={"status": "streaming", "run_id": "r2"}), second)
    second = await writer.apply(second, Offer(ASSIGNMENT, "c2"), Start(1))
    second = await writer.write(second, *LINES[2:])
    view = await chat_log.view(writer.chat.id, limit=9)
    assert view is not None
    assert view.messages[-1].content == "Nothingis"
    await writer.end(second)
    stored = await chat_log.message(OWNER, message.id)
    assert stored is not None
    assert stored.content == TEXT
    assert (await chat_log.lines(first), await chat_log.lines(second)) == (LINES[:2], LINES[2:])
    assert text_of(await payloads(chat_log, writer.chat.id), second) == TEXT[len("Nothingis") :]


@pytest.mark.rule("V1")
async def test_a_snapshot_shows_the_newest_of_the_heads_branch_with_their_siblings(
    chat_log: ChatLog, writer: Writer
) -> None:
    view = await chat_log.view(writer.chat.id, limit=3)
    assert view is not None
    assert (view.messages, view.runs, view.siblings, view.earlier, view.seq) == ((), (), {}, False, 0)
    links = [("m1", None), ("m2", "m1"), ("m3", "m2"), ("side", "m2"), ("m4", "m3"), ("root", None)]
    for id, parent in links:
        await writer.commit(writer.message(id, parent, content=id))
    await writer.commit(writer.headed("m4"))

    async def shown(limit: int) -> tuple[list[str], bool]:
        view = await chat_log.view(writer.chat.id, limit=limit)
        assert view is not None
        assert list(view.siblings) == [message.id for message in view.messages]
        return [message.id for message in view.messages], view.earlier

    assert await shown(3) == (["m2", "m3", "m4"], True)
    assert await shown(4) == (["m1", "m2", "m3", "m4"], False)
    view = await chat_log.view(writer.chat.id, limit=9)
    assert view is not None
    assert view.siblings == {"m1": ["m1", "root"], "m2": ["m2"], "m3": ["m3", "side"], "m4": ["m4"]}
    await writer.commit(writer.headed("side"))
    assert await shown(9) == (["m1", "m2", "side"], False)
    assert await chat_log.view(12345, limit=9) is None


@pytest.mark.rule("V1")
async def test_a_branch_is_what_leads_to_its_leaf(chat_log: ChatLog, writer: Writer) -> None:
    elsewhere = await new_writer(chat_log)
    await elsewhere.commit(elsewhere.message("other", content="x"))
    links = [("m1", None), ("m2", "m1"), ("m3", "m2"), ("side", "m2"), ("m4", "m3"), ("root", None)]
    messages = {id: writer.message(id, parent, content=id) for id, parent in links}
    await writer.commit(*messages.values())

    async def branch(leaf: str, user_id: int = OWNER) -> list[str]:
        found = (await chat_log.branch(user_id, writer.chat.id, leaf)).messages
        assert all(message == messages[message.id] for message in found)
        return [message.id for message in found]

    assert await branch("m4") == ["m1", "m2", "m3", "m4"]
    assert await branch("side") == ["m1", "m2", "side"]
    assert await branch("root") == ["root"]
    for leaf, user_id in (("nobody", OWNER), ("other", OWNER), ("m4", OTHER)):
        assert await branch(leaf, user_id) == []
    assert (await chat_log.branch(OWNER, elsewhere.chat.id, "m4")).messages == ()
    assert await chat_log.links(OWNER, writer.chat.id) == tuple(links)
    assert await chat_log.links(OTHER, writer.chat.id) == ()
    assert await chat_log.links(OWNER, 12345) == ()


@pytest.mark.rule("V3")
async def test_the_number_of_the_newest_change_is_not_that_of_lines(chat_log: ChatLog, writer: Writer) -> None:
    id = writer.chat.id
    assert await chat_log.changed_at(id) == await chat_log.changed_at(12345) == 0
    run = await writer.started()
    assert await chat_log.changed_at(id) == 5
    run = await writer.write(run, *LINES)
    assert await chat_log.changed_at(id) == 5
    await writer.commit(writer.headed(None), added(run, DONE))
    assert (await chat_log.changed_at(id), await chat_log.heads([id])) == (7, {id: 8})
    view = await chat_log.view(id, limit=1)
    assert view is not None
    assert view.seq == 7
    assert [event["kind"] for event in await payloads(chat_log, id, 7)] == ["delta"]


@pytest.mark.rule("R4", "V1")
async def test_a_snapshot_names_the_runs_that_have_not_ended_for_good(chat_log: ChatLog, writer: Writer) -> None:
    await writer.ask("queued")
    await writer.offered("offered")
    await writer.apply(await writer.started("suspended"), Disconnect(1))
    await writer.end(await writer.started("done"))
    await writer.end(await writer.started("aborted"), Stop())
    open_run = await writer.interrupt(await writer.started("interrupted"))
    closed_run = await writer.interrupt(await writer.started("closed"))
    await writer.commit(stepped(closed_run, Stop()))
    view = await chat_log.view(writer.chat.id, limit=9)
    assert view is not None
    assert {run.id for run in view.runs} == {"queued", "offered", "suspended", "interrupted"}
    assert shown_run(open_run) in view.runs
    assert [id for _, id in view.writing] == ["suspended"]


# --- lists -----------------------------------------------------------------------------------------


async def pages(chat_log: ChatLog, limit: int) -> list[list[int]]:
    found, cursor = [], None
    for _ in range(100):
        page = await chat_log.chats(OWNER, limit=limit, cursor=cursor)
        found.append([chat.id for chat in page.chats])
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError("the pages do not end")


async def test_chats_come_newest_change_first_in_pages(chat_log: ChatLog) -> None:
    writers = [await new_writer(chat_log, at=10 * n) for n in range(5)]
    ids = [writer.chat.id for writer in writers]
    await writers[1].commit(writers[1].headed(None), at=100)
    # Two of the same time, and chats that are not shown.
    await writers[2].commit(writers[2].headed(None), at=100)
    await new_writer(chat_log, at=50, hidden=True)
    await new_writer(chat_log, at=50, user_id=OTHER)
    order = [ids[2], ids[1], ids[4], ids[3], ids[0]]
    assert await pages(chat_log, 5) == [order]
    assert await pages(chat_log, 2) == [order[:2], order[2:4], order[4:]]
    assert await pages(chat_log, 1) == [[id] for id in order]


async def test_a_cursor_of_nobody_is_an_error(chat_log: ChatLog, writer: Writer) -> None:
    for cursor in ("", "x", "1", "1:", ":1", "1:x", "1:2:3"):
        with pytest.raises(ValueError):  # noqa: PT011
            await chat_log.chats(OWNER, limit=1, cursor=cursor)


@pytest.mark.rule("D3")
async def test_deltas_do_not_move_a_chat_in_the_list(chat_log: ChatLog) -> None:
    older, newer = await new_writer(chat_log), await new_writer(chat_log)
    run = await older.started()
    await newer.commit(newer.headed(None), at=5000)
    await older.write(run, *LINES)
    assert await pages(chat_log, 9) == [[newer.chat.id, older.chat.id]]


async def test_a_chat_says_when_it_was_changed_and_whether_something_runs(chat_log: ChatLog, writer: Writer) -> None:
    async def chat() -> Chat:
        found = await chat_log.chat(OWNER, writer.chat.id)
        assert found is not None
        assert (await chat_log.chats(OWNER, limit=1)).chats == (found,)
        return found

    assert await chat() == writer.chat
    await writer.commit(writer.headed(None, title="new", model="test/m"), at=77)
    renamed = await chat()
    assert (renamed.title, renamed.model, renamed.updated_at, renamed.created_at) == ("new", "test/m", iso(77), iso(0))
    run = await writer.started()
    assert (await chat()).running
    run = await writer.interrupt(run)
    assert not (await chat()).running
    run = await writer.apply(run, Resume(1))
    assert (await chat()).running
    await writer.end(run, Finish("stop"))
    assert not (await chat()).running


async def test_hidden_chats_are_found_by_the_time_of_their_last_change(chat_log: ChatLog) -> None:
    await new_writer(chat_log, at=5)
    old = await new_writer(chat_log, at=5, hidden=True)
    other = await new_writer(chat_log, at=6, hidden=True, user_id=OTHER)
    changed = await new_writer(chat_log, at=5, hidden=True)
    await changed.commit(changed.headed(None), at=100)
    assert await chat_log.hidden_before(5) == ()
    assert sorted(await chat_log.hidden_before(7)) == [(OWNER, old.chat.id), (OTHER, other.chat.id)]
    assert len(await chat_log.hidden_before(101)) == 3
    assert await chat_log.chat(OWNER, old.chat.id) is not None
    assert [await chat_log.is_hidden(id) for id in (old.chat.id, old.chat.id - 1, 12345)] == [True, False, False]


async def test_all_messages_of_a_chat_come_oldest_first(chat_log: ChatLog, writer: Writer) -> None:
    for id in ("c", "a", "b"):
        await writer.commit(writer.message(id, content=id))
    await writer.commit(writer.message("a", content="changed"))
    messages = (await chat_log.messages(OWNER, writer.chat.id)).messages
    assert [(message.id, message.content) for message in messages] == [("c", "c"), ("a", "changed"), ("b", "b")]


async def test_lines_that_add_nothing_are_events_and_are_kept(chat_log: ChatLog, writer: Writer) -> None:
    run = await writer.write(await writer.started(), ": keep-alive", "", "noise")
    events = await payloads(chat_log, writer.chat.id)
    assert set(events[-1]) == {"chat_id", "seq", "at", "kind", "run_id", "message_id"}
    assert await chat_log.lines(run) == (": keep-alive", "", "noise")
