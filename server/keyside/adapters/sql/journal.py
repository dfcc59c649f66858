"""The journal: one row for the lines of a transaction, of all runs that had some. It serves the next process (D3)."""

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson
from sqlalchemy import Connection

from keyside.adapters.sql.tail import StoredFrame, compress_at_once
from keyside.core.run import RunKey

INSERT = "INSERT INTO journal (body) VALUES (?)"


class Record(NamedTuple):
    """A frame in the journal, and whose it is."""

    key: RunKey
    chat_id: int
    frame: StoredFrame


def pack_records(records: Iterable[Record]) -> bytes:
    """The body of a row."""
    return compress_at_once(orjson.dumps([[*key, chat_id, *frame] for key, chat_id, frame in records]))


def unpack_records(body: bytes) -> Iterator[Record]:
    """What `pack_records` made."""
    for user_id, run_id, chat_id, *frame in orjson.loads(zlib.decompress(body)):
        yield Record((user_id, run_id), chat_id, StoredFrame(*frame))


def insert_row(connection: Connection, body: bytes) -> int:
    """Writes a row, and returns its id."""
    return int(connection.exec_driver_sql(INSERT, (body,)).lastrowid)


def delete_before(connection: Connection, id: int) -> None:
    """Deletes the rows with a smaller id."""
    connection.exec_driver_sql("DELETE FROM journal WHERE id < ?", (id,))
