"""Converts between the rows of the tables and the records of the core."""

import json
from typing import Any

from pydantic import TypeAdapter

from keyside.adapters.sql.tables import ChatRow, MessageRow, RunRow
from keyside.core.run import ENDED, Run, State
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Connection, Message

_RUN = TypeAdapter(Run)
_CONNECTIONS = TypeAdapter(list[Connection])
_EXTRA = {"error", "tool_calls", "images", "citations"}
_MESSAGE = set(Message.model_fields) - _EXTRA


def message_values(user_id: int, message: Message) -> dict[str, Any]:
    """The column values of a message."""
    values = message.model_dump(include=_MESSAGE)
    extra = message.model_dump_json(include=_EXTRA, exclude_defaults=True)
    return {**values, "user_id": user_id, "extra": extra}


def message_of(row: MessageRow) -> Message:
    """The message of a row."""
    return Message.model_validate({name: getattr(row, name) for name in _MESSAGE} | json.loads(row.extra))


def is_open(run: Run) -> bool:
    """Whether a run can still change. An interrupted run can come back until it is closed (R4)."""
    return run.state not in ENDED or (run.state is State.INTERRUPTED and run.closed_by is None)


def run_values(run: Run) -> dict[str, Any]:
    """The column values of a run."""
    return {
        "user_id": run.user_id,
        "id": run.id,
        "chat_id": run.chat_id,
        "message_id": run.message_id,
        "state": run.state.value,
        "open": is_open(run),
        "version": run.version,
        "body": _RUN.dump_json(run).decode(),
    }


def run_of(row: RunRow) -> Run:
    """The run of a row. Its `expected` and `mark` can be outdated, because storing lines does not change the row."""
    return _RUN.validate_json(row.body)


def chat_of(row: ChatRow, running: bool) -> Chat:
    """The chat of a row."""
    assert row.id is not None
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
    """The connections of a text that `connections_json` returned."""
    return tuple(_CONNECTIONS.validate_json(text))
