"""Runs from asking to their end: their states, ids that are sent twice, stopping, and deleting."""

import asyncio
from dataclasses import replace

import pytest

from keyside.core.changes import Changes
from keyside.core.run import Run
from keyside.protocol.commands import NewMessage, NewRun, UserTurn
from keyside.services.ports import Conflict, chat_room
from keyside.testing import MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import (
    ended,
    idle,
    offered,
    refused,
    run_of,
    second_user,
    start,
    state_of,
    stop,
    streaming,
    told,
)

rule = pytest.mark.rule


# --- the states ------------------------------------------------------------------------------------


@rule("R1")
async def test_a_run_is_queued_offered_streaming_and_done_each_under_a_version_of_its_own(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    seen: list[tuple[str, int]] = []
    chat = await server.chat()

    async def watch() -> None:
        with server.hub.follow(chat.id) as coming:
            async for entry in coming:
                if isinstance(entry.change, Run):
                    seen.append((entry.change.state.value, entry.change.version))

    watching = asyncio.create_task(watch())
    await settle()
    started = await server.ask(chat.id)
    assert started.run.state == "queued"
    offer = await desk.offer()
    await desk.claim(offer)
    await desk.send(offer, 0, text_line("Hello"))
    await desk.finish(offer, 1)
    await settle()
    watching.cancel()
    assert seen == [("queued", 0), ("offered", 1), ("streaming", 2), ("done", 3)]
    assert await ended(server, started) == ("done", None, "Hello")


@rule("R1")
async def test_a_run_is_suspended_while_its_executor_is_away(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    await desk.disconnect()
    assert await state_of(server, started) == "suspended"
    await desk.connect([(offer.run_id, offer.attempt)])
    assert await state_of(server, started) == "streaming"


@rule("R1")
async def test_a_change_made_from_an_older_version_is_refused(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, _ = await streaming(server, desk)
    run = await run_of(server, started)
    for version in (run.version, run.version + 2):
        changes = Changes(server.user_id, run.chat_id, server.clock.now(), (replace(run, version=version),))
        with pytest.raises(Conflict):
            await server.store.chat_log.commit(changes)


# --- ids that are sent twice -----------------------------------------------------------------------


@rule("R6")
async def test_the_same_run_id_again_returns_the_run_that_exists(server: MemoryServer, desk: ScriptedExecutor) -> None:
    chat = await server.chat()
    first = await start(server, chat.id, run_id="r-1", message="hi")
    offer = await desk.offer()
    await desk.claim(offer)
    again = await start(server, chat.id, run_id="r-1", message="hi")
    assert again.run.id == first.run.id == "r-1"
    assert again.run.state == "streaming"
    assert again.user_message == first.user_message
    assert again.assistant_message.id == first.assistant_message.id
    assert len((await server.store.chat_log.messages(server.user_id, chat.id)).messages) == 2
    await settle()
    assert idle(server, desk.session_id)


@rule("R6")
async def test_two_requests_with_one_id_at_once_make_one_run(server: MemoryServer, desk: ScriptedExecutor) -> None:
    chat = await server.chat()
    both = await asyncio.gather(*(start(server, chat.id, run_id="r-1", message="hi") for _ in range(2)))
    assert both[0].assistant_message.id == both[1].assistant_message.id
    await desk.offer()
    assert idle(server, desk.session_id)


@rule("R6")
async def test_the_same_id_with_another_body_is_a_conflict(server: MemoryServer, desk: ScriptedExecutor) -> None:
    chat, other = await server.chat(), await server.chat()
    await start(server, chat.id, run_id="r-1", message="hi")
    with refused("conflict"):
        await start(server, chat.id, run_id="r-1", message="something else")
    with refused("conflict"):
        await start(server, other.id, run_id="r-1", message="hi")
    assert (await server.store.chat_log.messages(server.user_id, other.id)).messages == ()


@rule("R6")
async def test_a_message_id_that_is_taken_is_a_conflict_and_leaves_nothing(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    chat, other = await server.chat(), await server.chat()
    await start(server, chat.id, message={"id": "m-1", "content": "hi"})
    with refused("conflict"):
        await start(server, other.id, message={"id": "m-1", "content": "hi"})
    with refused("conflict"):
        await server.services.messages.add(server.user_id, other.id, NewMessage(id="m-1", role="user", content="x"))
    assert (await server.store.chat_log.messages(server.user_id, other.id)).messages == ()


@rule("R6")
async def test_ids_are_unique_per_user_only(server: MemoryServer, desk: ScriptedExecutor) -> None:
    other = await second_user(server)
    theirs = ScriptedExecutor(server, executor_id="theirs")
    theirs.session_id = server.connect(user_id=other)
    await server.services.executors.ready(theirs.session_id, theirs.ready)
    mine = await start(server, (await server.chat()).id, run_id="r-1", message={"id": "m-1", "content": "mine"})
    chat = await server.services.chats.create(other, "")
    new = NewRun(model="test/m", run_id="r-1", message=UserTurn(id="m-1", content="theirs"))
    started = await server.services.requests.start(other, chat.id, new)
    assert started.run.id == mine.run.id
    assert (await server.services.requests.get(other, "r-1")).chat_id == chat.id
    assert (await run_of(server, mine)).chat_id == mine.run.chat_id


@rule("R6")
@pytest.mark.parametrize("which", ["the answer", "the question"])
async def test_the_id_of_a_run_that_was_deleted_starts_no_second_one(
    server: MemoryServer, desk: ScriptedExecutor, which: str
) -> None:
    chat = await server.chat()
    first = await start(server, chat.id, run_id="r-1", message="hi")
    await desk.claim(await desk.offer())
    assert first.user_message is not None
    top = first.assistant_message if which == "the answer" else first.user_message
    await server.services.messages.remove(server.user_id, chat.id, top.id)
    left = (await server.store.chat_log.messages(server.user_id, chat.id)).messages
    for place in (chat, await server.chat()):
        with refused("conflict"):
            await start(server, place.id, run_id="r-1", message="hi")
    assert (await server.store.chat_log.messages(server.user_id, chat.id)).messages == left
    assert (await start(server, chat.id, run_id="r-2", message="hi")).run.state == "queued"


# --- stopping --------------------------------------------------------------------------------------


@rule("R5", "E9")
async def test_a_stop_keeps_what_is_stored_and_tells_the_executor(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk, text_line("so far"))
    assert await stop(server, started) == "aborted"
    message = await desk.told()
    assert message["type"] == "request:chat:abort"
    assert message["data"] == {"run_id": offer.run_id, "attempt": offer.attempt, "channel": offer.channel}
    assert await ended(server, started) == ("aborted", None, "so far")
    assert (await server.answer(started)).status == "aborted"
    assert await stop(server, started) == "aborted"
    assert idle(server, desk.session_id)


@rule("E9")
async def test_the_last_frame_after_a_stop_is_acknowledged_as_often_as_it_comes(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    await stop(server, started)
    for _ in range(2):
        assert await desk.finish(offer, 1, "aborted") == 1
    with refused("run_ended"):
        await desk.send(offer, 1, text_line("b"))
    assert await ended(server, started) == ("aborted", None, "a")


@rule("R5")
async def test_a_run_is_stopped_while_it_waits_is_offered_or_is_suspended(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    desk.says = None
    away, offer = await offered(server, desk)
    assert await stop(server, away) == "aborted"
    assert (await desk.told())["type"] == "request:chat:abort"
    with refused("run_ended"):
        await desk.claim(offer)
    suspended, _ = await streaming(server, desk, text_line("a"))
    await desk.disconnect()
    assert await stop(server, suspended) == "aborted"
    waiting = await server.ask((await server.chat()).id)
    assert await state_of(server, waiting) == "queued"
    assert await stop(server, waiting) == "aborted"
    await desk.connect()
    await settle()
    assert idle(server, desk.session_id)
    assert await ended(server, suspended) == ("aborted", None, "a")


@rule("R5")
async def test_a_stop_works_whether_or_not_the_executor_answers(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    await desk.disconnect()
    assert await stop(server, started) == "aborted"
    ack = await desk.connect([(offer.run_id, offer.attempt)])
    assert [verdict.verdict for verdict in ack.runs] == ["drop"]


# --- deleting and changing -------------------------------------------------------------------------


@rule("R9")
async def test_deleting_a_chat_ends_its_runs_and_tells_executor_and_viewers(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    await server.services.chats.delete(server.user_id, started.run.chat_id)
    assert (await desk.told())["type"] == "request:chat:abort"
    assert told(server, chat_room(offer.chat_id), "chat:gone") == [{"chat_id": offer.chat_id}]
    for late in (desk.send(offer, 1, text_line("b")), desk.finish(offer, 1)):
        with refused("run_ended"):
            await late
    with refused("not_found"):
        await server.services.chats.get(server.user_id, started.run.chat_id)
    assert await server.store.chat_log.run(server.user_id, started.run.id) is None


@rule("R9")
@pytest.mark.parametrize("which", ["the answer itself", "what it answers"])
async def test_deleting_a_message_ends_the_runs_below_in_the_same_transaction(
    server: MemoryServer, desk: ScriptedExecutor, which: str
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    assert started.user_message is not None
    top = started.assistant_message if which == "the answer itself" else started.user_message
    with server.hub.follow(offer.chat_id) as coming:
        await server.services.messages.remove(server.user_id, offer.chat_id, top.id)
        run = (await anext(coming)).payload["run"]
        removed = (await anext(coming)).payload
    assert (run["state"], run["error"]["code"]) == ("aborted", "deleted")
    assert removed["kind"] == "removed"
    assert offer.message_id in removed["message_ids"]
    assert (await desk.told())["type"] == "request:chat:abort"
    with refused("run_ended"):
        await desk.send(offer, 1, text_line("b"))
    left = [message.id for message in (await server.store.chat_log.messages(server.user_id, offer.chat_id)).messages]
    assert left == ([started.user_message.id] if which == "the answer itself" else [])
    chat = await server.services.chats.get(server.user_id, offer.chat_id)
    assert chat.head_id == (left[0] if left else None)
    assert not chat.running


@rule("R9")
async def test_a_run_that_was_only_offered_is_ended_by_a_deletion_too(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    desk.says = None
    _, offer = await offered(server, desk)
    await server.services.chats.delete(server.user_id, offer.chat_id)
    assert (await desk.told())["type"] == "request:chat:abort"
    with refused("run_ended"):
        await desk.claim(offer)
    await server.clock.advance(30)
    assert idle(server, desk.session_id)


@rule("R9")
async def test_a_message_that_is_being_written_is_neither_changed_nor_answered(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    chat_id, id = offer.chat_id, offer.message_id
    with refused("message_running"):
        await server.services.messages.edit(server.user_id, chat_id, id, "mine")
    for mode in ("regenerate", "continue"):
        with refused("message_running"):
            await start(server, chat_id, mode=mode, parent_id=id)
    with refused("message_running"):
        await start(server, chat_id, message="next", parent_id=id)
    await desk.finish(offer, 1, "stop", text_line("b"))
    assert await ended(server, started) == ("done", None, "ab")
    edited = await server.services.messages.edit(server.user_id, chat_id, id, "mine")
    assert edited.content == "mine"


@rule("R4")
@pytest.mark.parametrize("how", ["stop", "continue", "regenerate it", "regenerate its question", "edit", "delete"])
async def test_an_interrupted_run_is_final_once_the_user_goes_on_without_it(
    server: MemoryServer, desk: ScriptedExecutor, how: str
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    assert started.user_message is not None
    await desk.disconnect()
    await server.clock.advance(61)
    assert await state_of(server, started) == "interrupted"
    chat_id, id = offer.chat_id, offer.message_id
    match how:
        case "stop":
            assert await stop(server, started) == "interrupted"
        case "continue":
            await start(server, chat_id, mode="continue", parent_id=id)
        case "regenerate it":
            await start(server, chat_id, mode="regenerate", parent_id=id)
        case "regenerate its question":
            await start(server, chat_id, mode="regenerate", parent_id=started.user_message.id)
        case "edit":
            await server.services.messages.edit(server.user_id, chat_id, id, "mine")
        case "delete":
            await server.services.messages.remove(server.user_id, chat_id, id)
    before = await server.store.chat_log.message(server.user_id, id)
    ack = await desk.connect([(offer.run_id, offer.attempt)])
    assert [verdict.verdict for verdict in ack.runs] == ["drop"]
    with refused("run_ended"):
        await desk.send(offer, 1, text_line("b"))
    assert await server.store.chat_log.message(server.user_id, id) == before
