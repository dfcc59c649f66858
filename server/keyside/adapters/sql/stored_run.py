"""How a run is written in its row, with a version: fields may get other names in the core, and not in here.

Form 2 is what `dump` writes. Form 1 has no "v"; it is read only, and its names stay what they were then.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from keyside.core.assignment import Assignment
from keyside.core.deadline import deadline_of
from keyside.core.frames import EndMark
from keyside.core.limits import Deadline, Limits
from keyside.core.run import Run, RunRequest, State
from keyside.protocol.entities import Failure, Message

FORM = 2
_NEVER = float("inf")
_CALLER_GRACE = 30.0
"""Form 1 has no grace for callers: a call with an idempotency key had this one, another had none."""


def dump(run: Run) -> str:
    """The run as JSON. A number that JSON does not know, such as a time that never comes, is null."""
    stored = {
        "v": FORM,
        "id": run.id,
        "user_id": run.user_id,
        "chat_id": run.chat_id,
        "message_id": run.message_id,
        "request": _request(run.request),
        "created_at": run.created_at,
        "waits_until": run.waits_until,
        "prefix": run.prefix and run.prefix.model_dump(),
        "state": run.state.value,
        "version": run.version,
        "attempt": run.attempt,
        "assignment": run.assignment and _assignment(run.assignment),
        "channel": run.channel,
        "tried": sorted(run.tried),
        "rounds": run.rounds,
        "refusal": run.refusal and _failure(run.refusal),
        "callers": sorted(run.callers),
        "unfollowed_at": run.unfollowed_at,
        "since": run.since,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "expected": run.expected,
        "heard_at": run.heard_at,
        "end_mark": run.end_mark and _end_mark(run.end_mark),
        "finish_reason": run.finish_reason,
        "failure": run.failure and _failure(run.failure),
        "closed_by": run.closed_by,
        "deadline": run.deadline and {"at": run.deadline.at, "code": run.deadline.code},
    }
    return to_json(stored, inf_nan_mode="null").decode()


def _request(request: RunRequest) -> dict[str, Any]:
    return {
        "model": request.model,
        "provider": request.provider,
        "params": request.params,
        "session_id": request.session_id,
        "executor_id": request.executor_id,
        "prefer_executor_id": request.prefer_executor_id,
        "waits": request.waits,
        "wait_seconds": request.wait_seconds,
        "caller_grace": request.caller_grace,
        "first_line_timeout": request.first_line_timeout,
        "idle_timeout": request.idle_timeout,
        "hidden": request.hidden,
        "fingerprint": request.fingerprint,
    }


def _assignment(assignment: Assignment) -> dict[str, Any]:
    return {
        "key": assignment.key,
        "executor_id": assignment.executor_id,
        "name": assignment.name,
        "kind": assignment.kind,
        "session_id": assignment.session_id,
        "model": assignment.model,
        "provider": assignment.provider,
        "connection_id": assignment.connection_id,
        "announcement": assignment.announcement,
        "first_line_timeout": assignment.first_line_timeout,
        "idle_timeout": assignment.idle_timeout,
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {"code": failure.code, "message": failure.message, "retryable": failure.retryable}


def _end_mark(mark: EndMark) -> dict[str, Any]:
    return {"reason": mark.reason, "complete": mark.complete, "failure": mark.failure and _failure(mark.failure)}


# --- reading -----------------------------------------------------------------------------------------


def load(text: str, *, hidden: bool = False) -> Run:
    """The run that was written. `hidden` is for form 1, which does not say whether the run's chat is in no list."""
    stored = json.loads(text)
    form = stored.get("v", 1)
    if form == FORM:
        return _run_of(stored, _request_of(stored["request"]), _assignment_of(stored["assignment"]))
    if form == 1:
        return _run_of_form_1(stored, hidden)
    raise ValueError(f"a run is stored in form {form}, which this version does not know")


