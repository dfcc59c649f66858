"""Measures listing many chats, and opening a long one by HTTP and by socket."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import httpx
from sqlalchemy import insert
from sqlmodel import SQLModel

from keyside.adapters.sql.database import database_of
from keyside.adapters.sql.tables import ChatRow, MessageRow
from tests.benchmarks.keyside_stream import PATH
from tests.benchmarks.servers import Keyside
from tests.benchmarks.websocket import SocketIo

Row = dict[str, Any]
LONG = 5000
"""Messages of the long chat; each other chat has two."""
TIMES = 40
OWNER = 1
_TEXT = "The quick brown fox jumps over the lazy dog. " * 10
_BATCH = 10_000


async def sizes(folder: Path, counts: Sequence[int]) -> dict[str, Row]:
    """A row for each number of chats, with one long chat beside them: medians in milliseconds, taken in turns."""
    asking: list[_Asking] = []
    try:
        for count in counts:
            asking.append(await _Asking.of(folder / str(count), count))
        rows: dict[str, Row] = {f"{one.count:,} chats": {} for one in asking}
        for what in _Asking.QUESTIONS:
            found: dict[int, list[float]] = {one.count: [] for one in asking}
            for _ in range(TIMES):
                for one in asking:
                    at = perf_counter()
                    await getattr(one, what)()
                    found[one.count].append((perf_counter() - at) * 1e3)
            for count, times in found.items():
                rows[f"{count:,} chats"][f"{what}_ms"] = median(times)
    finally:
        for one in asking:
            await one.close()
    return rows


class _Asking:
    """A server with the given number of chats, and the requests that are measured."""

    QUESTIONS = ("first_page", "next_page", "open_chat", "open_long_chat", "all_of_long_chat")

    def __init__(self, server: Keyside, count: int) -> None:
        self.count = count
        self._server = server
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30)
        self._socket = SocketIo()
        self._cursor = ""

    @classmethod
    async def of(cls, folder: Path, count: int) -> "_Asking":
        """Fills a database and starts a server on it."""
        await asyncio.to_thread(folder.mkdir)
        server = Keyside(folder)
        made = cls(server, count)
        await server.start()
        await made.first_page()  # makes the owner
        await server.stop()
        await asyncio.to_thread(fill, server.data, count)
        await server.start()
        await made._socket.connect(server.port, PATH)
        made._cursor = (await made._http.get("/api/chats")).json()["next_cursor"]
        return made

    async def first_page(self) -> None:
        await self._get("/api/chats")

    async def next_page(self) -> None:
        await self._get(f"/api/chats?cursor={self._cursor}")

    async def open_chat(self) -> None:
        await self._open(self.count // 2)

    async def open_long_chat(self) -> None:
        await self._open(self.count + 1)

    async def all_of_long_chat(self) -> None:
        await self._get(f"/api/chats/{self.count + 1}/messages")

    async def _get(self, path: str) -> None:
        (await self._http.get(path)).raise_for_status()

    async def _open(self, chat_id: int) -> None:
        answer = json.loads(await self._socket.call("chat:open", b'{"chat_id":%d}' % chat_id))[0]
        if not answer["snapshot"]["messages"]:
            raise RuntimeError(f"chat {chat_id} came without its messages")

    async def close(self) -> None:
        self._socket.close()
        await self._http.aclose()
        await self._server.stop()


def fill(data_dir: Path, count: int) -> None:
    """Writes the chats into the database of a server that does not run."""
    database = database_of(data_dir, sync="normal")
    with database.write() as connection:
        for table, rows in ((ChatRow, _chats(count)), (MessageRow, _messages(count))):
            for batch in _batches(rows):
                connection.execute(insert(_table(table)), batch)
    database.close()


def _table(row: type[SQLModel]) -> Any:
    return row.__table__  # type: ignore[attr-defined]


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _chats(count: int) -> Iterator[Row]:
    for id in range(1, count + 2):
        head = f"m{id}-{(LONG if id > count else 2) - 1}"
        at = 1_700_000_000.0 + id
        chat = ChatRow(id=id, user_id=OWNER, title=f"Chat {id}", head_id=head, created_at=at, updated_at=at)
        yield chat.model_dump()


def _messages(count: int) -> Iterator[Row]:
    at = "2026-01-01T00:00:00.000Z"
    for chat_id in range(1, count + 2):
        for place in range(LONG if chat_id > count else 2):
            message = MessageRow(
                user_id=OWNER,
                id=f"m{chat_id}-{place}",
                chat_id=chat_id,
                parent_id=f"m{chat_id}-{place - 1}" if place else None,
                role="assistant" if place % 2 else "user",
                content=_TEXT,
                status="sent",
                created_at=at,
                updated_at=at,
            )
            yield message.model_dump(exclude={"n"})
