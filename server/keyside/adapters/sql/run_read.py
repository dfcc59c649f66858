"""The SQL log's queries for runs, built once. Each goes by an index, whose condition stands in it literally."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Select, bindparam, func, select, text, union_all
from sqlmodel import Session

from keyside.adapters.sql import stored_run
from keyside.adapters.sql.each import each, listed
from keyside.adapters.sql.tables import CHAT, REMOVED_RUN, RUN
from keyside.core.run import BOUND, Run
from keyside.services.ports import MOST_RUNS, RemovedRun

_OLDEST_FIRST = RUN.c.n
_OF_USER = RUN.c.user_id == bindparam("user_id")
_RUNS = select(RUN.c.n, RUN.c.body, CHAT.c.hidden).join_from(RUN, CHAT, CHAT.c.id == RUN.c.chat_id)
_OPEN = text("run.open = 1")

_ONE = _RUNS.where(_OF_USER, RUN.c.id == bindparam("id"))
_REMOVED = select(REMOVED_RUN.c.created_at, REMOVED_RUN.c.unanswered).where(
    REMOVED_RUN.c.user_id == bindparam("user_id"), REMOVED_RUN.c.id == bindparam("id")
)
_NUMBERED = union_all(
    *(
        select(table.c.id).where(
            table.c.user_id == bindparam("user_id"), table.c.id > bindparam("prefix"), table.c.id < bindparam("end")
        )
        for table in (RUN, REMOVED_RUN)
    )
)
_ON_CHANNEL = _RUNS.where(RUN.c.channel == bindparam("channel")).order_by(_OLDEST_FIRST).limit(1)
_IN_CHAT = _RUNS.where(RUN.c.chat_id == bindparam("chat_id"), _OPEN).order_by(_OLDEST_FIRST)
_OF_MESSAGES = _IN_CHAT.where(RUN.c.message_id.in_(each("message_ids")))
_OF_EXECUTOR = _RUNS.where(RUN.c.executor == bindparam("executor")).order_by(_OLDEST_FIRST)
_QUEUED = (
    _RUNS.where(_OPEN, text("run.state = 'queued'"), RUN.c.n > bindparam("after"))
    .order_by(_OLDEST_FIRST)
    .limit(bindparam("most"))
)
_QUEUED_OF_USER = _QUEUED.where(_OF_USER)
_DUE = _RUNS.where(RUN.c.deadline <= bindparam("now")).order_by(RUN.c.deadline, RUN.c.n).limit(bindparam("most"))
_NEXT_DEADLINE = select(RUN.c.deadline).where(RUN.c.deadline < float("inf")).order_by(RUN.c.deadline).limit(1)
_HELD = _RUNS.where(text("run.held = 1")).order_by(_OLDEST_FIRST)

_OUTLINE = func.json_replace(
    *(RUN.c.body, "$.request.params", func.json("{}"), "$.ask.params", func.json("{}"), "$.prefix", None)
)
"""A run's body without what may be large and is not shown."""
_OUTLINES = select(RUN.c.n, _OUTLINE.label("body"), CHAT.c.hidden).join_from(RUN, CHAT, CHAT.c.id == RUN.c.chat_id)
_NAMED = _OUTLINES.where(_OF_USER, RUN.c.id.in_(each("ids")))
_NUMBERS = select(RUN.c.n).where(RUN.c.chat_id == bindparam("chat_id"), _OPEN)
_NUMBERS_OF_MESSAGES = _NUMBERS.where(RUN.c.message_id.in_(each("message_ids")))
_NEWEST_NUMBERS = _NUMBERS.order_by(RUN.c.n.desc()).limit(MOST_RUNS)
_BY_NUMBER = _OUTLINES.where(RUN.c.n.in_(each("numbers"))).order_by(_OLDEST_FIRST)
_WRITING = _OUTLINES.where(
    RUN.c.chat_id == bindparam("chat_id"), _OPEN, RUN.c.state.in_([state.value for state in BOUND])
).order_by(_OLDEST_FIRST)


def _run_of(row: Any) -> Run:
    return stored_run.load(row.body, hidden=bool(row.hidden))


def _runs(session: Session, query: Select[Any], **values: Any) -> tuple[Run, ...]:
    return tuple(map(_run_of, session.connection().execute(query, values)))


