"""How runs are stored: nothing is lost, and what older versions stored is read."""

import json
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest

from keyside.adapters.sql.database import Database
from keyside.adapters.sql.doctor import examine
from keyside.adapters.sql.log import SqlChatLog
from keyside.adapters.sql.stored_run import dump, load
from keyside.adapters.sql.writer import SqlWriter
from keyside.core.assignment import Assignment
from keyside.core.changes import Changes
from keyside.core.frames import EndMark
from keyside.core.inputs import Offer, Resume
from keyside.core.limits import Deadline
from keyside.core.run import Run, RunRequest, State
from keyside.protocol.entities import Failure, Message
from tests.contracts.logs import ASSIGNMENT, OWNER, stepped
from tests.contracts.old_runs import SEAT, attempted, form_1, make_first_database

BROKEN = Failure(code="upstream_error", message="語🙂", retryable=True)
REQUEST = RunRequest(
    model="test/m",
    provider="test",
    params={"temperature": 0.5, "seed": 2**70, "messages": [{"content": "語🙂"}], "none": None},
    session_id="s",
    executor_id="e",
    prefer_executor_id="p",
    waits=False,
    wait_seconds=5.5,
    caller_grace=30.0,
    first_line_timeout=1.5,
    idle_timeout=2.5,
    hidden=True,
    fingerprint="f",
)
FULL_ASSIGNMENT = Assignment(
    key="1/desk",
    executor_id="desk",
    name="Desk",
    kind="companion",
    session_id="s1",
    model="m",
    provider="test",
    connection_id="c",
    announcement="1/desk@s1#1",
    first_line_timeout=3.5,
    idle_timeout=4.5,
)
PREFIX = Message(
    id="a",
    chat_id=3,
    parent_id="u",
    role="assistant",
    content="Once",
    status="error",
    error=BROKEN,
    created_at="1970-01-01T00:00:00.000Z",
    updated_at="1970-01-01T00:00:00.000Z",
)
FULL = Run(
    id="r",
    user_id=2,
    chat_id=3,
    message_id="a",
    request=REQUEST,
    created_at=1_700_000_000.123,
    waits_until=1_700_000_100.5,
    prefix=PREFIX,
    state=State.INTERRUPTED,
    version=7,
    attempt=2,
    assignment=FULL_ASSIGNMENT,
    channel="c",
    tried=frozenset({"x", "y"}),
    rounds=3,
    refusal=BROKEN,
    callers=frozenset({"k", "l"}),
    unfollowed_at=8.5,
    since=9.5,
    started_at=10.5,
    ended_at=11.5,
    expected=12,
    heard_at=13.5,
    end_mark=EndMark("stop", True, BROKEN),
    finish_reason="length",
    failure=BROKEN,
    closed_by="user",
    deadline=Deadline(14.5, "executor_lost"),
)


@pytest.mark.parametrize("record", [FULL, REQUEST, FULL_ASSIGNMENT])
def test_the_full_run_has_every_field(record: Any) -> None:
    for field in fields(record):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        assert getattr(record, field.name) != default, field.name


def test_a_run_comes_back_with_every_field() -> None:
    assert load(dump(FULL)) == FULL
    plain = Run(id="r", user_id=1, chat_id=1, message_id="a", request=RunRequest(model="m"), created_at=1.0)
    assert load(dump(plain)) == plain
    assert load(dump(replace(plain, deadline=Deadline(float("inf"), "no_executor")))).deadline == Deadline(
        float("inf"), "no_executor"
    )


def test_what_is_stored_is_json_that_sqlite_can_work_with() -> None:
    odd = replace(FULL, request=replace(REQUEST, params={"top": float("nan"), "more": float("inf")}))
    stored = json.loads(dump(odd), parse_constant=lambda name: pytest.fail(name))
    assert stored["request"]["params"] == {"top": None, "more": None}


def test_the_names_in_the_stored_form_stay_as_they_are() -> None:
    """Databases hold them. A field that is new is added here; another name makes a form 3."""
    stored = json.loads(dump(FULL))
    assert stored["v"] == 2
    assert " ".join(stored) == (
        "v id user_id chat_id message_id request created_at waits_until prefix state version attempt assignment "
        "channel tried rounds refusal callers unfollowed_at since started_at ended_at expected heard_at end_mark "
        "finish_reason failure closed_by deadline"
    )
    assert " ".join(stored["request"]) == (
        "model provider params session_id executor_id prefer_executor_id waits wait_seconds caller_grace "
        "first_line_timeout idle_timeout hidden fingerprint"
    )
    assert " ".join(stored["assignment"]) == (
        "key executor_id name kind session_id model provider connection_id announcement first_line_timeout idle_timeout"
    )
    assert " ".join(stored["end_mark"]) == "reason complete failure"
    assert " ".join(stored["failure"]) == "code message retryable"
    assert " ".join(stored["deadline"]) == "at code"


