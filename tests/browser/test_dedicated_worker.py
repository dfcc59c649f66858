"""Where a browser has no SharedWorker, each tab has a worker, and one of them runs the executor."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Serve, Visit
from tests.browser.kit.answers import TIDES, after
from tests.browser.kit.processes import Keyside
from tests.browser.kit.recorder import Recorder
from tests.browser.kit.upstream import BOUND, Upstream

WITHOUT_SHARED_WORKER = "delete window.SharedWorker;"
READY = b"executor:ready"


async def test_an_answer_runs_in_the_tabs_own_worker(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    tab = await (await visit(WITHOUT_SHARED_WORKER)).sign_in(server)
    await tab.connect(model_server, key)
    assert len(tab.page.workers) == 1
    model_server.hold_after = 4
    await tab.send("Why are there tides?")
    await tab.reads(after(4))
    await (await model_server.chat()).let(None)
    await tab.reads(TIDES)
    await tab.ended()


@pytest.mark.rule("E12")
async def test_of_two_tabs_one_runs_the_executor_and_the_other_takes_over_when_it_closes(
    visit: Visit, serve: Serve, recorder: Recorder, model_server: Upstream, key: str
) -> None:
    server = await serve(public_url=f"http://127.0.0.1:{recorder.port}")
    recorder.target = server.port

    def announcers() -> int:
        return sum(READY in one.text for one in recorder.conversations)

    visitor = await visit(WITHOUT_SHARED_WORKER)
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    second = await visitor.tab(server.url)
    await expect(second.status).to_contain_text("This browser is ready")
    # The second one's worker is there, and has read the vault; it has not announced itself.
    assert (len(tab.page.workers), len(second.page.workers), announcers()) == (1, 1, 1)
    await second.send("Why are there tides?")
    await second.reads(TIDES)
    assert announcers() == 1
    await tab.page.close()
    await recorder.until(lambda: announcers() == 2, BOUND)
    await second.get("new-chat").click()
    await second.send("Why are there tides, again?")
    await second.reads(TIDES)
    await second.ended()
    assert len(await second.executors()) == 1
