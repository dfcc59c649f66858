"""The SQL log's queries for runs. Each goes by an index; the conditions of partial indexes stand in them literally."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Select, select, text
from sqlmodel import Session

from keyside.adapters.sql import stored_run
from keyside.adapters.sql.each import each
from keyside.adapters.sql.tables import CHAT, RUN
from keyside.core.run import Run

_RUNS = select(RUN.c.n, RUN.c.body, CHAT.c.hidden).join_from(RUN, CHAT, CHAT.c.id == RUN.c.chat_id)
_OPEN = text("run.open = 1")
_QUEUED = text("run.state = 'queued'")
_HELD = text("run.held = 1")
_OLDEST_FIRST = RUN.c.n


def _run_of(row: Any) -> Run:
    return stored_run.load(row.body, hidden=bool(row.hidden))


def _runs(session: Session, query: Select[Any]) -> tuple[Run, ...]:
    return tuple(_run_of(row) for row in session.connection().execute(query))


def load_run(session: Session, user_id: int, id: str) -> tuple[Run, ...]:
    """The run of a user with this id, if there is one."""
    return _runs(session, _RUNS.where(RUN.c.user_id == user_id, RUN.c.id == id))


def load_run_on(session: Session, channel: str) -> tuple[Run, ...]:
    """The run with this channel, if there is one."""
    return _runs(session, _RUNS.where(RUN.c.channel == channel).order_by(_OLDEST_FIRST).limit(1))


def load_runs_in(session: Session, chat_id: int, message_ids: Collection[str] | None = None) -> tuple[Run, ...]:
    """A chat's runs that have not ended for good; with `message_ids` those of these messages."""
    query = _RUNS.where(RUN.c.chat_id == chat_id, _OPEN)
    if message_ids is not None:
        query = query.where(RUN.c.message_id.in_(each(message_ids)))
    return _runs(session, query.order_by(_OLDEST_FIRST))


def load_named(session: Session, user_id: int, chat_id: int, ids: Collection[str]) -> dict[str, Run]:
    """Runs of a chat, by their ids."""
    query = _RUNS.where(RUN.c.user_id == user_id, RUN.c.id.in_(each(ids)))
    return {run.id: run for run in _runs(session, query) if run.chat_id == chat_id}


def load_runs_of(session: Session, executor: str) -> tuple[Run, ...]:
    """The runs that have not ended for good and were assigned to this executor last."""
    return _runs(session, _RUNS.where(RUN.c.executor == executor).order_by(_OLDEST_FIRST))


def load_queued(session: Session, user_id: int | None, after: int, limit: int) -> tuple[tuple[int, Run], ...]:
    """Queued runs behind a position, each with its own."""
    query = _RUNS.where(_OPEN, _QUEUED, RUN.c.n > after)
    if user_id is not None:
        query = query.where(RUN.c.user_id == user_id)
    rows = session.connection().execute(query.order_by(_OLDEST_FIRST).limit(limit))
    return tuple((int(row.n), _run_of(row)) for row in rows)


def load_due(session: Session, now: float, limit: int) -> tuple[Run, ...]:
    """Runs that have waited long enough, the first deadline first."""
    query = _RUNS.where(RUN.c.deadline <= now).order_by(RUN.c.deadline, RUN.c.n)
    return _runs(session, query.limit(limit))


def load_next_deadline(session: Session) -> float | None:
    """The first deadline of the runs that wait."""
    first = select(RUN.c.deadline).where(RUN.c.deadline < float("inf")).order_by(RUN.c.deadline).limit(1)
    found = session.connection().execute(first).scalar()
    return None if found is None else float(found)


def load_held(session: Session) -> tuple[Run, ...]:
    """The runs that a process has in hand: an executor does, or a caller waits."""
    return _runs(session, _RUNS.where(_HELD).order_by(_OLDEST_FIRST))


SHIFT = text(
    """
    UPDATE run SET
        deadline = deadline + :seconds,
        body = json_set(body,
            '$.since', json_extract(body, '$.since') + :seconds,
            '$.heard_at', json_extract(body, '$.heard_at') + :seconds,
            '$.started_at', json_extract(body, '$.started_at') + :seconds,
            '$.unfollowed_at', json_extract(body, '$.unfollowed_at') + :seconds,
            '$.waits_until', json_extract(body, '$.waits_until') + :seconds,
            '$.deadline.at', json_extract(body, '$.deadline.at') + :seconds)
    WHERE open = 1 AND state IN ('queued', 'interrupted')
    """
)
"""Moves the limits of the runs that wait; form 1 counts them from `since`, and does not look at the others."""
