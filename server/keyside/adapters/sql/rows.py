"""Converts between the rows of the tables and the records of the core."""

import json
from contextlib import suppress
from typing import Any

from pydantic import TypeAdapter, ValidationError

from keyside.adapters.sql import stored_run
from keyside.adapters.sql.tables import RunRow
from keyside.core.run import AT_HOME, Run, State
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Connection, Message

_CONNECTIONS = TypeAdapter(list[Connection])
_EXTRA = {"error", "tool_calls", "images", "citations"}
_MESSAGE = set(Message.model_fields) - _EXTRA - {"partial"}


def message_values(user_id: int, message: Message) -> dict[str, Any]:
    """The column values of a message."""
    values = message.model_dump(include=_MESSAGE)
    extra = message.model_dump_json(include=_EXTRA, exclude_defaults=True)
    return {**values, "user_id": user_id, "extra": extra}


def message_of(row: Any) -> Message:
    """The message of a row, as an object or as plain columns."""
    return Message.model_validate({name: getattr(row, name) for name in _MESSAGE} | json.loads(row.extra))


def run_values(run: Run) -> dict[str, Any]:
    """The columns of a run."""
    waits = run.state is State.QUEUED or run.can_return
    return {
        "user_id": run.user_id,
        "id": run.id,
        "chat_id": run.chat_id,
        "message_id": run.message_id,
        "state": run.state.value,
        "open": not run.final,
        "held": run.state in AT_HOME or (run.state is State.QUEUED and bool(run.callers)),
        "deadline": run.deadline.at if waits and run.deadline else None,
        "executor": run.assignment.key if run.assignment and not run.final else None,
        "channel": run.channel,
        "version": run.version,
        "body": stored_run.dump(run),
    }


def run_of(row: RunRow, *, hidden: bool = False) -> Run:
    """The run of a row, as of its last change: its lines say more. `hidden` is whether its chat is in no list."""
    return stored_run.load(row.body, hidden=hidden)


def chat_of(row: Any, running: bool) -> Chat:
    """The chat of a row, as an object or as plain columns."""
    return Chat(
        id=row.id,
        title=row.title,
        head_id=row.head_id,
        model=row.model,
        running=running,
        created_at=iso(row.created_at),
        updated_at=iso(row.updated_at),
    )


def connections_json(connections: tuple[Connection, ...]) -> str:
    """JSON of connections, as stored in the executor table."""
    return _CONNECTIONS.dump_json(list(connections)).decode()


def connections_of(text: str) -> tuple[Connection, ...]:
    """The connections of a text that `connections_json` returned, maybe in an older version.

    One that is no connection today is left out: its executor announces it again.
    """
    found = []
    for one in json.loads(text):
        with suppress(ValidationError):
            found.append(Connection.model_validate(one))
    return tuple(found)
