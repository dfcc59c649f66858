"""A run in progress has one owner: what belongs to it begins and ends with it, and others' changes reach it."""

import asyncio
from typing import Any

import pytest

from keyside.adapters.memory.log import MemoryChatLog
from keyside.adapters.memory.store import MemoryStore
from keyside.core.run import Run, State
from keyside.services.ports import Piece
from keyside.testing import MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import idle, offered, refused, run_of, start, state_of, stop, streaming

rule = pytest.mark.rule


@rule("R7", "R9")
@pytest.mark.parametrize("what", ["chat", "message"])
async def test_a_run_that_waits_for_room_gets_it_when_the_other_runs_chat_is_deleted(
    server: MemoryServer, what: str
) -> None:
    desk = ScriptedExecutor(server, max_runs=1)
    await desk.connect()
    holder, offer = await streaming(server, desk, text_line("a"))
    waiting = await server.ask((await server.chat()).id)
    assert await state_of(server, waiting) == "queued"
    if what == "chat":
        await server.services.chats.delete(server.user_id, offer.chat_id)
    else:
        await server.services.messages.remove(server.user_id, offer.chat_id, holder.assistant_message.id)
    assert (await desk.told())["type"] == "request:chat:abort"
    assert (await desk.offer()).run_id == waiting.run.id


