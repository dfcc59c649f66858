"""What viewers get: snapshots, events without gaps, and the hints to read again."""

import asyncio
from typing import Any

import pytest

from keyside.core.changes import Entry
from keyside.core.limits import Limits
from keyside.protocol.commands import ChatPatch, NewMessage
from keyside.services.ports import chat_room, user_room
from keyside.testing import DONE, MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import offered, refused, second_user, start, stop, streaming, told

rule = pytest.mark.rule


async def opened(server: MemoryServer, chat_id: int, after: int | None = None, session_id: str = "viewer") -> Any:
    """The answer to `chat:open`."""
    server.services.viewers.connect(session_id)
    return await server.services.viewers.open(session_id, server.user_id, chat_id, after)


def contents(snapshot: Any) -> list[str]:
    return [message["content"] for message in snapshot["messages"]]


class Watcher:
    """Reads a chat's events as they are published."""

    def __init__(self, server: MemoryServer, chat_id: int) -> None:
        self.entries: list[Entry] = []
        self._task = asyncio.create_task(self._read(server, chat_id))

    async def _read(self, server: MemoryServer, chat_id: int) -> None:
        with server.hub.follow(chat_id) as coming:
            async for entry in coming:
                self.entries.append(entry)

    async def __aenter__(self) -> "Watcher":
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def events(self) -> list[dict[str, Any]]:
        await settle()
        return [entry.payload for entry in self.entries]


# --- opening ---------------------------------------------------------------------------------------


@rule("V1")
async def test_opening_gives_the_branch_its_runs_and_where_it_stands(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("Hel"), text_line("lo"))
    ack = await opened(server, offer.chat_id)
    shown = ack["snapshot"]
    assert ack["ok"] is True
    assert ack["events"] is None
    assert contents(shown) == ["hello", "Hello"]
    assert shown["messages"][1]["status"] == "streaming"
    assert [run["id"] for run in shown["runs"]] == [started.run.id]
    assert shown["chat"]["running"] is True
    assert shown["earlier"] is False
    assert ack["seq"] == (await server.store.chat_log.heads([offer.chat_id]))[offer.chat_id]
    assert "viewer" in server.hub.rooms[chat_room(offer.chat_id)]


@rule("V1")
async def test_a_long_branch_is_shown_by_its_newest_two_hundred_messages(server: MemoryServer) -> None:
    chat = await server.chat()
    for number in range(201):
        new = NewMessage(id=f"m{number}", role="user", content=str(number))
        await server.services.messages.add(server.user_id, chat.id, new)
        if number == 199:
            assert (await opened(server, chat.id))["snapshot"]["earlier"] is False
    shown = (await opened(server, chat.id))["snapshot"]
    assert shown["earlier"] is True
    assert contents(shown) == [str(number) for number in range(1, 201)]


