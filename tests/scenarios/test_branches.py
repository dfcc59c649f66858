"""Titles, branches, regenerating and continuing, and several runs of one chat."""

import asyncio
from typing import Any

import pytest

from keyside.adapters.memory.log import MemoryChatLog
from keyside.adapters.memory.store import MemoryStore
from keyside.core.tree import Link
from keyside.protocol.commands import ChatPatch, NewMessage
from keyside.services.ports import Piece
from keyside.testing import DONE, MemoryServer, ScriptedExecutor, text_line
from tests.scenarios.kit import (
    ended,
    idle,
    offered,
    refused,
    run_of,
    start,
    stop,
    streaming,
)

rule = pytest.mark.rule


async def test_a_chat_without_a_title_is_titled_by_its_first_message(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    untitled, titled = await server.chat(), await server.chat("  My title ")
    await server.ask(untitled.id, "  What\n is   this? " + "x" * 100)
    await server.ask(titled.id, "What is that?")
    title = (await server.services.chats.get(server.user_id, untitled.id)).title
    assert title == ("What is this? " + "x" * 100)[:60]
    assert (await server.services.chats.get(server.user_id, titled.id)).title == "My title"
    renamed = await server.services.chats.change(server.user_id, untitled.id, ChatPatch(title=" New "))
    assert renamed.title == "New"
    assert renamed.model == "test/m"


async def test_regenerating_makes_a_sibling_and_shows_it(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk)
    await desk.finish(offer, 0, "stop", text_line("first"))
    again = await start(server, offer.chat_id, mode="regenerate", parent_id=offer.message_id)
    second = await desk.offer()
    assert [turn["content"] for turn in second.form_data["messages"]] == ["hello"]
    await desk.claim(second)
    await desk.finish(second, 0, "stop", text_line("second"))
    assert again.assistant_message.parent_id == started.assistant_message.parent_id
    view = await server.services.viewers.open("v", server.user_id, offer.chat_id, None)
    shown = view["snapshot"]
    assert [message["content"] for message in shown["messages"]] == ["hello", "second"]
    assert shown["siblings"][second.message_id] == [offer.message_id, second.message_id]
    assert (await server.answer(started)).content == "first"


async def test_a_first_message_is_written_anew_below_no_parent(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk)
    await desk.finish(offer, 0, "stop", text_line("first"))
    again = await start(server, offer.chat_id, message="hello, rather", parent_id=None)
    assert again.user_message is not None
    assert again.user_message.parent_id is None
    below_the_head = await start(server, (await server.chat()).id, message="the first of another chat")
    assert below_the_head.user_message is not None
    assert below_the_head.user_message.parent_id is None
    assert started.user_message is not None
    siblings = (await server.store.chat_log.view(offer.chat_id, limit=10)).siblings  # type: ignore[union-attr]
    assert siblings[again.user_message.id] == [started.user_message.id, again.user_message.id]


async def test_continuing_adds_to_the_same_message_after_what_it_has(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk)
    await desk.finish(offer, 0, "length", text_line("one "))
    more = await start(server, offer.chat_id, mode="continue", parent_id=offer.message_id)
    assert more.assistant_message.id == offer.message_id
    second = await desk.offer()
    said = [(turn["role"], turn["content"]) for turn in second.form_data["messages"]]
    assert said == [("user", "hello"), ("assistant", "one ")]
    await desk.claim(second)
    await desk.send(second, 0, text_line("two "))
    view = await server.services.viewers.open("v", server.user_id, offer.chat_id, None)
    assert view["snapshot"]["messages"][-1]["content"] == "one two "
    await desk.finish(second, 1, "stop", text_line("three"))
    assert (await server.answer(more)).content == "one two three"
    assert (await run_of(server, started)).state == "done"


async def test_continuing_what_was_stopped_begins_with_what_was_kept(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("kept "))
    await stop(server, started)
    await desk.told()
    more = await start(server, offer.chat_id, mode="continue", parent_id=offer.message_id)
    second = await desk.offer()
    await desk.claim(second)
    await desk.finish(second, 0, "stop", text_line("and more"))
    assert await ended(server, more) == ("done", None, "kept and more")


async def test_the_history_is_that_of_the_branch(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk)
    await desk.finish(offer, 0, "stop", text_line("A1"))
    assert started.user_message is not None
    await start(server, offer.chat_id, mode="regenerate", parent_id=offer.message_id)
    second = await desk.offer()
    await desk.claim(second)
    await desk.finish(second, 0, "stop", text_line("A2"))
    await start(server, offer.chat_id, message="next", parent_id=offer.message_id)
    third = await desk.offer()
    assert [turn["content"] for turn in third.form_data["messages"]] == ["hello", "A1", "next"]
    switched = await server.services.chats.change(server.user_id, offer.chat_id, ChatPatch(head_id=second.message_id))
    assert switched.head_id == second.message_id


@rule("R7")
async def test_several_runs_of_one_chat_go_on_at_once_and_never_mix(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    first, one = await offered(server, desk)
    assert first.user_message is not None
    second = await start(server, one.chat_id, mode="regenerate", parent_id=first.user_message.id)
    two = await desk.offer()
    await desk.claim(one)
    await desk.claim(two)
    for index in range(5):
        await asyncio.gather(
            desk.send(one, index, text_line(f"a{index}")), desk.send(two, index, text_line(f"b{index}"))
        )
    await asyncio.gather(desk.send(one, 5, DONE), desk.send(two, 5, DONE))
    assert await ended(server, first) == ("done", None, "a0a1a2a3a4")
    assert await ended(server, second) == ("done", None, "b0b1b2b3b4")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, "bad_request"),
        ({"mode": "regenerate", "message": "x"}, "bad_request"),
        ({"mode": "continue", "parent_id": "nobody"}, "not_found"),
        ({"message": "x", "parent_id": "nobody"}, "not_found"),
    ],
)
async def test_a_run_that_makes_no_sense_leaves_nothing_behind(
    server: MemoryServer, desk: ScriptedExecutor, asked: dict[str, str], code: str
) -> None:
    chat = await server.chat()
    with refused(code):
        await start(server, chat.id, **asked)
    assert (await server.store.chat_log.messages(server.user_id, chat.id)).messages == ()
    assert idle(server, desk.session_id)


