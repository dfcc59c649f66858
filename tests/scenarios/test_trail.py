"""The trail of a run in the server's log: one line for each of its steps, and nothing of what was said."""

import logging

import pytest

from keyside.testing import MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import streaming

SECRET = "canary-of-the-content"


def steps(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and step of each line of the trail, in order."""
    lines = [record for record in caplog.records if record.name == "keyside.services.trail"]
    return [(record.levelname, record.getMessage().split(": ")[1].split(" (")[0]) for record in lines]


async def test_each_step_of_a_run_is_one_line_without_content(
    server: MemoryServer, desk: ScriptedExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "keyside.services.trail")
    _, offer = await streaming(server, desk, text_line(SECRET), content=SECRET)
    await desk.disconnect()
    await desk.connect([(offer.run_id, offer.attempt)])
    await desk.finish(offer, 1)
    await settle()
    assert steps(caplog) == [
        ("INFO", "asked for"),
        ("INFO", "offered"),
        ("INFO", "called back"),
        ("INFO", "claimed"),
        ("WARNING", "suspended"),
        ("INFO", "resumed"),
        ("INFO", "done"),
    ]
    assert SECRET not in caplog.text
    assert f"run {offer.run_id}: done (attempt 1, executor desk, code None, " in caplog.text


async def test_a_step_that_failed_is_a_warning_with_its_code(
    server: MemoryServer, desk: ScriptedExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "keyside.services.trail")
    server.calls.answers[desk.session_id] = lambda data: {
        "status": False,
        "run_id": data["run_id"],
        "attempt": data["attempt"],
        "error": {"code": "executor_busy", "message": SECRET, "retryable": True},
    }
    await server.ask((await server.chat()).id)
    await settle()
    assert ("WARNING", "refused") in steps(caplog)
    assert ("WARNING", "queued again") in steps(caplog)
    assert "code executor_busy" in caplog.text
    assert SECRET not in caplog.text
