"""The trail of a run in the server's log: one line for each of its steps, and nothing of what was said."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keyside.testing import MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import start, streaming

SECRET = "canary-of-the-content"


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "keyside.services.trail")


def trail(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and text of each line of the trail, in order."""
    lines = [record for record in caplog.records if record.name == "keyside.services.trail"]
    return [(record.levelname, record.getMessage()) for record in lines]


def busy(data: dict[str, Any]) -> dict[str, Any]:
    """A callback that turns the offer down for now."""
    error = {"code": "executor_busy", "message": SECRET, "retryable": True}
    return {"status": False, "run_id": data["run_id"], "attempt": data["attempt"], "error": error}


def slow(server: MemoryServer, seconds: float) -> Any:
    """The server's way to executors, on which each callback takes so long."""
    fast = server.calls.call

    async def call(session_id: str, make: Callable[[], Awaitable[dict[str, Any]]]) -> Any:
        answer = await fast(session_id, make)
        await server.clock.sleep(seconds)
        return answer

    return call


async def test_each_step_of_a_run_is_one_line_without_content(
    server: MemoryServer, desk: ScriptedExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    _, offer = await streaming(server, desk, text_line(SECRET), content=SECRET, run_id="r-1")
    await server.clock.advance(1.5)
    await desk.disconnect()
    await server.clock.advance(2)
    await desk.connect([(offer.run_id, offer.attempt)])
    await server.clock.advance(3.25)
    await desk.finish(offer, 1)
    await settle()
    assert trail(caplog) == [
        ("INFO", "run r-1: asked for (attempt 0, executor None, code None, 0 ms)"),
        ("INFO", "run r-1: offered (attempt 1, executor desk, code None, 0 ms)"),
        ("INFO", "run r-1: called back (attempt 1, executor desk, code None, 0 ms)"),
        ("INFO", "run r-1: claimed (attempt 1, executor desk, code None, 0 ms)"),
        ("WARNING", "run r-1: suspended (attempt 1, executor desk, code executor_lost, 1500 ms)"),
        ("INFO", "run r-1: resumed (attempt 1, executor desk, code None, 2000 ms)"),
        ("INFO", "run r-1: done (attempt 1, executor desk, code None, 3250 ms)"),
    ]
    assert SECRET not in caplog.text


async def test_each_attempt_leaves_its_lines_with_how_long_they_took_and_a_warning_where_it_failed(
    server: MemoryServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.calls, "call", slow(server, 0.25))
    desk, laptop, phone = (ScriptedExecutor(server, executor_id=name) for name in ("desk", "laptop", "phone"))
    for executor in (desk, laptop, phone):
        await executor.connect()
        await executor.disconnect()
    desk.says = busy
    await start(server, (await server.chat()).id, message=SECRET, run_id="r-1")
    await server.clock.advance(5)
    await desk.connect()
    await server.clock.advance(1)
    await laptop.connect()  # it calls back, and does not claim the offer
    await server.clock.advance(14)
    await phone.connect()
    await server.clock.advance(2)
    await phone.claim(await phone.offer())
    await server.clock.advance(121)  # and then it is silent
    assert trail(caplog) == [
        ("INFO", "run r-1: asked for (attempt 0, executor None, code None, 0 ms)"),
        ("INFO", "run r-1: offered (attempt 1, executor desk, code None, 5000 ms)"),
        ("WARNING", "run r-1: refused (attempt 1, executor desk, code executor_busy, 250 ms)"),
        ("WARNING", "run r-1: queued again (attempt 1, executor desk, code executor_busy, 250 ms)"),
        ("INFO", "run r-1: offered (attempt 2, executor laptop, code None, 750 ms)"),
        ("INFO", "run r-1: called back (attempt 2, executor laptop, code None, 250 ms)"),
        ("WARNING", "run r-1: queued again (attempt 2, executor laptop, code callback_timeout, 10500 ms)"),
        ("INFO", "run r-1: offered (attempt 3, executor phone, code None, 3500 ms)"),
        ("INFO", "run r-1: called back (attempt 3, executor phone, code None, 250 ms)"),
        ("INFO", "run r-1: claimed (attempt 3, executor phone, code None, 2000 ms)"),
        ("WARNING", "run r-1: failed (attempt 3, executor phone, code executor_silent, 120000 ms)"),
    ]
    assert SECRET not in caplog.text
