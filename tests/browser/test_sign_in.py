"""A browser is signed in by a one-time link and a click, and by nothing else."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.kit.answers import LURES
from tests.browser.kit.processes import Keyside
from tests.browser.kit.tab import Tab

REFUSED = "status of 401"


def calls(page: Page) -> list[str]:
    """The account calls of a page from now on: method and path."""
    made: list[str] = []
    page.on("request", lambda one: made.append(f"{one.method} {one.url}") if "/api/auth/" in one.url else None)
    return made


async def name_of(tab: Tab) -> str:
    """Who is signed in."""
    return str((await (await tab.page.request.get(f"{tab.origin}/api/auth/me")).json())["name"])


async def paste(tab: Tab, link: str) -> None:
    """An address is typed over that of the open page, which is not loaded again where only the fragment differs."""
    await tab.page.evaluate("(link) => { location.href = link }", link)


@pytest.mark.rule("C2")
async def test_a_link_signs_in_by_a_click_and_its_code_is_taken_out_of_the_address(
    visit: Visit, server: Keyside
) -> None:
    tab = await (await visit()).tab(server.link)
    await expect(tab.get("signin-link").get_by_role("heading")).to_have_text("Sign in as owner on this device?")
    assert tab.page.url == f"{server.url}/"
    assert await tab.page.evaluate("() => [history.length, location.hash]") == [2, ""]
    await tab.get("signin-confirm").click()
    await tab.ready()
    await tab.page.reload()
    await tab.ready()


async def test_a_scanner_that_loads_the_page_and_runs_its_scripts_spends_nothing(visit: Visit, server: Keyside) -> None:
    visitor = await visit()
    preview = await visitor.context.request.get(server.link)
    assert preview.ok
    assert "set-cookie" not in preview.headers
    scanner = await visit()
    for _ in range(2):
        tab = await scanner.tab(server.link)
        await expect(tab.get("signin-confirm")).to_be_visible()
        assert await scanner.context.cookies() == []
        await tab.page.close()
    await visitor.sign_in(server)


async def test_a_link_can_be_declined_and_stays_good(visit: Visit, server: Keyside) -> None:
    visitor = await visit()
    tab = await visitor.tab(server.link)
    await tab.get("signin-keep").click()
    await expect(tab.get("signin-code")).to_be_visible()
    await paste(tab, server.link)
    await tab.get("signin-confirm").click()
    await tab.ready()


async def test_a_link_that_was_used_already_says_so_in_plain_words(visit: Visit, server: Keyside) -> None:
    await (await visit()).sign_in(server)
    late = await visit()
    late.expected.append(REFUSED)
    other = await late.tab(server.link)
    await expect(other.page.get_by_role("alert")).to_contain_text("This sign-in link was used already or is too old.")
    await expect(other.composer).to_have_count(0)
    assert other.page.url == f"{server.url}/"


async def test_a_link_can_be_pasted_where_it_cannot_be_opened(visit: Visit, server: Keyside) -> None:
    visitor = await visit()
    visitor.expected.append(REFUSED)
    tab = await visitor.tab(server.url)
    # As older versions wrote it.
    await tab.get("signin-code").fill(server.link.replace("#signin=", "#"))
    await tab.get("signin-submit").click()
    await tab.get("signin-confirm").click()
    await tab.ready()


async def test_no_other_fragment_is_taken_for_a_code(visit: Visit, server: Keyside) -> None:
    code = server.link.rpartition("=")[2]
    visitor = await visit()
    visitor.expected.append(REFUSED)
    for fragment in (code, "user-content-fn-1", "signin=", f"x&signin={code}"):
        tab = await visitor.tab("about:blank")
        made = calls(tab.page)
        await tab.page.goto(f"{server.url}/#{fragment}")
        await expect(tab.get("signin-code")).to_be_visible()
        await paste(tab, f"{server.url}/#{code}")
        assert [one for one in made if one.startswith("POST")] == []
        await tab.page.close()


async def test_who_is_signed_in_already_is_asked_and_nothing_is_spent(visit: Visit, server: Keyside) -> None:
    visitor = await visit()
    tab = await visitor.sign_in(server)
    link = await tab.link_for_another_device()
    made = calls(tab.page)
    await paste(tab, link)
    await expect(tab.get("signin-link").get_by_role("heading")).to_have_text("You are signed in already")
    assert tab.page.url == f"{server.url}/"
    await tab.get("signin-keep").click()
    await tab.ready()
    assert [one.removeprefix(f"POST {server.url}") for one in made] == ["/api/auth/links/check"]
    other = await (await visit()).sign_in(link)
    assert await name_of(other) == "owner"


async def test_a_link_of_another_account_says_what_would_change_and_can_be_declined(
    visit: Visit, server: Keyside
) -> None:
    visitor = await visit()
    await visitor.sign_in(server)
    tab = await visitor.tab(await server.link_of("guest"))
    await expect(tab.get("signin-link").get_by_role("heading")).to_have_text("Switch to guest?")
    await expect(tab.get("signin-link")).to_contain_text("You are signed in as owner.")
    await tab.get("signin-keep").click()
    await tab.ready()
    assert await name_of(tab) == "owner"


@pytest.mark.rule("C2", "S2")
async def test_after_a_switch_no_tab_and_no_executor_is_left_of_the_account_before(
    visit: Visit, server: Keyside
) -> None:
    visitor = await visit()
    tab = await visitor.sign_in(server)
    other = await visitor.tab(server.url)
    await other.ready()
    await other.page.evaluate("() => { window.before = true }")
    await paste(tab, await server.link_of("guest"))
    await tab.get("signin-confirm").click()
    await tab.ready()
    assert await name_of(tab) == "guest"
    # The other tab's sign-in has ended. It notices, and begins again.
    await other.page.wait_for_function("() => !window.before")
    await other.get("settings").click()
    await other.get("settings-devices").click()
    await expect(other.page.get_by_text("Signed in as guest")).to_be_visible()
    await expect(other.get("sign-in")).to_have_count(1)
    # The executor of the account before, and its keys, are not connected for the guest.
    assert [one["online"] for one in await other.executors()] == [True]


async def test_a_sign_in_link_in_an_answer_is_only_text(tab: Tab) -> None:
    made = calls(tab.page)
    await tab.send("Any lures?")
    await tab.ended()
    await expect(tab.text.get_by_role("link", name="this")).to_be_visible()
    hrefs = await tab.text.get_by_role("link").evaluate_all("(links) => links.map((a) => a.getAttribute('href'))")
    assert [one for one in hrefs if "signin" in one] == []
    assert "https://example.org/#top" in hrefs
    before = tab.page.url
    for name in ("one", "two", "three"):
        await tab.text.get_by_text(name, exact=True).click()
    note = tab.text.locator("a[href^='#']").first
    await note.click()
    await note.press("Enter")
    assert tab.page.url == before
    await expect(tab.composer).to_be_visible()
    assert made == []
    assert (await tab.stored())[1]["content"] == LURES


async def test_a_footnote_scrolls_inside_its_own_message(tab: Tab) -> None:
    for count in (1, 2):
        await tab.send("Any lures?")
        await expect(tab.page.locator('[data-role="assistant"][data-status="sent"]')).to_have_count(count)
    await tab.page.evaluate("() => { Element.prototype.scrollIntoView = function () { window.shown = this; } }")
    await tab.text.locator("a[href^='#']").first.click()
    assert await tab.page.evaluate("() => window.shown.textContent.includes('Said below.')")
    assert await tab.text.evaluate("(message) => message.contains(window.shown)")


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
