"""What becomes of an answer when its tab, its worker or its server goes away."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Serve, Visit
from tests.browser.kit.answers import SECOND_HALF, SHORT, TIDES, after
from tests.browser.kit.processes import Keyside
from tests.browser.kit.tab import Tab
from tests.browser.kit.upstream import Upstream

WITHOUT_EXTENDED_LIFETIME = """window.SharedWorker = class extends SharedWorker {
  constructor(url, { extendedLifetime, ...options }) { super(url, options); }
};"""
"""Removes the option `extendedLifetime`, so that the worker ends with its last tab."""


async def begun(tab: Tab, model_server: Upstream, key: str) -> None:
    """Begins an answer, and holds it back in its middle."""
    await tab.connect(model_server, key)
    await tab.begin(model_server)


@pytest.mark.rule("V3", "D2")
async def test_a_reload_in_mid_answer_loses_nothing_and_goes_on(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    tab = await (await visit()).sign_in(server)
    await begun(tab, model_server, key)
    await tab.page.reload()
    await tab.reads(after(5))
    call = await model_server.chat()
    await call.let(9)
    await tab.reads(after(9))
    await call.let(None)
    await tab.reads(TIDES)
    await tab.ended()
    assert len(model_server.chats) == 1
    assert not call.left.is_set()
    assert (await tab.stored())[1]["content"] == TIDES


@pytest.mark.rule("D2")
async def test_the_answer_goes_on_while_no_tab_is_open(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    tab = await (await visit()).sign_in(server)
    await begun(tab, model_server, key)
    address = tab.page.url
    await tab.page.goto("about:blank")
    call = await model_server.chat()
    await call.let(None)
    await call.until_ended()
    await tab.page.goto(address)
    await tab.reads(TIDES)
    await tab.ended()
    assert len(model_server.chats) == 1


@pytest.mark.rule("D2")
@pytest.mark.parametrize("scripts", [(), (WITHOUT_EXTENDED_LIFETIME,)], ids=["extended", "plain"])
async def test_the_answer_goes_on_in_another_tab_when_the_one_that_began_it_is_closed(
    visit: Visit, server: Keyside, model_server: Upstream, key: str, scripts: tuple[str, ...]
) -> None:
    visitor = await visit(*scripts)
    tab = await visitor.sign_in(server)
    await begun(tab, model_server, key)
    second = await visitor.tab(tab.page.url)
    await second.reads(after(5))
    await tab.page.close()
    call = await model_server.chat()
    await call.let(9)
    await second.reads(after(9))
    await call.let(None)
    await second.reads(TIDES)
    await second.ended()
    assert len(model_server.chats) == 1


@pytest.mark.rule("R4", "E1")
async def test_an_answer_whose_worker_died_is_interrupted_and_can_be_continued(
    visit: Visit, serve: Serve, model_server: Upstream, key: str
) -> None:
    server = await serve(resume_grace="1")
    tab = await (await visit(WITHOUT_EXTENDED_LIFETIME)).sign_in(server)
    await begun(tab, model_server, key)
    await tab.page.reload()
    await tab.ended("interrupted")
    await (await model_server.chat()).until_left()
    await tab.reads(after(5))
    await expect(tab.answer).to_contain_text("The device that was writing this went away.")
    await expect(tab.get("regenerate")).to_be_visible()
    await tab.get("continue").click()
    await tab.reads(after(5) + SECOND_HALF)
    await tab.ended()
    call = await model_server.chat(1)
    assert [one["content"] for one in call.json["messages"]] == ["Why are there tides?", after(5)]
    assert (await tab.stored())[1]["content"] == after(5) + SECOND_HALF
    assert len(model_server.chats) == 2


@pytest.mark.rule("R4")
async def test_another_browser_sees_that_the_answer_was_interrupted_and_can_ask_again(
    visit: Visit, serve: Serve, model_server: Upstream, key: str
) -> None:
    server = await serve(resume_grace="1")
    home = await visit(WITHOUT_EXTENDED_LIFETIME)
    tab = await home.sign_in(server)
    other = await (await visit()).sign_in(await tab.link_for_another_device())
    await begun(tab, model_server, key)
    await other.chats.get_by_role("link").click()
    await other.reads(after(5))
    address = tab.page.url
    await tab.page.goto("about:blank")
    await other.ended("interrupted")
    await other.reads(after(5))
    await tab.page.goto(address)
    await expect(tab.status).to_contain_text("This browser is ready")
    await other.get("regenerate").click()
    await other.reads(TIDES)
    await other.ended()
    await expect(other.get("branches")).to_have_text("2/2")


@pytest.mark.rule("E1", "R8", "D2")
async def test_a_server_that_is_killed_in_mid_answer_loses_nothing(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    visitor.expected += ["ERR_CONNECTION_REFUSED", "WebSocket connection", "ERR_SOCKET_NOT_CONNECTED"]
    tab = await visitor.sign_in(server)
    await begun(tab, model_server, key)
    await server.kill()
    await expect(tab.status).to_contain_text("Offline")
    call = await model_server.chat()
    await call.let(None)
    await call.until_ended()  # while nobody could store it
    await server.restart()
    await tab.reads(TIDES)
    await tab.ended()
    assert len(model_server.chats) == 1
    assert (await tab.stored())[1]["content"] == TIDES


async def test_chats_and_connections_are_there_after_a_restart(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    visitor.expected += ["ERR_CONNECTION_REFUSED", "WebSocket connection", "ERR_SOCKET_NOT_CONNECTED"]
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    await tab.send("Are you there?")
    await tab.reads(SHORT)
    await tab.ended()
    await server.restart()
    await tab.page.reload()
    await expect(tab.questions).to_have_text(["Are you there?"])
    await tab.reads(SHORT)
    await expect(tab.chats).to_have_count(1)
    await expect(tab.status).to_contain_text("This browser is ready")
