"""Databases and runs as an older version stored them."""

import json
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from keyside.adapters.sql.database import MIGRATIONS, Database

SEAT = {
    "key": "1/desk",
    "executor_id": "desk",
    "name": "Desk",
    "kind": "browser",
    "session_id": "s1",
    "model": "m",
    "provider": "test",
    "connection_id": "c1",
    "visit": "1/desk@s1#1",
}


def form_1(id: str = "r", *, ask: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A run in the form that had no version."""
    asked = {
        "model": "test/m",
        "provider": None,
        "params": {"t": 0.5},
        "session_id": None,
        "executor_id": None,
        "prefer_executor_id": None,
        "waits": True,
        "wait_seconds": None,
        "caller": False,
        "fingerprint": "",
        **(ask or {}),
    }
    fields = {
        "id": id,
        "user_id": 1,
        "chat_id": 1,
        "message_id": f"a-{id}",
        "ask": asked,
        "created_at": 1000.5,
        "prefix": None,
        "state": "queued",
        "version": 0,
        "attempt": 0,
        "seat": None,
        "channel": None,
        "tried": [],
        "since": 1000.5,
        "started_at": None,
        "ended_at": None,
        "expected": 0,
        "heard_at": 0.0,
        "mark": None,
        "finish_reason": None,
        "failure": None,
        "closed_by": None,
    }
    return {**fields, **more}


def attempted(id: str, state: str, **more: Any) -> dict[str, Any]:
    """A run in its first attempt, or after it."""
    fields = {
        "state": state,
        "version": 2,
        "attempt": 1,
        "seat": SEAT,
        "channel": f"c-{id}",
        "tried": ["1/desk@s1#1"],
        "since": 1010.0,
        "started_at": 1005.0,
        "heard_at": 1010.0,
    }
    return form_1(id, **{**fields, **more})


def make_first_database(path: Path, *bodies: dict[str, Any]) -> None:
    """A database of the first version with a hidden chat, and these runs in it, each with its message."""
    database = Database(path)
    with database.write() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO user VALUES (1, 'owner', 0)"))
        connection.execute(
            text("INSERT INTO chat VALUES (1, 1, '', NULL, NULL, 1, :seq, 0, 0, 0)"), {"seq": len(bodies)}
        )
        for seq, body in enumerate(bodies, 1):
            _insert(connection, seq, body)
    database.close()


def _insert(connection: Connection, seq: int, body: dict[str, Any]) -> None:
    state = body["state"]
    over = state in ("done", "failed", "aborted") or (state == "interrupted" and body["closed_by"] is not None)
    message = (
        "INSERT INTO message VALUES (:n, 1, :id, 1, NULL, 'assistant', '', '', 'sent', :run, NULL, NULL, NULL, NULL,"
    )
    connection.execute(
        text(message + " '{}', '1970-01-01T00:00:00.000Z', '1970-01-01T00:00:00.000Z')"),
        {"n": seq, "id": body["message_id"], "run": body["id"]},
    )
    connection.execute(
        text("INSERT INTO run VALUES (:n, 1, :id, 1, :message_id, :state, :open, :version, :body)"),
        {
            "n": seq,
            "id": body["id"],
            "message_id": body["message_id"],
            "state": state,
            "open": not over,
            "version": body["version"],
            "body": json.dumps(body),
        },
    )
    connection.execute(text("INSERT INTO event VALUES (1, :seq, 0, 'run', :id)"), {"seq": seq, "id": body["id"]})