async def test_nothing_is_kept_of_runs_that_no_executor_has_in_hand(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    runs = server.services.runs
    _, offer = await streaming(server, desk, text_line("a"))
    assert [home.run.id for home in runs.every()] == [offer.run_id]
    await desk.finish(offer, 1)
    assert runs.every() == []
    desk.says = None  # it never calls back
    waiting, offer = await offered(server, desk)
    assert len(runs.every()) == 1
    await desk.disconnect()
    assert await state_of(server, waiting) == "queued"
    assert (runs.every(), runs.leftovers()) == ([], [])


class TwoNodes:
    """Two servers on one store, as two processes on one database."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.home = MemoryServer(store=store)
        self.other = MemoryServer(store=store, clock=self.home.clock, ids=self.home.ids)

    async def __aenter__(self) -> "TwoNodes":
        await self.home.__aenter__()
        await self.other.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.other.__aexit__()
        await self.home.__aexit__()


async def test_what_another_process_has_changed_is_loaded_and_the_input_is_stepped_again() -> None:
    async with TwoNodes() as nodes:
        desk = ScriptedExecutor(nodes.home)
        await desk.connect()
        started, offer = await streaming(nodes.home, desk, text_line("a"))
        stopped = await nodes.other.services.requests.stop(nodes.other.user_id, started.run.id)
        assert stopped.state == "aborted"
        with refused("run_ended"):  # not a conflict, and nothing is stored beside what the other has decided
            await desk.send(offer, 1, text_line("b"))
        assert (await nodes.home.answer(started)).content == "a"
        assert nodes.home.services.runs.every() == []


async def test_two_processes_that_offer_the_same_run_make_one_offer() -> None:
    async with TwoNodes() as nodes:
        desk = ScriptedExecutor(nodes.home)
        await desk.connect()
        await desk.disconnect()
        started = await nodes.home.ask((await nodes.home.chat()).id)
        assert await state_of(nodes.home, started) == "queued"
        laptop = ScriptedExecutor(nodes.other, executor_id="laptop", instance="instance-2")
        await asyncio.gather(desk.connect(), laptop.connect())
        await settle()
        run = await run_of(nodes.home, started)
        assert (run.state.value, run.attempt) == ("offered", 1)
        assert sorted([idle(nodes.home, desk.session_id), idle(nodes.other, laptop.session_id)]) == [False, True]


@rule("E9", "E6")
async def test_a_plain_executor_does_not_hear_of_an_offer_that_was_stopped_while_it_was_made() -> None:
    class SlowLog(MemoryChatLog):
        """A log in which it takes long to read what was said before."""

        def __init__(self) -> None:
            super().__init__()
            self.let = asyncio.Event()

        async def branch(self, user_id: int, chat_id: int, leaf_id: str, **what: Any) -> Piece:
            await self.let.wait()
            return await super().branch(user_id, chat_id, leaf_id, **what)

    log = SlowLog()
    async with MemoryServer(store=MemoryStore(log)) as server:
        session_id = server.connect("plain")
        chat = await server.chat()
        started = await start(server, chat.id, message="hi", session_id=session_id)
        assert await state_of(server, started) == "streaming"
        assert await stop(server, started) == "aborted"
        log.let.set()
        await settle()
        told: list[dict[str, Any]] = []
        while not idle(server, session_id):
            told.append(server.calls.sessions[session_id].get_nowait())
        assert [message["type"] for message in told if message["type"] != "request:chat:abort"] == []


@rule("V2")
async def test_a_reader_of_a_run_that_has_ended_since_it_was_looked_up_comes_to_its_end(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    looked_up = await run_of(server, started)
    await desk.finish(offer, 1)

    async def read(run: Run) -> list[str]:
        return [entry.payload["kind"] async for entry in server.services.followers.follow_run(run, 0)]

    assert (await asyncio.wait_for(read(looked_up), 10))[-1] == "run"


@rule("V2", "R9")
@pytest.mark.parametrize("chat_too", [False, True])
@pytest.mark.parametrize("after", [0, 1000])
async def test_a_reader_of_a_run_that_was_deleted_since_it_was_looked_up_is_told_so(
    server: MemoryServer, desk: ScriptedExecutor, chat_too: bool, after: int
) -> None:
    started, _ = await streaming(server, desk, text_line("a"))
    looked_up = await run_of(server, started)
    if chat_too:
        await server.services.chats.delete(looked_up.user_id, looked_up.chat_id)
    else:
        await server.services.messages.remove(looked_up.user_id, looked_up.chat_id, looked_up.message_id)
    reading = server.services.followers.follow_run(looked_up, after)
    async with asyncio.timeout(10):
        told = [entry.change async for entry in reading]
    assert [(run.state, run.failure and run.failure.code) for run in told if isinstance(run, Run)] == [
        (State.ABORTED, "deleted")
    ]


@rule("R6", "R2")
async def test_the_preferred_executor_is_a_hint_and_not_a_part_of_what_is_asked_for(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    chat = await server.chat()
    first = await start(server, chat.id, message="hi", run_id="r-1", prefer_executor_id="desk")
    again = await start(server, chat.id, message="hi", run_id="r-1", prefer_executor_id="phone")
    assert again.run.id == first.run.id
    with refused("conflict"):
        await start(server, chat.id, message="something else", run_id="r-1")


@rule("V1", "V3")
async def test_a_chat_in_mid_answer_is_opened_without_reading_its_lines_again(desk_log: MemoryChatLog) -> None:
    async with MemoryServer(store=MemoryStore(desk_log)) as server:
        desk = ScriptedExecutor(server)
        await desk.connect()
        _, offer = await streaming(server, desk, *(text_line(f"{n} ") for n in range(50)))
        read = desk_log.read_lines = 0  # type: ignore[attr-defined]
        server.services.viewers.connect("viewer")
        answer = await server.services.viewers.open("viewer", server.user_id, offer.chat_id, None)
        assert answer["snapshot"]["messages"][-1]["content"] == "".join(f"{n} " for n in range(50))
        await desk.finish(offer, 50)
        assert desk_log.read_lines == read  # type: ignore[attr-defined]


@pytest.fixture
def desk_log() -> MemoryChatLog:
    class CountingLog(MemoryChatLog):
        """A log that counts how often a run's lines are read."""

        read_lines = 0

        async def lines(self, run: Run) -> tuple[str, ...]:
            self.read_lines += 1
            return await super().lines(run)

    return CountingLog()


@rule("V1", "V3")
async def test_a_snapshot_that_was_read_while_a_run_ended_is_read_again() -> None:
    class EndingLog(MemoryChatLog):
        """A log in which something happens between the moment that a view shows and its arrival."""

        meanwhile: Any = None

        async def view(self, chat_id: int, **what: Any) -> Any:
            found = await super().view(chat_id, **what)
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                await meanwhile()
            return found

    log = EndingLog()
    async with MemoryServer(store=MemoryStore(log)) as server:
        desk = ScriptedExecutor(server)
        await desk.connect()
        _, offer = await streaming(server, desk, text_line("a"))

        async def end() -> None:
            await desk.send(offer, 1, text_line("b"), done=True, finish={"reason": "stop"})

        log.meanwhile = end
        server.services.viewers.connect("viewer")
        answer = await server.services.viewers.open("viewer", server.user_id, offer.chat_id, None)
        heads = await log.heads([offer.chat_id])
        assert (answer["seq"], answer["snapshot"]["messages"][-1]["content"]) == (heads[offer.chat_id], "ab")
        assert answer["snapshot"]["runs"] == []


@rule("E6")
async def test_a_plain_executor_that_goes_while_it_is_bound_by_an_offer_leaves_the_run_interrupted() -> None:
    class SlowLog(MemoryChatLog):
        """A log whose commits of an offer wait until they may land."""

        held: list[Any] | None = None

        def submit(self, changes: Any, stored: Any) -> None:
            if self.held is None:
                super().submit(changes, stored)
            else:
                self.held.append((changes, stored))

    log = SlowLog()
    async with MemoryServer(store=MemoryStore(log)) as server:
        session_id = server.connect("plain")
        chat = await server.chat()
        started = await start(server, chat.id, message="hi", session_id=session_id)
        log.held = []
        await settle()
        assert len(log.held) == 1
        await server.disconnect(session_id)
        held, log.held = log.held, None
        for changes, stored in held:
            log.submit(changes, stored)
        assert await state_of(server, started) == "interrupted"


@rule("R3")
async def test_a_run_waits_where_its_executor_does_not_offer_the_model_just_now(server: MemoryServer) -> None:
    desk = ScriptedExecutor(server, max_runs=1)
    await desk.connect()
    _, offer = await streaming(server, desk)
    waiting = await server.ask((await server.chat()).id)
    models = desk.ready.connections
    empty = [connection.model_copy(update={"models": []}) for connection in models]
    await server.services.executors.ready(desk.session_id, desk.ready.model_copy(update={"connections": empty}))
    assert await state_of(server, waiting) == "queued"
    await desk.finish(offer, 0)
    await server.services.executors.ready(desk.session_id, desk.ready)
    assert (await desk.offer()).run_id == waiting.run.id


@rule("R2", "R7")
async def test_a_named_session_has_its_limit_of_runs_too_and_its_end_ends_who_waits_for_it(
    server: MemoryServer,
) -> None:
    desk = ScriptedExecutor(server, max_runs=1)
    await desk.connect()
    _, offer = await streaming(server, desk, session_id=desk.session_id)
    waiting = [await server.ask((await server.chat()).id, session_id=desk.session_id) for _ in range(2)]
    assert [await state_of(server, one) for one in waiting] == ["queued", "queued"]
    await desk.finish(offer, 0)
    assert (await desk.offer()).run_id == waiting[0].run.id
    await desk.disconnect()
    assert [await state_of(server, one) for one in waiting] == ["failed", "failed"]


@rule("R3")
async def test_however_many_refuse_they_are_asked_again_ten_seconds_after_the_last_of_them(
    server: MemoryServer,
) -> None:
    def refuse(data: dict[str, Any]) -> dict[str, Any]:
        error = {"code": "executor_busy", "message": "not now", "retryable": True}
        return {"status": False, "run_id": data["run_id"], "attempt": data["attempt"], "error": error}

    away = ScriptedExecutor(server, executor_id="away")
    await away.connect()
    await away.disconnect()
    for name in ("one", "two", "three"):
        executor = ScriptedExecutor(server, executor_id=name)
        executor.says = refuse
        await executor.connect()
    waiting = await server.ask((await server.chat()).id)
    assert await state_of(server, waiting) == "queued"
    assert (await run_of(server, waiting)).attempt == 3
    await server.clock.advance(9)
    assert (await run_of(server, waiting)).attempt == 3
    await server.clock.advance(2)
    assert (await run_of(server, waiting)).attempt == 6
