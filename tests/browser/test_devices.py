"""Several devices of one account: each answers with its own connections, sleeps, goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, expect

from tests.browser.chromium import launch
from tests.browser.conftest import Serve, Visit, in_test
from tests.browser.kit.answers import RIVERS, SHORT, TIDES, after
from tests.browser.kit.laptop import Laptop, first_process
from tests.browser.kit.processes import Keyside
from tests.browser.kit.recorder import Recorder
from tests.browser.kit.tab import Tab, Visitor, visitor
from tests.browser.kit.upstream import Call, Upstream, gate
from tests.browser.test_network import NETWORK_GONE, PHONE
from tests.browser.test_survival import WITHOUT_EXTENDED_LIFETIME

SLEEP = 4
"""Seconds that the browser stays suspended if there is no event to wait for."""


@in_test
async def laptop(browser: Browser, serve: Serve, recorder: Recorder, model_server: Upstream) -> AsyncIterator[Laptop]:
    """A browser for one test. It requests the fixture `servers`, so that the servers outlive it."""
    own = await launch(browser.browser_type)
    try:
        made = Laptop(await visitor(own, (), {}), await first_process(own))
        yield made
    finally:
        await own.close()
    assert made.visitor.unexpected() == []


@in_test
async def other_model_server(aimock: str) -> AsyncIterator[Upstream]:
    """The same provider at another address, so that its callers can be told from those of the first."""
    async with gate(aimock) as made:
        yield made


@dataclass
class Pair:
    """Two profiles of one account, each with a connection of its own for the same model."""

    home: Visitor
    tab: Tab
    other: Tab


async def pair(visit: Visit, server: Keyside, first: Upstream, second: Upstream, key: str) -> Pair:
    """Two devices that are ready, in chats of their own."""
    home = await visit()
    tab = await home.sign_in(server)
    other = await (await visit()).sign_in(await tab.link_for_another_device())
    await tab.connect(first, key)
    await other.get("settings").click()
    await other.connect(second, key)
    return Pair(home, tab, other)


@pytest.mark.rule("R2", "V2", "D2")
async def test_two_browsers_of_one_account_answer_their_own_questions_at_once(
    visit: Visit, server: Keyside, model_server: Upstream, other_model_server: Upstream, key: str
) -> None:
    two = await pair(visit, server, model_server, other_model_server, key)
    tides = await two.tab.begin(model_server)
    rivers = await two.other.begin(other_model_server, "What are rivers?", RIVERS)
    for events in (9, 14):
        await tides.let(events)
        await rivers.let(events)
        await two.tab.reads(after(events))
        await two.other.reads(after(events, RIVERS))
    for tab in (two.tab, two.other):
        await expect(tab.status).to_contain_text("Running in this browser")
    await tides.let(None)
    await rivers.let(None)
    for tab, text in ((two.tab, TIDES), (two.other, RIVERS)):
        await tab.reads(text)
        await tab.ended()
        assert (await tab.stored())[1]["content"] == text
    assert (len(model_server.chats), len(other_model_server.chats)) == (1, 1)


@pytest.mark.rule("E1")
async def test_a_device_that_is_away_can_be_forgotten_after_a_question(
    visit: Visit, server: Keyside, model_server: Upstream, other_model_server: Upstream, key: str
) -> None:
    two = await pair(visit, server, model_server, other_model_server, key)
    await two.other.get("settings").click()
    await two.other.get("settings-devices").click()
    away = two.other.get("away-device")
    await expect(away).to_have_count(0)
    await two.home.context.close()
    await expect(away).to_have_count(1)
    await expect(away).to_contain_text("Chrome on Linux")
    await away.get_by_role("button", name="Forget").click()
    await two.other.page.get_by_role("button", name="Cancel").click()
    await expect(away).to_have_count(1)
    await away.get_by_role("button", name="Forget").click()
    await two.other.get("confirm").click()
    await expect(away).to_have_count(0)


@pytest.mark.rule("R4", "R5", "D2")
async def test_closing_one_of_two_browsers_in_mid_answer_leaves_the_other(
    visit: Visit, server: Keyside, model_server: Upstream, other_model_server: Upstream, key: str
) -> None:
    two = await pair(visit, server, model_server, other_model_server, key)
    tides = await two.tab.begin(model_server)
    rivers = await two.other.begin(other_model_server, "What are rivers?", RIVERS)
    await two.home.context.close()
    await tides.until_left()
    await rivers.let(None)
    await two.other.reads(RIVERS)
    await two.other.ended()
    # What the closed one was writing waits for it, and is not asked for again.
    await two.other.chats.get_by_role("link", name="tides").click()
    await two.other.reads(after(5))
    await expect(two.other.status).to_contain_text("to come back")
    await expect(two.other.get("suspended")).to_contain_text("Waiting for Chrome on Linux to come back.")
    await two.other.get("stop-waiting").click()
    await two.other.ended("aborted")
    await two.other.get("new-chat").click()
    await two.other.send("Are you there?")
    await two.other.reads(SHORT)
    assert (len(model_server.chats), len(other_model_server.chats)) == (1, 2)


@pytest.mark.rule("D2")
async def test_a_laptop_that_sleeps_for_a_moment_in_mid_answer_loses_nothing(
    laptop: Laptop, server: Keyside, model_server: Upstream, key: str
) -> None:
    tab = await laptop.visitor.sign_in(server)
    await tab.connect(model_server, key)
    call = await tab.begin(model_server)
    with laptop.shut():
        await call.let(None)
        await asyncio.sleep(SLEEP)
    await tab.reads(TIDES)
    await tab.ended()
    assert (await tab.stored())[1]["content"] == TIDES
    assert len(model_server.chats) == 1
    assert not call.left.is_set()


@pytest.mark.rule("R4", "E1", "D2")
@pytest.mark.parametrize("grace", ["60", "1"], ids=["suspended", "interrupted"])
async def test_a_laptop_that_sleeps_until_its_connections_are_gone_finishes_its_answer(
    laptop: Laptop, visit: Visit, serve: Serve, recorder: Recorder, model_server: Upstream, key: str, grace: str
) -> None:
    server = await serve(public_url=f"http://127.0.0.1:{recorder.port}", resume_grace=grace)
    recorder.target, recorder.spared = server.port, PHONE.encode()
    laptop.visitor.expected += NETWORK_GONE
    other = await visit(user_agent=PHONE)
    other.expected += NETWORK_GONE
    tab = await laptop.visitor.sign_in(server)
    phone = await other.sign_in(await tab.link_for_another_device())
    await tab.connect(model_server, key)
    call = await tab.begin(model_server)
    await phone.chats.get_by_role("link").click()
    with laptop.shut():
        await recorder.cut_off()
        recorder.cut = False
        await call.let(None)
        if grace == "1":
            await phone.ended("interrupted")
        else:
            await expect(phone.get("suspended")).to_contain_text("to come back")
        await phone.reads(after(5))
    for one in (tab, phone):
        await one.reads(TIDES)
        await one.ended()
    assert (await tab.stored())[1]["content"] == TIDES
    assert len(model_server.chats) == 1


@pytest.mark.rule("R3")
@pytest.mark.parametrize("scripts", [(), (WITHOUT_EXTENDED_LIFETIME,)], ids=["extended", "plain"])
async def test_a_question_waits_until_the_browser_that_has_the_model_is_opened_again(
    visit: Visit, server: Keyside, model_server: Upstream, key: str, scripts: tuple[str, ...]
) -> None:
    home = await visit(*scripts)
    tab = await home.sign_in(server)
    await tab.connect(model_server, key)
    other = await (await visit()).sign_in(await tab.link_for_another_device())
    await expect(other.status).to_contain_text("Runs on")
    await tab.page.close()
    await expect(other.status).to_contain_text("Waits for")
    await other.send("Why are there tides?")
    await expect(other.get("waiting")).to_contain_text("Waiting for a device that has")
    await expect(other.status).to_contain_text("Waiting for a device that has")
    assert model_server.chats == []
    back = await home.tab(server.url)
    await other.reads(TIDES)
    await other.ended()
    await expect(back.chats).to_have_text(["Why are there tides?"])
    assert len(model_server.chats) == 1


@pytest.mark.rule("R3", "D2")
async def test_without_a_page_the_worker_finishes_what_it_has_and_takes_no_new_run(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    home, other, call = await left_alone(visit, server, model_server, key)
    await call.let(None)
    await call.until_ended()
    await other.chats.get_by_role("link", name="tides").click()
    await other.reads(TIDES)
    await other.ended()
    await other.chats.get_by_role("link", name="rivers").click()
    await expect(other.status).to_contain_text("Waiting for a device that has")
    assert len(model_server.chats) == 1
    await home.tab(server.url)
    await other.reads(RIVERS)
    await other.ended()
    assert len(model_server.chats) == 2


@pytest.mark.rule("R3", "D2")
async def test_a_page_that_comes_back_before_the_end_of_an_answer_brings_what_waited(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    home, other, call = await left_alone(visit, server, model_server, key)
    await home.tab(server.url)
    await other.reads(RIVERS)
    await other.ended()
    await call.let(None)
    await other.chats.get_by_role("link", name="tides").click()
    await other.reads(TIDES)
    await other.ended()
    assert len(model_server.chats) == 2


async def left_alone(visit: Visit, server: Keyside, model_server: Upstream, key: str) -> tuple[Visitor, Tab, Call]:
    """A browser whose last page was closed in mid-answer, another one whose question waits for it, and the answer."""
    home = await visit()
    tab = await home.sign_in(server)
    await tab.connect(model_server, key)
    other = await (await visit()).sign_in(await tab.link_for_another_device())
    call = await tab.begin(model_server)
    await tab.page.close()
    await other.send("What are rivers?")
    await expect(other.get("waiting")).to_be_visible()
    assert len(model_server.chats) == 1
    return home, other, call
