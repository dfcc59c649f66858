"""Runs at home: all change in one transaction, and what becomes of them when their process or its store goes away."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from keyside.adapters.memory.log import MemoryChatLog
from keyside.adapters.memory.store import MemoryStore
from keyside.core.changes import Changes
from keyside.core.reading import read
from keyside.core.run import Run
from keyside.core.step import Refused
from keyside.protocol.commands import ChatPatch, Started
from keyside.protocol.entities import Message
from keyside.protocol.errors import KeysideError
from keyside.services.ports import Stored, Unavailable
from keyside.testing import MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import ended, refused, start, state_of, stop, streaming

rule = pytest.mark.rule


class RecordingLog(MemoryChatLog):
    """A log that shows what was stored together: the state of each run, and the chats that were deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: list[dict[str, str]] = []

    def submit(self, changes: Sequence[Changes], stored: Stored) -> None:
        runs = {c.id: c.state.value for one in changes for c in one.changes if isinstance(c, Run)}
        gone = {f"chat {one.chat_id}": "deleted" for one in changes if one.deletes_chat}
        self.transactions.append(runs | gone)
        super().submit(changes, stored)


class SlowLog(MemoryChatLog):
    """A log whose commits wait while `held` is a list."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[Sequence[Changes], Stored]] | None = None

    def submit(self, changes: Sequence[Changes], stored: Stored) -> None:
        if self.held is None:
            super().submit(changes, stored)
        else:
            self.held.append((changes, stored))

    def let(self) -> None:
        """Stores what waits, and from now on everything at once."""
        held, self.held = self.held, None
        for changes, stored in held or ():
            super().submit(changes, stored)


class AwayLog(MemoryChatLog):
    """A log that cannot be written while `away`."""

    away = False

    def submit(self, changes: Sequence[Changes], stored: Stored) -> None:
        if self.away:
            stored(Unavailable("said by the test"))
        else:
            super().submit(changes, stored)

    async def probe(self, at: float) -> None:
        if self.away:
            raise Unavailable("said by the test")


async def three_running(server: MemoryServer) -> tuple[Started, list[str]]:
    """A run of one chat and two of another, all streaming: the last of them, and the ids of all."""
    desk = ScriptedExecutor(server)
    await desk.connect()
    first, _ = await streaming(server, desk, text_line("a"), run_id="r-1")
    second, _ = await streaming(server, desk, text_line("a"), run_id="r-2")
    question = second.assistant_message.parent_id
    third = await start(server, second.run.chat_id, run_id="r-3", mode="regenerate", parent_id=question)
    offer = await desk.offer()
    await desk.claim(offer)
    await desk.send(offer, 0, text_line("a"))
    return third, [first.run.id, second.run.id, third.run.id]


# --- one transaction -------------------------------------------------------------------------------


@rule("R9")
async def test_a_chat_is_deleted_and_its_runs_are_stopped_in_one_transaction() -> None:
    log = RecordingLog()
    async with MemoryServer(store=MemoryStore(log)) as server:
        third, (first, *theirs) = await three_running(server)
        log.transactions.clear()
        await server.services.chats.delete(server.user_id, third.run.chat_id)
        assert log.transactions == [dict.fromkeys(theirs, "aborted") | {f"chat {third.run.chat_id}": "deleted"}]
        assert [home.run.id for home in server.services.runs.every()] == [first]


@rule("R8")
async def test_a_server_that_ends_leaves_all_its_runs_to_the_next_in_one_transaction() -> None:
    log = RecordingLog()
    async with MemoryServer(store=MemoryStore(log)) as old:
        _, all_three = await three_running(old)
        log.transactions.clear()
    assert log.transactions == [dict.fromkeys(all_three, "suspended")]


@rule("R8")
async def test_a_server_that_begins_takes_all_runs_over_in_one_transaction() -> None:
    log = RecordingLog()
    async with MemoryServer(store=MemoryStore(log)) as old:
        _, all_three = await three_running(old)
        log.transactions.clear()
        async with MemoryServer(store=old.store, clock=old.clock):  # the old one was killed: it left nothing in order
            assert log.transactions == [dict.fromkeys(all_three, "suspended")]


# --- the process ends ------------------------------------------------------------------------------


@rule("R8")
async def test_a_server_that_ends_stores_that_its_runs_wait_and_since_when() -> None:
    store = MemoryStore()
    async with MemoryServer(store=store) as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        framed, _ = await streaming(old, desk, text_line("a"))
        session_id = old.connect("plain")
        old.calls.answers[session_id] = lambda _: {"status": True}
        plain = await start(old, (await old.chat()).id, model="any", message="hi", session_id=session_id)
        await settle()
        channel = old.calls.sessions[session_id].get_nowait()["data"]["channel"]
        await old.frame(session_id, channel, text_line("kept"))
        await old.clock.advance(7)
    left = [await store.chat_log.run(old.user_id, started.run.id) for started in (framed, plain)]
    assert [(run.state.value, run.since) for run in left if run] == [
        ("suspended", old.clock.now()),
        ("interrupted", old.clock.now()),
    ]
    assert (await old.answer(plain)).content == "kept"


@rule("R8")
async def test_whatever_waits_for_its_turn_while_a_server_ends_is_answered_and_brings_no_run_home() -> None:
    log = SlowLog()
    async with MemoryServer(store=MemoryStore(log)) as server:
        desk = ScriptedExecutor(server)
        await desk.connect()
        started, offer = await streaming(server, desk)
        socket = server.services.connections.get(desk.session_id)
        assert socket is not None
        runs, answers = server.services.runs, list[Run | Exception]()

        def send(index: int) -> None:
            frame = {"attempt": offer.attempt, "index": index, "lines": [text_line(f"{index} ")]}
            assert server.services.frames.receive_now(socket, offer.channel, frame, answers.append)

        async def leave() -> tuple[Any, ...]:
            await runs.leave()
            return len(answers), runs._working, runs.every(), runs.leftovers()

        log.held = []
        for index in range(3):
            send(index)
        leaving = asyncio.create_task(leave())
        await settle()
        for index in range(3, 60):  # behind the hand-over
            send(index)
        stopping = asyncio.create_task(stop(server, started))
        await settle()
        assert (answers, leaving.done()) == ([], False)
        log.let()
        assert await asyncio.wait_for(leaving, 10) == (60, set(), [], [])
        assert [answer.expected for answer in answers[:3] if isinstance(answer, Run)] == [1, 2, 3]
        late = [answer.code for answer in answers[3:] if isinstance(answer, Refused | KeysideError)]
        assert len(late) == 57
        assert set(late) <= {"not_ready", "shutting_down"}
        with refused("shutting_down"):
            await stopping
        assert await ended(server, started) == ("suspended", None, "")


async def test_a_server_that_ends_waits_for_what_is_just_being_stored() -> None:
    log = SlowLog()
    async with MemoryServer(store=MemoryStore(log)) as server:
        chat = await server.chat("before")
        log.held = []
        renaming = asyncio.create_task(server.services.chats.change(server.user_id, chat.id, ChatPatch(title="after")))
        await settle()
        leaving = asyncio.create_task(server.services.runs.leave())
        await settle()
        assert (renaming.done(), leaving.done()) == (False, False)
        log.let()
        await asyncio.wait_for(leaving, 10)
        assert (await renaming).title == "after"


@pytest.mark.parametrize("where", ["nowhere", "in another process"])
async def test_a_change_of_a_run_that_is_still_being_read_when_a_server_ends_is_refused(where: str) -> None:
    class SlowReads(MemoryChatLog):
        """A log in which it takes long to read a message."""

        let: asyncio.Event | None = None

        async def message(self, user_id: int, message_id: str) -> Message | None:
            if self.let is not None:
                await self.let.wait()
            return await super().message(user_id, message_id)

    log = SlowReads()
    async with (
        MemoryServer(store=MemoryStore(log)) as home,
        MemoryServer(store=home.store, clock=home.clock, ids=home.ids) as server,
    ):
        desk = ScriptedExecutor(home)
        await desk.connect()
        if where == "nowhere":
            await desk.disconnect()
            started = await home.ask((await home.chat()).id)
        else:
            started, _ = await streaming(home, desk)
        log.let = asyncio.Event()
        stopping = asyncio.create_task(stop(server, started))
        await settle()
        leaving = asyncio.create_task(server.services.runs.leave())
        await settle()
        assert (stopping.done(), leaving.done()) == (False, False)
        log.let.set()
        await asyncio.wait_for(leaving, 10)
        with refused("shutting_down"):
            await stopping
        assert (server.services.runs.every(), server.services.runs.leftovers()) == ([], [])


# --- the store goes away ---------------------------------------------------------------------------


@rule("D4")
@pytest.mark.parametrize(
    ("state", "limit", "end"),
    [("streaming", 120, ("failed", "executor_silent")), ("suspended", 60, ("interrupted", "executor_lost"))],
)
async def test_the_limits_of_runs_at_home_do_not_count_while_the_store_is_away(
    state: str, limit: float, end: tuple[str, str]
) -> None:
    log = AwayLog()
    async with MemoryServer(store=MemoryStore(log)) as server:
        desk = ScriptedExecutor(server)
        await desk.connect()
        started, _ = await streaming(server, desk, text_line("a"))
        if state == "suspended":
            await desk.disconnect()
        chat = await server.chat()
        await server.clock.advance(10)
        log.away = True
        with refused("store_unavailable"):
            await server.ask(chat.id)
        await server.clock.advance(99)
        log.away = False
        await server.clock.advance(1)  # it is noticed within a second, and was away for 100
        await server.clock.advance(limit - 11)
        assert await state_of(server, started) == state
        await server.clock.advance(2)
        assert await ended(server, started) == (*end, "a")


# --- a long answer ---------------------------------------------------------------------------------


@rule("R8")
@pytest.mark.parametrize(("count", "beside"), [(500, False), (501, True)])
async def test_a_long_answer_is_read_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, count: int, beside: bool
) -> None:
    threads: list[int] = []

    def noting(line: str) -> Any:
        threads.append(threading.get_ident())
        return read(line)

    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        started, offer = await streaming(old, desk, *(text_line(f"{n} ") for n in range(count)))
    monkeypatch.setattr("keyside.services.runs.read", noting)
    async with MemoryServer(store=old.store, clock=old.clock) as server:
        assert len(threads) == count
        assert (threading.get_ident() not in threads) == beside
        desk.server = server
        await desk.connect([(offer.run_id, offer.attempt)])
        await desk.finish(offer, count)
        assert await ended(server, started) == ("done", None, "".join(f"{n} " for n in range(count)))
