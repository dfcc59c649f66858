"""Readers that follow one run: each of them comes to an end, wherever it begins."""

import asyncio
from typing import Any

import pytest

from keyside.adapters.memory.log import MemoryChatLog
from keyside.adapters.memory.store import MemoryStore
from keyside.core.changes import Entry
from keyside.core.run import Run
from keyside.protocol.commands import ChatPatch, NewMessage
from keyside.testing import MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import run_of, streaming

rule = pytest.mark.rule


async def followed(server: MemoryServer, run: Run, after: int) -> list[dict[str, Any]]:
    """All events of the run after a number. A reader that does not end fails the test."""

    async def read() -> list[dict[str, Any]]:
        return [entry.payload async for entry in server.services.followers.follow_run(run, after)]

    return await asyncio.wait_for(read(), 10)


async def head(server: MemoryServer, chat_id: int) -> int:
    return (await server.store.chat_log.heads([chat_id]))[chat_id]


@rule("V2")
async def test_a_reader_that_has_read_the_end_ends_though_the_chat_has_gone_on(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    running = await run_of(server, started)
    await desk.finish(offer, 1)
    end = await head(server, offer.chat_id)
    await server.services.chats.change(server.user_id, offer.chat_id, ChatPatch(title="renamed"))
    new = NewMessage(role="user", content="another question")
    await server.services.messages.add(server.user_id, offer.chat_id, new)
    ended = await run_of(server, started)
    for run in (running, ended):  # as it was when the reader came, and as it is
        last = (await followed(server, run, end - 1))[-1]
        assert (last["seq"], last["run"]["state"]) == (end, "done")
        for after in range(end, await head(server, offer.chat_id) + 1):
            assert await followed(server, run, after) == []


class SlowLog(MemoryChatLog):
    """A log whose next read of events can be held."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()
        self.let.set()

    async def read(self, chat_id: int, **what: Any) -> tuple[Entry, ...] | None:
        await self.let.wait()
        return await super().read(chat_id, **what)


@rule("V2")
async def test_a_reader_ends_with_a_run_that_ends_while_the_reader_looks_what_it_missed() -> None:
    log = SlowLog()
    async with MemoryServer(store=MemoryStore(log)) as server:
        desk = ScriptedExecutor(server)
        await desk.connect()
        started, offer = await streaming(server, desk, text_line("a"))
        run = await run_of(server, started)
        log.let.clear()
        reading = asyncio.ensure_future(followed(server, run, 0))
        await settle()  # the reader has found that the run goes on
        await desk.finish(offer, 1, "stop", text_line("b"))
        log.let.set()
        events = await asyncio.wait_for(reading, 10)
    assert "".join(event["content"] for event in events if event["kind"] == "delta") == "ab"
    assert events[-1]["run"]["state"] == "done"
    assert len({event["seq"] for event in events}) == len(events)