def load_run(session: Session, user_id: int, id: str) -> tuple[Run, ...]:
    """The run of a user with this id, if there is one."""
    return _runs(session, _ONE, user_id=user_id, id=id)


def load_removed_run(session: Session, user_id: int, id: str) -> RemovedRun | None:
    """A removed run of a user, if it is known."""
    row = session.connection().execute(_REMOVED, {"user_id": user_id, "id": id}).first()
    return RemovedRun(row.created_at, row.unanswered) if row else None


def load_last_number(session: Session, user_id: int, prefix: str) -> int | None:
    """The greatest number behind this prefix in the ids of runs that are there or were removed."""
    values = {"user_id": user_id, "prefix": prefix, "end": prefix + ":"}  # what follows 9
    behind = (id.removeprefix(prefix) for id in session.connection().execute(_NUMBERED, values).scalars())
    return max((int(number) for number in behind if number.isdecimal()), default=None)


def load_run_on(session: Session, channel: str) -> tuple[Run, ...]:
    """The run with this channel, if there is one."""
    return _runs(session, _ON_CHANNEL, channel=channel)


def load_runs_in(session: Session, chat_id: int, message_ids: Collection[str] | None = None) -> tuple[Run, ...]:
    """A chat's runs that have not ended for good; with `message_ids` those of these messages."""
    if message_ids is None:
        return _runs(session, _IN_CHAT, chat_id=chat_id)
    return _runs(session, _OF_MESSAGES, chat_id=chat_id, message_ids=listed(message_ids))


def load_named(session: Session, user_id: int, chat_id: int, ids: Collection[str]) -> dict[str, Run]:
    """Outlines of runs of a chat, by their ids."""
    found = _runs(session, _NAMED, user_id=user_id, ids=listed(ids))
    return {run.id: run for run in found if run.chat_id == chat_id}


def load_writing(session: Session, chat_id: int) -> tuple[Run, ...]:
    """Outlines of a chat's runs that are bound to an executor."""
    return _runs(session, _WRITING, chat_id=chat_id)


def load_shown(session: Session, chat_id: int, message_ids: Collection[str]) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """Outlines of runs that have not ended for good: those of the messages and the newest of the chat; and all that
    are bound to an executor."""
    connection = session.connection()
    numbers = {*connection.execute(_NEWEST_NUMBERS, {"chat_id": chat_id}).scalars()}
    if len(numbers) < MOST_RUNS:  # these are all
        runs = tuple(load_numbered(session, numbers).values())
        return runs, tuple(run for run in runs if run.state in BOUND)
    values = {"chat_id": chat_id, "message_ids": listed(message_ids)}
    numbers.update(connection.execute(_NUMBERS_OF_MESSAGES, values).scalars())
    return tuple(load_numbered(session, numbers).values()), load_writing(session, chat_id)


def load_numbered(session: Session, numbers: Collection[int]) -> dict[int, Run]:
    """Outlines of the runs whose rows have these numbers, oldest first."""
    if not numbers:
        return {}
    rows = session.connection().execute(_BY_NUMBER, {"numbers": listed(numbers)})
    return {row.n: _run_of(row) for row in rows}


def load_runs_of(session: Session, executor: str) -> tuple[Run, ...]:
    """The runs that have not ended for good and were assigned to this executor last."""
    return _runs(session, _OF_EXECUTOR, executor=executor)


def load_queued(session: Session, user_id: int | None, after: int, limit: int) -> tuple[tuple[int, Run], ...]:
    """Queued runs behind a position, each with its own."""
    query, values = _QUEUED, {"after": after, "most": limit}
    if user_id is not None:
        query, values = _QUEUED_OF_USER, values | {"user_id": user_id}
    return tuple((int(row.n), _run_of(row)) for row in session.connection().execute(query, values))


def load_due(session: Session, now: float, limit: int) -> tuple[Run, ...]:
    """Runs that have waited long enough, the first deadline first."""
    return _runs(session, _DUE, now=now, most=limit)


def load_next_deadline(session: Session) -> float | None:
    """The first deadline of the runs that wait."""
    found = session.connection().execute(_NEXT_DEADLINE).scalar()
    return None if found is None else float(found)


def load_held(session: Session) -> tuple[Run, ...]:
    """The runs that a process has in hand: an executor does, or a caller waits."""
    return _runs(session, _HELD)


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
