"""Keyboards and phones."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.conftest import Visit
from tests.browser.kit.answers import SHORT, after
from tests.browser.kit.processes import Keyside
from tests.browser.kit.tab import Tab
from tests.browser.kit.upstream import Upstream

PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}


async def test_enter_sends_and_shift_enter_breaks_the_line(tab: Tab) -> None:
    await tab.page.reload()
    await expect(tab.composer).to_be_focused()
    await expect(tab.status).to_contain_text("This browser is ready")
    await tab.page.keyboard.type("Hello.")
    await tab.page.keyboard.press("Shift+Enter")
    await tab.page.keyboard.type("Are you there?")
    await expect(tab.composer).to_have_value("Hello.\nAre you there?")
    await tab.page.keyboard.press("Enter")
    await tab.reads(SHORT)
    await expect(tab.composer).to_have_value("")
    assert (await tab.stored())[0]["content"] == "Hello.\nAre you there?"


async def test_the_first_connection_leads_to_the_composer(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    tab = await (await visit()).sign_in(server)
    await tab.connect(model_server, key)
    await expect(tab.composer).to_be_focused()
    # After other visits to the settings one is where one was.
    await tab.get("settings").press("Enter")
    await expect(tab.get("connection")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await expect(tab.get("settings")).to_be_focused()


async def test_enter_without_a_connection_asks_for_one_and_keeps_the_text(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    tab = await (await visit()).sign_in(server)
    await expect(tab.status).to_have_text("No connection yet")
    await tab.composer.fill("Are you there?")
    await tab.composer.press("Enter")
    await tab.get("connection-provider").select_option("custom")
    await tab.get("connection-url").fill(model_server.url)
    await tab.get("connection-key").fill(key)
    await tab.get("connection-save").click()
    await expect(tab.get("connection")).to_have_count(1)
    await tab.page.keyboard.press("Escape")
    await expect(tab.composer).to_be_focused()
    await expect(tab.status).to_contain_text("This browser is ready")
    await tab.page.keyboard.press("Enter")
    await tab.reads(SHORT)


async def test_escape_closes_what_is_open_and_then_stops_the_answer(tab: Tab, model_server: Upstream) -> None:
    model_server.hold_after = 5
    await tab.composer.fill("Why are there tides?")
    await tab.composer.press("Enter")
    await tab.reads(after(5))
    await tab.get("settings").click()
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.locator("dialog[open]")).to_have_count(0)
    await expect(tab.answer).to_have_attribute("data-status", "streaming")
    await tab.page.keyboard.press("Escape")
    await (await model_server.chat()).until_left()
    await tab.ended("aborted")


async def test_what_is_typed_survives_a_reload(tab: Tab) -> None:
    await tab.composer.fill("Half a thou")
    await tab.page.reload()
    await expect(tab.composer).to_have_value("Half a thou")


async def test_a_model_is_found_and_chosen_by_keyboard(tab: Tab) -> None:
    await tab.get("model-picker").press("Enter")
    await expect(tab.get("model-search")).to_be_focused()
    await tab.page.keyboard.type("ghost")
    await expect(tab.get("model-option")).to_have_count(1)
    await tab.page.keyboard.press("Enter")
    await expect(tab.get("model-search")).to_have_count(0)
    await expect(tab.get("model-picker")).to_contain_text("ghost-1")


async def test_on_a_phone_the_list_is_a_drawer_and_everything_fits(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    tab = await (await visit(**PHONE)).sign_in(server)
    await tab.connect(model_server, key)
    await tab.composer.fill("Are you there?")
    await tab.get("send").tap()
    await tab.reads(SHORT)
    await expect(tab.get("new-chat")).not_to_be_in_viewport()
    await tab.get("menu").tap()
    await expect(tab.get("new-chat")).to_be_in_viewport()
    await expect(tab.chats).to_have_text(["Are you there?"])
    await tab.get("new-chat").tap()
    await expect(tab.get("new-chat")).not_to_be_in_viewport()
    await expect(tab.questions).to_have_count(0)
    await tab.get("menu").tap()
    await tab.chats.get_by_role("link").tap()
    await tab.reads(SHORT)
    assert await tab.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
