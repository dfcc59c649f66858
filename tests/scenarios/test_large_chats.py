"""Chats that are larger than an answer: what viewers and readers get of them, and how they come to the rest."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from keyside.adapters.memory.log import MemoryChatLog
from keyside.adapters.memory.store import MemoryStore
from keyside.adapters.sql.store import SqlStore
from keyside.core.changes import Entry
from keyside.protocol import wire
from keyside.protocol.commands import NewMessage
from keyside.services import viewers
from keyside.services.ports import Store
from keyside.testing import MemoryServer, ScriptedExecutor, text_line
from tests.scenarios.kit import offered, refused, run_of, second_user, start, streaming, told
from tests.scenarios.test_viewers import opened

rule = pytest.mark.rule
MIB = 1024 * 1024


@asynccontextmanager
async def serving(store: Store) -> AsyncIterator[tuple[MemoryServer, ScriptedExecutor]]:
    async with MemoryServer(store=store) as server:
        desk = ScriptedExecutor(server)
        await desk.connect()
        yield server, desk


async def chat_of(server: MemoryServer, *texts: str) -> int:
    """A chat with these messages, each below the one before: m0, m1 and so on."""
    chat = await server.chat()
    for number, text in enumerate(texts):
        new = NewMessage(id=f"m{number}", role="user", content=text)
        await server.services.messages.add(server.user_id, chat.id, new)
    return chat.id


def size(answer: Any) -> int:
    return len(orjson.dumps(answer))


# --- snapshots -------------------------------------------------------------------------------------


@rule("V1")
@pytest.mark.parametrize("kept", ["memory", "sql"])
async def test_a_snapshot_has_as_many_messages_as_fit(kept: str, tmp_path: Path) -> None:
    store = MemoryStore() if kept == "memory" else SqlStore(tmp_path, sync="normal")
    async with MemoryServer(store=store) as server:
        chat_id = await chat_of(server, *("語" * 100_000 for _ in range(8)))
        ack = await opened(server, chat_id)
        shown = ack["snapshot"]
        assert [message["id"] for message in shown["messages"]] == ["m5", "m6", "m7"]
        assert shown["earlier"] is True
        assert not any(message["partial"] for message in shown["messages"])
        assert size(ack) <= wire.MOST_ANSWER
        page = await server.services.messages.page(server.user_id, chat_id, branch="m5")
        assert [message.id for message in page.messages] == [f"m{n}" for n in range(6)]


@rule("V1")
async def test_of_a_message_that_is_longer_than_an_answer_the_end_is_shown(server: MemoryServer) -> None:
    text = "".join(map(str, range(200_000)))[:MIB]
    chat_id = await chat_of(server, "hi", text)
    ack = await opened(server, chat_id)
    (shown,) = ack["snapshot"]["messages"]
    assert (shown["id"], shown["partial"], ack["snapshot"]["earlier"]) == ("m1", True, True)
    assert text.endswith(shown["content"])
    assert MIB / 2 < size(ack) <= wire.MOST_ANSWER
    whole = await server.services.viewers.message(server.user_id, chat_id, "m1")
    assert (whole.message.content, whole.message.partial, whole.seq) == (text, False, ack["seq"])


@rule("V1", "V3")
@pytest.mark.parametrize("field", ["content", "reasoning"])
async def test_the_draft_of_a_long_answer_counts_too(server: MemoryServer, desk: ScriptedExecutor, field: str) -> None:
    _, offer = await offered(server, desk)
    await desk.claim(offer)
    pieces = [f"<{n}>" + "x" * 200_000 for n in range(9)]
    for index, piece in enumerate(pieces):
        line = text_line(piece).replace('"content"', f'"{field}"')
        await desk.send(offer, index, line)
    ack = await opened(server, offer.chat_id)
    shown = ack["snapshot"]["messages"][-1]
    assert (shown["id"], shown["partial"]) == (offer.message_id, True)
    assert "".join(pieces).endswith(shown[field])
    assert len(shown[field]) > MIB / 2
    assert size(ack) <= wire.MOST_ANSWER
    assert [run["id"] for run in ack["snapshot"]["runs"]] == [offer.run_id]
    await desk.finish(offer, 9)
    shown = (await opened(server, offer.chat_id))["snapshot"]["messages"][-1]
    assert (shown["status"], shown["partial"]) == ("sent", True)


@rule("V1", "V3")
@pytest.mark.parametrize("kept", ["memory", "sql"])
async def test_a_whole_message_has_what_is_written_up_to_its_number(kept: str, tmp_path: Path) -> None:
    store = MemoryStore() if kept == "memory" else SqlStore(tmp_path, sync="normal")
    async with serving(store) as (server, desk):
        chat = await server.chat()
        started = await server.ask(chat.id, "one")
        offer = await next_offer(desk)
        await desk.claim(offer)
        with server.hub.follow(chat.id) as coming:
            seen: list[tuple[str, int]] = []
            for index in range(5):
                await desk.send(offer, index, text_line(f"{index} "))
                at = await server.services.viewers.message(server.user_id, chat.id, offer.message_id)
                seen.append((at.message.content, at.seq))
            deltas = [entry async for entry in only(coming, 5)]
        for content, seq in seen:
            later = "".join(entry.payload["content"] for entry in deltas if entry.seq > seq)
            assert content + later == "0 1 2 3 4 "
        assert [content for content, _ in seen] == ["0 ", "0 1 ", "0 1 2 ", "0 1 2 3 ", "0 1 2 3 4 "]
        await desk.finish(offer, 5)
        at = await server.services.viewers.message(server.user_id, chat.id, started.assistant_message.id)
        assert (at.message.content, at.message.status) == ("0 1 2 3 4 ", "sent")


async def next_offer(desk: ScriptedExecutor) -> wire.CompletionRequest:
    """The next offer, also where the log works on threads."""
    message = await asyncio.wait_for(desk.server.calls.sessions[desk.session_id].get(), 10)
    return wire.CompletionRequest.model_validate(message["data"])


async def only(coming: AsyncIterator[Entry], count: int) -> AsyncIterator[Entry]:
    async with asyncio.timeout(10):
        for _ in range(count):
            yield await anext(coming)


@rule("V1", "C2")
async def test_a_message_of_others_or_of_another_chat_is_not_found(server: MemoryServer) -> None:
    chat_id, other_id = await chat_of(server, "mine"), (await server.chat()).id
    second = await second_user(server)
    whole = server.services.viewers.message
    assert (await whole(server.user_id, chat_id, "m0")).message.content == "mine"
    for user_id, chat, message in ((second, chat_id, "m0"), (server.user_id, other_id, "m0"), (1, 999, "m0")):
        with refused("not_found"):
            await whole(user_id, chat, message)
    with refused("not_found"):
        await whole(server.user_id, chat_id, "nobody")


@rule("V3")
async def test_a_whole_message_that_changed_while_it_was_read_is_read_again() -> None:
    class ChangingLog(MemoryChatLog):
        """A log in which something happens between the moment at which a message is read and its arrival."""

        meanwhile: Any = None

        async def message(self, user_id: int, message_id: str) -> Any:
            found = await super().message(user_id, message_id)
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                await meanwhile()
            return found

    log = ChangingLog()
    async with serving(MemoryStore(log)) as (server, desk):
        _, offer = await streaming(server, desk, text_line("a"))
        log.meanwhile = lambda: desk.finish(offer, 1, "stop", text_line("b"))
        at = await server.services.viewers.message(server.user_id, offer.chat_id, offer.message_id)
    assert (at.message.content, at.message.status) == ("ab", "sent")


# --- events ----------------------------------------------------------------------------------------


@rule("V1", "V3")
@pytest.mark.parametrize("kept", ["memory", "sql"])
async def test_more_events_than_fit_into_an_answer_become_a_snapshot(kept: str, tmp_path: Path) -> None:
    store = MemoryStore() if kept == "memory" else SqlStore(tmp_path, sync="normal")
    async with MemoryServer(store=store) as server:
        chat_id = await chat_of(server, *("x" * 300_000 for _ in range(5)))
        head = (await server.store.chat_log.heads([chat_id]))[chat_id]
        found = {after: await opened(server, chat_id, after) for after in range(head + 1)}
    for after, ack in found.items():
        assert size(ack) <= wire.MOST_ANSWER
        assert ack["seq"] == head
        if ack["events"] is not None:
            assert [event["seq"] for event in ack["events"]] == list(range(after + 1, head + 1))
    kinds = ["events" if ack["events"] is not None else "snapshot" for ack in found.values()]
    assert [kind for kind, _ in itertools.groupby(kinds)] == ["snapshot", "events"]
    assert kinds.count("events") > 4


@rule("V3")
@pytest.mark.parametrize("grows", ["\x01", "語"])
async def test_events_are_measured_as_they_are_sent(server: MemoryServer, grows: str) -> None:
    chat_id = await chat_of(server, *(grows * 60_000 for _ in range(6)))
    ack = await opened(server, chat_id, 0)
    assert size(ack) <= wire.MOST_ANSWER


@rule("V2", "V3")
@pytest.mark.parametrize("kept", ["memory", "sql"])
async def test_a_reader_of_a_long_run_gets_all_of_it_once_and_in_order(kept: str, tmp_path: Path) -> None:
    """The log is longer than what is read at a time: the run and its message are told at their last change."""
    store = MemoryStore() if kept == "memory" else SqlStore(tmp_path, sync="normal")
    async with serving(store) as (server, desk):
        chat = await server.chat()
        started = await server.ask(chat.id, "one")
        offer = await next_offer(desk)
        await desk.claim(offer)
        running = await run_of(server, started)
        pieces = [f"<{n}>" + "x" * 150_000 for n in range(16)]

        async def read(after: int) -> list[dict[str, Any]]:
            return [entry.payload async for entry in server.services.followers.follow_run(running, after)]

        slow = server.services.followers.follow_run(running, 0)
        first = [(await anext(slow)).payload]
        for index, piece in enumerate(pieces):
            await desk.send(offer, index, text_line(piece))
        await desk.finish(offer, len(pieces))
        async with asyncio.timeout(20):
            joined = first + [entry.payload async for entry in slow]
            late = await read(0)
            resumed = await read(late[4]["seq"])
    for events in (joined, late):
        seqs = [event["seq"] for event in events]
        assert seqs == sorted(set(seqs))
        assert "".join(event.get("content", "") for event in events if event["kind"] == "delta") == "".join(pieces)
        assert events[-1]["run"]["state"] == "done"
        assert [event["kind"] for event in events][-2:] == ["message", "run"]
    assert [event["kind"] for event in late] == ["delta"] * 16 + ["message", "run"]
    assert resumed == late[5:]


@rule("E2")
async def test_what_was_said_before_is_read_only_as_far_as_a_request_can_hold() -> None:
    class PieceLog(MemoryChatLog):
        """A log that counts the pieces of a branch."""

        pieces = 0

        async def branch(self, *args: Any, **what: Any) -> Any:
            self.pieces += 1
            return await super().branch(*args, **what)

    log = PieceLog()
    async with serving(MemoryStore(log)) as (server, desk):
        chat_id = await chat_of(server, *(f"{n}" + "x" * 900_000 for n in range(4)))
        await start(server, chat_id, message="all of it")
        said = (await desk.offer()).form_data["messages"]
        assert [turn["content"][0] for turn in said] == ["0", "1", "2", "3", "a"]
        parent_id = "m3"
        for _ in range(20):
            new = NewMessage(role="user", content="x" * 900_000, parent_id=parent_id)
            parent_id = (await server.services.messages.add(server.user_id, chat_id, new)).id
        log.pieces = 0
        with refused("too_large"):
            await start(server, chat_id, message="too much")
        assert log.pieces <= 2


# --- how many --------------------------------------------------------------------------------------


@rule("V6")
async def test_a_socket_has_only_so_many_chats_open(server: MemoryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "MOST_OPEN", 3)
    chats = [(await server.chat()).id for _ in range(5)]
    for chat_id in chats[:3]:
        await opened(server, chat_id)
    with refused("too_many_open"):
        await opened(server, chats[3])
    assert f"chat:{chats[3]}" not in server.hub.rooms
    await opened(server, chats[0])
    await opened(server, chats[3], session_id="another")
    await server.services.viewers.close("viewer", chats[0])
    await opened(server, chats[3])
    with refused("too_many_open"):
        await opened(server, chats[4])
    await server.services.chats.delete(server.user_id, chats[3])
    await server.clock.advance(viewers.HEADS_SECONDS)
    await opened(server, chats[4])
    await server.clock.advance(viewers.HEADS_SECONDS)
    assert set(told(server, "viewer", "chats:heads")[-1]) == {str(id) for id in (chats[1], chats[2], chats[4])}