def test_a_form_of_a_later_version_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="form 3"):
        load(dump(FULL).replace('"v":2', '"v":3'))


# --- what older versions stored ----------------------------------------------------------------------


def test_a_run_of_form_1_is_read() -> None:
    mark = {"reason": "stop", "complete": False, "failure": {"code": "x", "message": "y", "retryable": False}}
    ask = {"provider": "test", "session_id": "s", "executor_id": "e", "prefer_executor_id": "p", "fingerprint": "f"}
    body = attempted("r", "suspended", ask=ask, prefix=PREFIX.model_dump(), mark=mark, expected=2)
    assert load(json.dumps(body), hidden=True) == Run(
        id="r",
        user_id=1,
        chat_id=1,
        message_id="a-r",
        request=RunRequest("test/m", "test", {"t": 0.5}, "s", "e", "p", hidden=True, fingerprint="f"),
        created_at=1000.5,
        waits_until=1000.5 + 86400,
        prefix=PREFIX,
        state=State.SUSPENDED,
        version=2,
        attempt=1,
        assignment=Assignment("1/desk", "desk", "Desk", "browser", "s1", "m", "test", "c1", "1/desk@s1#1"),
        channel="c-r",
        tried=frozenset({"1/desk@s1#1"}),
        since=1010.0,
        started_at=1005.0,
        expected=2,
        heard_at=1010.0,
        end_mark=EndMark("stop", False, Failure(code="x", message="y")),
        deadline=Deadline(1070.0, "executor_lost"),
    )


@pytest.mark.parametrize(
    ("id", "caller", "grace"), [("key-1-0", True, 30.0), ("r", True, 0.0), ("r", False, None), ("key-1-0", False, None)]
)
def test_a_call_of_form_1_has_the_grace_that_it_had(id: str, caller: bool, grace: float | None) -> None:
    run = load(json.dumps(form_1(id, ask={"caller": caller})))
    assert (run.request.caller_grace, run.callers, run.unfollowed_at) == (grace, frozenset(), None)


@pytest.mark.parametrize(
    ("wait_seconds", "until"), [(None, 87400.5), (0, 87400.5), (60.0, 1060.5), (200_000.0, 87400.5)]
)
def test_a_queued_run_of_form_1_waits_as_long_as_it_did(wait_seconds: float | None, until: float) -> None:
    run = load(json.dumps(form_1(ask={"wait_seconds": wait_seconds})))
    assert (run.waits_until, run.deadline) == (until, Deadline(until, "no_executor"))


@pytest.mark.rule("D1", "R8")
async def test_a_database_of_the_first_version_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "keyside.db"
    make_first_database(
        path,
        form_1("queued"),
        form_1("short", ask={"wait_seconds": 60.0}),
        form_1("none", ask={"wait_seconds": 0}),
        attempted("tried", "queued", attempt=2, started_at=None),
        form_1("called", ask={"caller": True}),
        attempted("offered", "offered", started_at=None),
        attempted("streaming", "streaming"),
        attempted("interrupted", "interrupted", ended_at=1010.0),
        attempted("closed", "interrupted", ended_at=1010.0, closed_by="server"),
        attempted("done", "done", ended_at=1010.0, closed_by="executor"),
    )
    database = Database(path)
    database.migrate()
    assert examine(database).findings == []
    writer = SqlWriter(database)
    log = SqlChatLog(database, writer)
    await log.start()
    queued = {run.id: run for _, run in await log.queued(OWNER)}
    assert list(queued) == ["queued", "short", "none", "tried", "called"]
    due = await log.due(1e9)
    assert [(run.id, run.deadline) for run in due] == sorted(
        ((run.id, run.deadline) for run in due), key=lambda found: found[1].at if found[1] else 0
    )
    assert {run.id for run in due} == {*queued, "interrupted"}
    for run in due:
        assert run.deadline is not None
        assert [one.id for one in await log.due(run.deadline.at) if one.id == run.id] == [run.id]
        assert run.id not in [one.id for one in await log.due(run.deadline.at - 0.25)]
    assert [run.id for run in await log.left_at_home()] == ["called", "offered", "streaming"]
    assert [run.id for run in await log.runs_of(SEAT["key"])] == ["tried", "offered", "streaming", "interrupted"]
    done = await log.run_on("c-done")
    assert done is not None
    assert (done.id, done.request.hidden) == ("done", True)
    # And they are changed as any other.
    back = await log.run(OWNER, "interrupted")
    assert back is not None
    offered = stepped(queued["queued"], Offer(ASSIGNMENT, "c-new"))
    await log.commit(Changes(OWNER, 1, 50, (offered, stepped(back, Resume(1)))))
    assert await log.run_on("c-new") == offered
    await log.shift_deadlines(100)
    assert {run.id: run.since for run in await log.due(1e9)}["tried"] == 1110.0
    await writer.close()
    assert examine(database).findings == []
    database.close()
