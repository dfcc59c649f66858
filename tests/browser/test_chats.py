"""Chats are listed, renamed, deleted and switched between, also while an answer is being written."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit
from tests.browser.kit.answers import RIVERS, SHORT, TIDES, after
from tests.browser.kit.processes import Keyside
from tests.browser.kit.tab import Tab
from tests.browser.kit.upstream import Upstream


async def press(tab: Tab, button: str) -> None:
    """A button of the first chat in the list."""
    await tab.chats.first.hover()
    await tab.chats.first.get_by_test_id(button).click()


async def test_a_chat_is_named_after_its_first_message_and_can_be_renamed(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    await tab.send("Are you there?")
    await tab.reads(SHORT)
    await expect(tab.chats).to_have_text(["Are you there?"])
    second = await visitor.tab(tab.page.url)
    await press(tab, "rename-chat")
    await tab.get("chat-title").fill("A sign of life")
    await tab.get("chat-title").press("Enter")
    for one in (tab, second):
        await expect(one.chats).to_have_text(["A sign of life"])
        await expect(one.page).to_have_title("A sign of life · Keyside")
    await tab.page.reload()
    await expect(tab.chats).to_have_text(["A sign of life"])


async def test_a_deleted_chat_is_gone_everywhere_and_its_answer_is_stopped(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    model_server.hold_after = 5
    await tab.send("Why are there tides?")
    await tab.reads(after(5))
    second = await visitor.tab(tab.page.url)
    await second.reads(after(5))
    await press(tab, "delete-chat")
    await tab.get("confirm").click()
    await (await model_server.chat()).until_left()
    for one in (tab, second):
        await expect(one.chats).to_have_count(0)
    await expect(tab.composer).to_be_visible()
    assert tab.path == "/"
    await expect(second.page.get_by_text("There is no such chat.")).to_be_visible()


async def test_switching_chats_in_mid_answer_and_back_loses_nothing(tab: Tab, model_server: Upstream) -> None:
    model_server.hold_after = 5
    await tab.send("Why are there tides?")
    await tab.reads(after(5))
    await tab.get("new-chat").click()
    await tab.send("What are rivers?")
    await tab.reads(after(5, RIVERS))
    tides, rivers = await model_server.chat(0), await model_server.chat(1)
    await tides.let(9)
    await tab.chats.get_by_role("link", name="tides").click()
    await tab.reads(after(9))
    await rivers.let(None)
    await tides.let(12)
    await tab.reads(after(12))
    await tab.chats.get_by_role("link", name="rivers").click()
    await tab.reads(RIVERS)
    await tab.ended()
    await tides.let(None)
    await expect(tab.get("chat-running")).to_have_count(0)
    await tab.page.go_back()
    await tab.reads(TIDES)
    await tab.ended()
    assert len(model_server.chats) == 2


async def test_a_chat_of_nobody_is_said_to_be_gone(visit: Visit, server: Keyside) -> None:
    visitor = await visit()
    await visitor.sign_in(server)
    tab = await visitor.tab(f"{server.url}/c/4711")
    await expect(tab.page.get_by_text("There is no such chat. It may have been deleted.")).to_be_visible()
    await tab.page.get_by_role("main").get_by_role("button", name="New chat").click()
    await tab.ready()


@pytest.mark.rule("V1")
async def test_a_message_that_is_too_long_for_a_snapshot_is_completed(visit: Visit, server: Keyside) -> None:
    visitor = await visit()
    tab = await visitor.sign_in(server)
    api, headers = tab.page.request, {"origin": tab.origin}
    text = "It begins here." + "\n" * 1_000_000 + "It ends here."
    made = await api.post(f"{tab.origin}/api/chats", data={"title": "Long"}, headers=headers)
    path = f"{tab.origin}/api/chats/{(await made.json())['id']}/messages"
    assert (await api.post(path, data={"id": "long", "role": "user", "content": text}, headers=headers)).ok
    shown = tab.page.locator('[data-message-id="long"]')
    async with tab.holding("**/messages/long"):
        await tab.chats.first.click()
        await expect(tab.get("partial")).to_contain_text("is being loaded")
        await expect(shown).to_contain_text("It ends here.")
        await expect(shown).not_to_contain_text("It begins here.")
    await expect(shown).to_contain_text("It begins here.")
    await expect(tab.get("partial")).to_have_count(0)
