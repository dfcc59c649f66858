"""The log as it stands in the database's file: which events are there, read without any of the server's queries."""

import json
import sqlite3
import zlib
from collections import defaultdict
from pathlib import Path


def gaps(data_dir: Path) -> list[str]:
    """What is missing: each chat's rows, lines and journal must hold every event from its floor to its head."""
    database = sqlite3.connect(f"file:{data_dir / 'keyside.db'}?mode=ro", uri=True)
    try:
        return _gaps(database)
    finally:
        database.close()


def _gaps(database: sqlite3.Connection) -> list[str]:
    events: dict[int, list[int]] = defaultdict(list)
    frames: dict[int, set[int]] = defaultdict(set)
    for chat_id, seq in database.execute("SELECT chat_id, seq FROM event"):
        events[chat_id].append(seq)
    for chat_id, body in database.execute("SELECT chat_id, body FROM lines"):
        frames[chat_id] |= {frame[0] for frame in json.loads(zlib.decompress(body))}
    for (body,) in database.execute("SELECT body FROM journal"):
        for _user_id, _run_id, chat_id, seq, *_ in json.loads(zlib.decompress(body)):
            frames[chat_id].add(seq)
    wrong = []
    for chat_id, seq, floor in database.execute("SELECT id, seq, floor FROM chat"):
        both = frames[chat_id] & set(events[chat_id])
        there = frames[chat_id] | set(events[chat_id])
        missing = set(range(floor + 1, max([seq, *there]) + 1)) - there
        if both or missing:
            wrong.append(f"chat {chat_id}: events {sorted(missing)[:5]} are missing, {sorted(both)[:5]} are double")
    return wrong
