"""What becomes of an answer when its page is left for a moment, or the network goes away and comes back."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Serve, Visit
from tests.browser.kit.answers import SHORT, TIDES, after
from tests.browser.kit.processes import Keyside
from tests.browser.kit.recorder import Recorder
from tests.browser.kit.tab import Tab, Visitor
from tests.browser.kit.upstream import Call, Reply, Upstream

NETWORK_GONE = ["net::ERR_", "WebSocket connection"]
"""Chromium's messages about a server that cannot be reached."""


ELSEWHERE = "<!doctype html><link rel=icon href=data:,><p>Another site"
PHONE = "A phone that has a network of its own"
"""The user agent of its browser."""


async def whole(tab: Tab, model_server: Upstream) -> None:
    """Checks that the answer is whole in the page and in the store, and was requested upstream once."""
    await tab.reads(TIDES)
    await tab.ended()
    assert (await tab.stored())[1]["content"] == TIDES
    assert len(model_server.chats) == 1


async def through(visitor: Visitor, serve: Serve, recorder: Recorder, **settings: str) -> Tab:
    """A tab that reaches its server through the recorder, which can be cut."""
    server = await serve(public_url=f"http://127.0.0.1:{recorder.port}", **settings)
    recorder.target = server.port
    visitor.expected += NETWORK_GONE
    return await visitor.sign_in(server)


async def test_text_is_shown_as_it_is_until_what_renders_it_can_be_loaded(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    visitor.expected += NETWORK_GONE
    renderer = re.compile(r"/assets/markdown-[^/]*\.js")
    await visitor.context.route(renderer, lambda route: route.abort())
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    await tab.send("How do I add two numbers?")
    await tab.ended()
    await expect(tab.text).to_contain_text("**how**")
    await visitor.context.unroute(renderer)
    await expect(tab.text.locator("strong")).to_have_text("how")


@pytest.mark.rule("D2", "V3")
@pytest.mark.parametrize("elsewhere", ["about:blank", "another origin"])
async def test_leaving_the_page_for_a_moment_in_mid_answer_loses_nothing(
    visit: Visit, server: Keyside, model_server: Upstream, key: str, elsewhere: str
) -> None:
    def page(call: Call) -> Reply | None:
        return (
            Reply(200, "text/html", "<!doctype html><link rel=icon href=data:,>") if "elsewhere" in call.path else None
        )

    model_server.reply = page
    tab = await (await visit()).sign_in(server)
    await tab.connect(model_server, key)
    call = await tab.begin(model_server)
    await tab.page.goto("about:blank" if elsewhere == "about:blank" else f"{model_server.url}/elsewhere")
    await call.let(9)  # while nobody looks
    await tab.page.go_back()
    await tab.reads(after(9))
    await call.let(None)
    await whole(tab, model_server)
    assert not call.left.is_set()


@pytest.mark.rule("D2", "E1", "V1")
async def test_an_answer_that_goes_on_while_the_network_is_gone_is_whole_when_it_is_back(
    visit: Visit, serve: Serve, recorder: Recorder, model_server: Upstream, key: str
) -> None:
    tab = await through(await visit(), serve, recorder)
    await tab.connect(model_server, key)
    call = await tab.begin(model_server)
    await recorder.cut_off()
    await expect(tab.status).to_have_text("Offline: reconnecting")
    await call.let(14)  # of the local network, which is still there
    recorder.cut = False
    await tab.reads(after(14))
    await expect(tab.status).to_contain_text("Running in this browser")
    await recorder.cut_off()
    await call.let(None)
    await call.until_ended()
    await expect(tab.status).to_have_text("Offline: reconnecting")
    await tab.reads(after(14))
    recorder.cut = False
    await whole(tab, model_server)
    await expect(tab.status).to_contain_text("This browser is ready")


@pytest.mark.rule("R4", "D2")
async def test_an_answer_that_was_interrupted_by_a_long_outage_is_finished_when_the_network_is_back(
    visit: Visit, serve: Serve, recorder: Recorder, model_server: Upstream, key: str
) -> None:
    tab = await through(await visit(), serve, recorder, resume_grace="1")
    phone = await (await visit(user_agent=PHONE)).sign_in(await tab.link_for_another_device())
    recorder.spared = PHONE.encode()
    await tab.connect(model_server, key)
    call = await tab.begin(model_server)
    await phone.chats.get_by_role("link").click()
    await phone.reads(after(5))
    await recorder.cut_off()
    await call.let(None)
    await call.until_ended()
    await phone.ended("interrupted")
    await phone.reads(after(5))
    recorder.cut = False
    await whole(tab, model_server)
    await whole(phone, model_server)


@pytest.mark.rule("V1", "V3", "D2")
async def test_a_page_that_is_offline_by_itself_catches_up_with_what_its_worker_went_on_with(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    visitor.expected += NETWORK_GONE
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    call = await tab.begin(model_server)
    await visitor.context.set_offline(True)  # the page's network; that of a SharedWorker is not emulated
    await expect(tab.status).to_have_text("Offline: reconnecting")
    await call.let(None)
    await call.until_ended()
    await tab.reads(after(5))
    await visitor.context.set_offline(False)
    await whole(tab, model_server)
    await expect(tab.status).to_contain_text("This browser is ready")


@pytest.mark.rule("D4", "D1")
async def test_a_store_that_is_away_is_said_until_it_is_back_and_nothing_is_lost(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    visitor.expected += ["503"]
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    second = await visitor.tab(server.url)
    await second.ready()
    call = await tab.begin(model_server)
    with server.store_away():
        await call.let(9)
        for one in (tab, second):
            await expect(one.status).to_contain_text("The server cannot store at the moment. Nothing is lost")
            await expect(one.status).to_have_attribute("data-tone", "bad")
        await tab.reads(after(5))
        await second.page.bring_to_front()
        await second.send("Are you there?")
        await expect(second.get("send-error")).to_contain_text("Your message was not sent.")
        await expect(second.composer).to_have_value("Are you there?")
    await tab.reads(after(9))
    await expect(tab.status).to_contain_text("Running in this browser")
    await expect(second.status).to_contain_text("This browser is ready")
    await call.let(None)
    await whole(tab, model_server)
    await second.get("retry").click()
    await second.reads(SHORT)


async def test_enter_before_the_models_are_known_sends_as_soon_as_they_are(tab: Tab) -> None:
    async with tab.holding("**/api/models"):
        await tab.page.reload()
        await expect(tab.get("model-picker")).to_have_text("Loading your models…")
        await tab.composer.fill("Are you there?")
        await tab.composer.press("Enter")
        await expect(tab.status).to_have_text("Your message is sent as soon as your models are loaded")
        await expect(tab.composer).to_have_value("Are you there?")
    await tab.reads(SHORT)
    await expect(tab.composer).to_have_value("")
    await expect(tab.questions).to_have_text(["Are you there?"])


async def test_a_text_that_is_changed_after_enter_is_not_sent_by_itself(tab: Tab) -> None:
    async with tab.holding("**/api/models"):
        await tab.page.reload()
        await tab.composer.fill("Are you there?")
        await tab.composer.press("Enter")
        await tab.composer.press("Backspace")
        await expect(tab.status).to_have_text("Loading your models…")
    await expect(tab.status).to_contain_text("This browser is ready")
    await expect(tab.composer).to_have_value("Are you there")
    await expect(tab.questions).to_have_count(0)
