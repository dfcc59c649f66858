"""One answer, seen live and stopped from every tab and every browser of the account."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit
from tests.browser.kit.answers import TIDES, after
from tests.browser.kit.processes import Keyside
from tests.browser.kit.tab import Tab, Visitor
from tests.browser.kit.upstream import Upstream


async def second_tab(visitor: Visitor, tab: Tab) -> Tab:
    """Another tab of the same browser, with the same chat."""
    other = await visitor.tab(tab.page.url)
    await other.ready()
    return other


async def other_browser(visit: Visit, tab: Tab) -> Tab:
    """Another browser, signed in by a link from the settings, with the same chat."""
    other = await (await visit()).sign_in(await tab.link_for_another_device())
    await other.chats.get_by_role("link").first.click()
    await expect(other.questions).to_have_count(1)
    return other


async def signed_in(visitor: Visitor, server: Keyside, model_server: Upstream, key: str) -> Tab:
    """Its first tab."""
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    return tab


@pytest.mark.rule("V1", "V2", "V3")
async def test_an_answer_is_live_in_a_second_tab_and_in_another_browser(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    tab = await signed_in(visitor, server, model_server, key)
    await tab.begin(model_server)
    second, other = await second_tab(visitor, tab), await other_browser(visit, tab)
    await second.reads(after(5))
    await other.reads(after(5))
    await expect(tab.status).to_contain_text("Running in this browser")
    await expect(second.status).to_contain_text("Running in this browser")
    await expect(other.status).to_contain_text("Running on")
    call = await model_server.chat()
    for events in (9, 14):
        await call.let(events)
        for one in (tab, second, other):
            await one.reads(after(events))
            await expect(one.answer).to_have_attribute("data-status", "streaming")
    await call.let(None)
    for one in (tab, second, other):
        await one.reads(TIDES)
        await one.ended()
    assert len(model_server.chats) == 1


@pytest.mark.rule("E9", "R5")
async def test_stop_in_a_second_tab_ends_the_request_upstream(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    tab = await signed_in(visitor, server, model_server, key)
    await tab.begin(model_server)
    second = await second_tab(visitor, tab)
    await second.get("stop").click()
    await (await model_server.chat()).until_left()
    for one in (tab, second):
        await one.ended("aborted")
        await one.reads(after(5))


@pytest.mark.rule("E9", "R5")
async def test_stop_in_another_browser_ends_the_request_upstream(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    tab = await signed_in(await visit(), server, model_server, key)
    await tab.begin(model_server)
    other = await other_browser(visit, tab)
    await other.get("stop").click()
    await (await model_server.chat()).until_left()
    for one in (tab, other):
        await one.ended("aborted")
        await one.reads(after(5))


@pytest.mark.rule("R2")
async def test_a_browser_without_a_connection_asks_through_the_one_that_has_it(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    tab = await signed_in(await visit(), server, model_server, key)
    other = await (await visit()).sign_in(await tab.link_for_another_device())
    await expect(other.status).to_contain_text("Runs on")
    await other.send("Why are there tides?")
    await other.reads(TIDES)
    await other.ended()
    await tab.chats.get_by_role("link").first.click()
    await tab.reads(TIDES)
    assert model_server.chats[0].headers["authorization"] == f"Bearer {key}"


@pytest.mark.rule("R3")
async def test_a_question_waits_visibly_for_a_browser_that_is_away_and_can_be_cancelled(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    home = await visit()
    tab = await signed_in(home, server, model_server, key)
    other = await (await visit()).sign_in(await tab.link_for_another_device())
    await expect(other.status).to_contain_text("Runs on")
    await home.context.close()
    await expect(other.status).to_contain_text("Waits for")
    await other.send("Why are there tides?")
    await expect(other.get("waiting")).to_contain_text("Waiting for a device that has")
    await other.get("cancel").click()
    await other.ended("aborted")
    assert model_server.chats == []


@pytest.mark.rule("V4")
async def test_what_is_typed_in_one_tab_appears_in_the_list_of_another(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    tab = await signed_in(visitor, server, model_server, key)
    second = await visitor.tab(server.url)
    await second.ready()
    await tab.begin(model_server)
    await expect(second.chats).to_have_text(["Why are there tides?"])
    await expect(second.get("chat-running")).to_be_visible()
    await (await model_server.chat()).let(None)
    await expect(second.get("chat-running")).to_have_count(0)
