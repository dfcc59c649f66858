"""Titles, branches, regenerating and continuing, and several runs of one chat."""

import asyncio

import pytest

from keyside.protocol.commands import ChatPatch
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
    assert await server.store.chat_log.messages(server.user_id, chat.id) == ()
    assert idle(server, desk.session_id)