def _run_of(stored: Mapping[str, Any], request: RunRequest, assignment: Assignment | None) -> Run:
    """What both forms have by the same names, and form 2 alone, where it is there."""
    waits_until = stored.get("waits_until")
    return Run(
        id=stored["id"],
        user_id=stored["user_id"],
        chat_id=stored["chat_id"],
        message_id=stored["message_id"],
        request=request,
        created_at=stored["created_at"],
        waits_until=_NEVER if waits_until is None else waits_until,
        prefix=Message.model_validate(stored["prefix"]) if stored["prefix"] else None,
        state=State(stored["state"]),
        version=stored["version"],
        attempt=stored["attempt"],
        assignment=assignment,
        channel=stored["channel"],
        tried=frozenset(stored["tried"]),
        rounds=stored.get("rounds", 0),
        refusal=_failure_of(stored.get("refusal")),
        callers=frozenset(stored.get("callers", ())),
        unfollowed_at=stored.get("unfollowed_at"),
        since=stored["since"],
        started_at=stored["started_at"],
        ended_at=stored["ended_at"],
        expected=stored["expected"],
        heard_at=stored["heard_at"],
        end_mark=_end_mark_of(stored.get("end_mark")),
        finish_reason=stored["finish_reason"],
        failure=_failure_of(stored["failure"]),
        closed_by=stored["closed_by"],
        deadline=_deadline_of(stored.get("deadline")),
    )


def _request_of(stored: Mapping[str, Any]) -> RunRequest:
    return RunRequest(
        model=stored["model"],
        provider=stored["provider"],
        params=stored["params"],
        session_id=stored["session_id"],
        executor_id=stored["executor_id"],
        prefer_executor_id=stored["prefer_executor_id"],
        waits=stored["waits"],
        wait_seconds=stored["wait_seconds"],
        caller_grace=stored["caller_grace"],
        first_line_timeout=stored["first_line_timeout"],
        idle_timeout=stored["idle_timeout"],
        hidden=stored["hidden"],
        fingerprint=stored["fingerprint"],
    )


def _assignment_of(stored: Mapping[str, Any] | None) -> Assignment | None:
    if stored is None:
        return None
    return Assignment(
        key=stored["key"],
        executor_id=stored["executor_id"],
        name=stored["name"],
        kind=stored["kind"],
        session_id=stored["session_id"],
        model=stored["model"],
        provider=stored["provider"],
        connection_id=stored["connection_id"],
        announcement=stored["announcement"],
        first_line_timeout=stored["first_line_timeout"],
        idle_timeout=stored["idle_timeout"],
    )


def _failure_of(stored: Mapping[str, Any] | None) -> Failure | None:
    if stored is None:
        return None
    return Failure(code=stored["code"], message=stored["message"], retryable=stored["retryable"])


def _end_mark_of(stored: Mapping[str, Any] | None) -> EndMark | None:
    if stored is None:
        return None
    return EndMark(stored["reason"], stored["complete"], _failure_of(stored["failure"]))


def _deadline_of(stored: Mapping[str, Any] | None) -> Deadline | None:
    if stored is None:
        return None
    return Deadline(_NEVER if stored["at"] is None else stored["at"], stored["code"])


# --- form 1 ------------------------------------------------------------------------------------------


def _run_of_form_1(stored: Mapping[str, Any], hidden: bool) -> Run:
    ask, seat = stored["ask"], stored["seat"]
    grace = _CALLER_GRACE if stored["id"].startswith("key-") else 0.0
    later = {
        "caller_grace": grace if ask.get("caller") else None,
        "first_line_timeout": None,
        "idle_timeout": None,
        "hidden": hidden,
    }
    if seat is not None:
        seat = {"first_line_timeout": None, "idle_timeout": None, "announcement": seat["visit"], **seat}
    limits = Limits()
    rounds = max(stored["attempt"] - 1, 0)  # it waited longer after each attempt
    waits_until = stored["created_at"] + min(limits.queue, ask["wait_seconds"] or limits.queue)
    run = _run_of(
        {**stored, "end_mark": stored["mark"], "waits_until": waits_until, "deadline": None, "rounds": rounds},
        _request_of({**ask, **later}),
        _assignment_of(seat),
    )
    return replace(run, deadline=deadline_of(run, limits))
