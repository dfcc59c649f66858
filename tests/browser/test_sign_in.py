"""A browser is signed in by a one-time link, and by nothing else."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit
from tests.browser.kit.processes import Keyside

REFUSED = "status of 401"


@pytest.mark.rule("C2")
async def test_a_link_signs_in_and_its_code_is_taken_out_of_the_address(visit: Visit, server: Keyside) -> None:
    tab = await (await visit()).tab(server.link)
    await tab.ready()
    assert tab.page.url == f"{server.url}/"
    assert await tab.page.evaluate("() => [history.length, location.hash]") == [2, ""]
    await tab.page.reload()
    await tab.ready()


async def test_fetching_a_link_as_a_preview_does_does_not_spend_it(visit: Visit, server: Keyside) -> None:
    visitor = await visit()
    preview = await visitor.context.request.get(server.link)
    assert preview.ok
    assert "set-cookie" not in preview.headers
    await visitor.sign_in(server)


async def test_a_link_that_was_used_already_says_so_in_plain_words(visit: Visit, server: Keyside) -> None:
    await (await visit()).sign_in(server)
    late = await visit()
    late.expected.append(REFUSED)
    tab = await late.tab(server.link)
    await expect(tab.page.get_by_role("alert")).to_contain_text("This sign-in link was used already or is too old.")
    await expect(tab.composer).to_have_count(0)
    assert tab.page.url == f"{server.url}/"


async def test_a_link_can_be_pasted_where_it_cannot_be_opened(visit: Visit, server: Keyside) -> None:
    visitor = await visit()
    visitor.expected.append(REFUSED)
    tab = await visitor.tab(server.url)
    await tab.get("signin-code").fill(server.link)
    await tab.get("signin-submit").click()
    await tab.ready()


@pytest.mark.rule("S2")
async def test_signing_out_stops_the_executor_of_this_browser(visit: Visit, server: Keyside) -> None:
    visitor = await visit()
    visitor.expected.append(REFUSED)
    tab = await visitor.sign_in(server)
    other = await (await visit()).sign_in(await tab.link_for_another_device())
    await expect(tab.status).to_contain_text("No connection yet")
    await tab.get("settings").click()
    await tab.get("settings-devices").click()
    await tab.get("sign-out").click()
    await expect(tab.get("signin-code")).to_be_visible()
    await tab.page.reload()
    await expect(tab.get("signin-code")).to_be_visible()
    assert sum(one["online"] for one in await other.executors()) == 1