@rule("V1")
async def test_after_a_number_within_the_log_only_the_events_since_come(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    _, offer = await streaming(server, desk, text_line("a"))
    seq = (await opened(server, offer.chat_id))["seq"]
    await desk.send(offer, 1, text_line("b"))
    await desk.send(offer, 2, text_line("c"))
    ack = await opened(server, offer.chat_id, seq)
    assert ack["snapshot"] is None
    assert [(event["seq"], event["content"]) for event in ack["events"]] == [(seq + 1, "b"), (seq + 2, "c")]
    assert ack["seq"] == seq + 2
    assert (await opened(server, offer.chat_id, seq + 2))["events"] == []


@rule("V3")
async def test_after_a_number_above_the_head_there_is_a_snapshot(server: MemoryServer, desk: ScriptedExecutor) -> None:
    _, offer = await streaming(server, desk, text_line("a"))
    seq = (await opened(server, offer.chat_id))["seq"]
    ack = await opened(server, offer.chat_id, seq + 1000)
    assert ack["events"] is None
    assert ack["seq"] == seq
    assert contents(ack["snapshot"]) == ["hello", "a"]


@rule("V1")
async def test_a_chat_of_another_user_or_of_nobody_cannot_be_opened(server: MemoryServer) -> None:
    theirs = await server.services.chats.create(await second_user(server), "secret")
    for chat_id in (theirs.id, 999):
        with refused("not_found"):
            await opened(server, chat_id)
        assert "viewer" not in server.hub.rooms.get(chat_room(chat_id), set())


@rule("V1")
async def test_the_socket_joins_before_anything_is_read(
    server: MemoryServer, desk: ScriptedExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, offer = await streaming(server, desk)
    read = server.store.chat_log.view
    joined: list[bool] = []

    async def view(chat_id: int, **what: Any) -> Any:
        joined.append("viewer" in server.hub.rooms.get(chat_room(chat_id), set()))
        return await read(chat_id, **what)

    monkeypatch.setattr(server.store.chat_log, "view", view)
    await opened(server, offer.chat_id)
    assert joined == [True]


@rule("V1")
async def test_after_closing_the_socket_has_left(server: MemoryServer) -> None:
    chat = await server.chat()
    await opened(server, chat.id)
    await server.services.viewers.close("viewer", chat.id)
    assert server.hub.rooms[chat_room(chat.id)] == set()
    await server.clock.advance(10)
    assert told(server, "viewer", "chats:heads") == []


# --- events ----------------------------------------------------------------------------------------


@rule("V2")
async def test_every_change_of_a_chat_is_an_event_and_their_numbers_have_no_gaps(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    chat = await server.chat()
    async with Watcher(server, chat.id) as watcher:
        started = await server.ask(chat.id)
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("Hel"), text_line("lo"))
        await desk.finish(offer, 2)
        await server.services.chats.change(server.user_id, chat.id, ChatPatch(title="named"))
        await server.services.messages.edit(server.user_id, chat.id, offer.message_id, "corrected")
        await server.services.messages.remove(server.user_id, chat.id, offer.message_id)
        events = await watcher.events()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["chat_id"] for event in events} == {chat.id}
    assert [event["kind"] for event in events] == [
        *("message", "message", "run", "chat"),  # asked
        *("run", "run"),  # offered, streaming
        "delta",
        *("message", "run"),  # whole, and done
        *("chat", "message", "removed", "chat"),  # renamed, corrected, removed, and what is the head now
    ]
    delta = events[6]
    assert (delta["run_id"], delta["message_id"]) == (started.run.id, offer.message_id)
    assert delta["content"] == "Hello"
    assert not {"reasoning", "tool_calls", "images", "citations"} & set(delta)
    assert events[7]["message"]["content"] == "Hello"
    assert events[8]["run"]["state"] == "done"
    assert events[11]["message_ids"] == [offer.message_id]


@rule("V3")
async def test_a_viewer_that_opens_at_any_moment_sees_every_piece_exactly_once(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    _, offer = await streaming(server, desk)
    pieces = [f"<{number}>" for number in range(30)]
    acks: list[Any] = []
    async with Watcher(server, offer.chat_id) as watcher:
        for index, piece in enumerate(pieces):
            sent = asyncio.ensure_future(desk.send(offer, index, text_line(piece)))
            acks.append(await opened(server, offer.chat_id, session_id=f"v{index}"))
            await sent
        events = await watcher.events()
    for ack in acks:
        later = "".join(event["content"] for event in events if event["seq"] > ack["seq"])
        assert contents(ack["snapshot"])[-1] + later == "".join(pieces)


@rule("V3")
async def test_what_was_missed_and_what_comes_make_the_whole(server: MemoryServer, desk: ScriptedExecutor) -> None:
    _, offer = await streaming(server, desk)
    seq = (await opened(server, offer.chat_id))["seq"]
    for index, letter in enumerate("abcde"):
        await desk.send(offer, index, text_line(letter))
    for after in range(seq, seq + 6):
        events = (await opened(server, offer.chat_id, after))["events"]
        assert "".join(event["content"] for event in events) == "abcde"[after - seq :]


@rule("V2")
async def test_a_reader_that_joins_late_gets_all_events_of_a_run_in_order(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    run = await server.services.requests.get(server.user_id, started.run.id)

    async def read(after: int) -> list[dict[str, Any]]:
        return [entry.payload async for entry in server.services.followers.follow_run(run, after)]

    reading = asyncio.create_task(read(0))
    await settle()
    await desk.send(offer, 1, text_line("b"))
    await desk.finish(offer, 2, "stop", text_line("c"))
    events = await asyncio.wait_for(reading, 10)
    seqs = [event["seq"] for event in events]
    assert seqs == sorted(set(seqs))
    assert "".join(event.get("content", "") for event in events if event["kind"] == "delta") == "abc"
    assert events[-1]["run"]["state"] == "done"
    run = await server.services.requests.get(server.user_id, started.run.id)
    assert await read(seqs[2]) == [event for event in await read(0) if event["seq"] > seqs[2]]
    assert await read(seqs[-1]) == []
    assert await read(10_000) == []


# --- hints -----------------------------------------------------------------------------------------


class Hints:
    """Counts the hints that the list of the owner's chats is another one."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._count = 0

    async def new(self) -> int:
        """How many came since this was asked last."""
        await settle()
        before, self._count = self._count, len(told(self._server, user_room(self._server.user_id), "chats:changed"))
        return self._count - before


@rule("V4")
async def test_the_users_sockets_learn_once_of_each_change_of_the_list_of_chats(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    hints = Hints(server)
    chat = await server.chat()
    assert await hints.new() == 1, "added"
    await server.services.chats.change(server.user_id, chat.id, ChatPatch(title="new"))
    assert await hints.new() == 1, "renamed"
    await server.services.messages.add(server.user_id, chat.id, NewMessage(role="user", content="by hand"))
    assert await hints.new() == 1, "a message added"
    await server.ask(chat.id)
    assert await hints.new() == 1, "a run started"
    offer = await desk.offer()
    await desk.claim(offer)
    await desk.send(offer, 0, text_line("a"))
    assert await hints.new() == 0, "an answer that begins, and text, are no change of the list"
    await desk.send(offer, 1, DONE)
    assert await hints.new() == 1, "a run finished"
    await server.services.chats.change(server.user_id, chat.id, ChatPatch(title="n", head_id=offer.message_id))
    assert await hints.new() == 1, "renamed, and another branch shown"
    await server.services.chats.delete(server.user_id, chat.id)
    assert await hints.new() == 1, "removed"
    told_at = {at for at, message in server.hub.told if message["type"] == "chats:changed"}
    assert told_at == {user_room(server.user_id)}


@rule("V4", "R9")
@pytest.mark.parametrize("how", ["waits", "is offered", "has text", "was interrupted", "is one of two"])
async def test_the_users_sockets_learn_once_that_a_chat_is_deleted_in_which_a_run(
    server: MemoryServer, desk: ScriptedExecutor, how: str
) -> None:
    if how == "waits":
        await desk.disconnect()
    chat = await server.chat()
    for _ in range(2 if how == "is one of two" else 1):
        await server.ask(chat.id, parent_id=None)
    if how in ("has text", "was interrupted"):
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("a"))
    if how == "was interrupted":
        await desk.disconnect()
        await server.clock.advance(Limits().resume_grace + 1)
    hints = Hints(server)
    assert await hints.new() > 0
    await server.services.chats.delete(server.user_id, chat.id)
    assert await hints.new() == 1


@rule("V4")
async def test_a_patch_that_changes_nothing_is_no_news(server: MemoryServer) -> None:
    chat = await server.chat("title")
    hints = Hints(server)
    assert await hints.new() == 1, "the chat"
    assert await server.services.chats.change(server.user_id, chat.id, ChatPatch()) == chat
    assert await hints.new() == 0


@rule("V4")
async def test_the_users_sockets_learn_that_executors_come_go_and_change(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    room = user_room(server.user_id)
    assert len(told(server, room, "executors:changed")) == 1
    await server.services.executors.ready(desk.session_id, desk.ready.model_copy(update={"connections": []}))
    await settle()
    assert len(told(server, room, "executors:changed")) == 2
    await desk.disconnect()
    assert len(told(server, room, "executors:changed")) == 3
    # A socket that is no executor is no news.
    await server.disconnect(server.connect())
    assert len(told(server, room, "executors:changed")) == 3


@rule("V6")
async def test_every_ten_seconds_sockets_learn_where_their_open_chats_stand(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    _, offer = await streaming(server, desk, text_line("a"))
    other = await server.chat()
    await opened(server, offer.chat_id)
    await server.clock.advance(10)
    heads = await server.store.chat_log.heads([offer.chat_id, other.id])
    assert told(server, "viewer", "chats:heads") == [{str(offer.chat_id): heads[offer.chat_id]}]
    await opened(server, other.id)
    await server.clock.advance(10)
    assert told(server, "viewer", "chats:heads")[1:] == [{str(id): seq for id, seq in heads.items()}]
    server.services.viewers.gone("viewer")
    await server.clock.advance(10)
    assert len(told(server, "viewer", "chats:heads")) == 2


@rule("V6")
@pytest.mark.parametrize("how", ["done", "stopped", "failed"])
async def test_after_each_runs_end_viewers_learn_where_the_chat_stands(
    server: MemoryServer, desk: ScriptedExecutor, how: str
) -> None:
    started, offer = await offered(server, desk)
    await desk.claim(offer)
    assert told(server, chat_room(offer.chat_id), "chats:heads") == []
    if how == "stopped":
        await stop(server, started)
    else:
        await desk.finish(offer, 0, "stop" if how == "done" else "error")
    await settle()
    head = (await server.store.chat_log.heads([offer.chat_id]))[offer.chat_id]
    assert told(server, chat_room(offer.chat_id), "chats:heads") == [{str(offer.chat_id): head}]


@rule("R9")
async def test_viewers_of_a_truncated_chat_learn_which_messages_are_gone(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    _, offer = await streaming(server, desk)
    await desk.finish(offer, 0, "stop", text_line("A1"))
    await start(server, offer.chat_id, message={"id": "q2", "content": "next"}, parent_id=offer.message_id)
    second = await desk.offer()
    await desk.claim(second)
    seq = (await opened(server, offer.chat_id))["seq"]
    await server.services.messages.remove(server.user_id, offer.chat_id, "q2")
    events = (await opened(server, offer.chat_id, seq))["events"]
    removed = [event["message_ids"] for event in events if event["kind"] == "removed"]
    assert ["q2", second.message_id] in removed
    assert contents((await opened(server, offer.chat_id))["snapshot"]) == ["hello", "A1"]
