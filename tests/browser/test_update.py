"""A page that was updated, beside one that was not: two builds in one browser never run two executors."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Serve, Visit
from tests.browser.kit.answers import RIVERS, SHORT, TIDES, after
from tests.browser.kit.recorder import Recorder
from tests.browser.kit.tab import Tab
from tests.browser.kit.upstream import BOUND, Upstream

NEWER_BUILD = """window.SharedWorker = class extends SharedWorker {
  constructor(url, { name, ...options }) { super(url, { name: name.replace(/@.*$/, "@newer"), ...options }); }
};"""
"""A page asks for the worker of its own build, by name."""
NEWER_WAITS = """async () =>
  (await navigator.locks.query()).pending.some(({ name }) => name.startsWith("keyside-executor-"))"""
READY = b"executor:ready"


@pytest.mark.rule("E12", "D2")
async def test_the_worker_of_a_newer_build_waits_until_the_older_one_has_finished(
    visit: Visit, serve: Serve, recorder: Recorder, model_server: Upstream, key: str
) -> None:
    server = await serve(public_url=f"http://127.0.0.1:{recorder.port}")
    recorder.target = server.port

    def announcers() -> int:
        return sum(READY in one.text for one in recorder.conversations)

    visitor = await visit()
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    call = await tab.begin(model_server)
    newer = Tab(await visitor.context.new_page())
    await newer.page.add_init_script(NEWER_BUILD)
    await newer.page.goto(tab.page.url)
    await newer.reads(after(5))
    await expect(newer.status).to_have_text("Running in this browser")
    # From the moment that the newer one waits, the older one takes no new run.
    await newer.page.wait_for_function(NEWER_WAITS)
    third = Tab(await visitor.context.new_page())
    await third.page.goto(server.url)
    await third.send("What are rivers?")
    await expect(third.get("waiting")).to_be_visible()
    await call.let(9)
    for one in (tab, newer):
        await one.reads(after(9))
    assert (announcers(), len(model_server.chats)) == (1, 1)
    await call.let(None)
    await recorder.until(lambda: announcers() == 2, BOUND)
    for one in (tab, newer):
        await one.reads(TIDES)
        await one.ended()
    await third.reads(RIVERS)
    await third.ended()
    # Pages of both builds are answered by the newer one.
    for number, one in enumerate((tab, newer), 3):
        await one.page.bring_to_front()
        await one.get("new-chat").click()
        await one.send("Are you there?")
        await one.reads(SHORT)
        await one.ended()
        assert len(model_server.chats) == number
    assert announcers() == 2
    assert len(await tab.executors()) == 1
    assert not call.left.is_set()