# --- how much is read --------------------------------------------------------------------------------


class ReadLog(MemoryChatLog):
    """A log that notes which messages were asked for, and how."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def messages(self, user_id: int, chat_id: int, **what: Any) -> Piece:
        self.asked.append("the whole tree")
        return await super().messages(user_id, chat_id, **what)

    async def links(self, user_id: int, chat_id: int) -> tuple[Link, ...]:
        self.asked.append("all links")
        return await super().links(user_id, chat_id)

    async def branch(self, user_id: int, chat_id: int, leaf_id: str, **what: Any) -> Piece:
        self.asked.append(f"the branch of {leaf_id}")
        return await super().branch(user_id, chat_id, leaf_id, **what)


@rule("E2")
@pytest.mark.parametrize("mode", ["reply", "regenerate", "continue"])
async def test_of_a_chat_with_many_branches_an_answer_reads_its_own(mode: str) -> None:
    log = ReadLog()
    async with MemoryServer(store=MemoryStore(log)) as server:
        desk = ScriptedExecutor(server)
        await desk.connect()
        chat = await server.chat()
        for name in ("a", "b", "c"):
            asked = NewMessage(id=f"q-{name}", role="user", content=f"question {name}", parent_id=None)
            answered = NewMessage(id=f"a-{name}", role="assistant", content=f"answer {name}", parent_id=asked.id)
            for new in (asked, answered):
                await server.services.messages.add(server.user_id, chat.id, new)
        log.asked.clear()
        said = {"message": "and then?"} if mode == "reply" else {}
        started = await start(server, chat.id, mode=mode, parent_id="a-b", **said)
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.finish(offer, 0, "stop", text_line("so"))
        await ended(server, started)
        assert [turn["content"] for turn in offer.form_data["messages"]] == {
            "reply": ["question b", "answer b", "and then?"],
            "regenerate": ["question b"],
            "continue": ["question b", "answer b"],
        }[mode]
        # It is measured before it is taken in. The other answers to a question are found by the links, without text.
        before = ["all links"] if mode == "regenerate" else ["the branch of a-b"]
        assert log.asked == [*before, f"the branch of {offer.message_id}"]
