"""A server that ends in the middle of everything, and the next one on the same store."""

import pytest

from keyside.protocol.commands import NewRun, UserTurn
from keyside.services.requests import Caller
from keyside.testing import DONE, FakeClock, MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import ended, idle, offered, refused, run_of, start, state_of, stop, streaming

rule = pytest.mark.rule


def moved(server: MemoryServer, desk: ScriptedExecutor) -> ScriptedExecutor:
    """The same executor, which will connect to another server."""
    desk.server = server
    return desk


def next_server(old: MemoryServer, *, later: float = 0) -> MemoryServer:
    """A new process on the same store, that begins so many seconds after the old one stopped."""
    return MemoryServer(store=old.store, clock=FakeClock(old.clock.now() + later))


@rule("R8", "E1")
async def test_a_bound_run_waits_for_its_executor_and_is_finished_by_it() -> None:
    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        started, offer = await streaming(old, desk, text_line("a"), text_line("b"))
    async with next_server(old) as server:
        assert await state_of(server, started) == "suspended"
        ack = await moved(server, desk).connect([(offer.run_id, offer.attempt)])
        assert [(verdict.verdict, verdict.expected) for verdict in ack.runs] == [("continue", 2)]
        assert await desk.send(offer, 1, text_line("b"), text_line("c"), DONE) == 4
        assert await ended(server, started) == ("done", None, "abc")
        assert idle(server, desk.session_id)


@rule("R8", "R4")
@pytest.mark.parametrize("already", [False, True])
async def test_the_grace_of_a_bound_run_is_counted_from_when_the_server_is_ready_again(already: bool) -> None:
    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        started, offer = await streaming(old, desk, text_line("a"))
        if already:
            await desk.disconnect()
            await old.clock.advance(30)
    async with next_server(old, later=500) as server:
        await server.clock.advance(59)
        assert await state_of(server, started) == "suspended"
        ack = await moved(server, desk).connect([(offer.run_id, offer.attempt)])
        assert [verdict.verdict for verdict in ack.runs] == ["continue"]
        await desk.disconnect()
        await server.clock.advance(61)
        assert await ended(server, started) == ("interrupted", "executor_lost", "a")


@rule("R8", "E1")
async def test_a_bound_run_that_its_executor_has_forgotten_is_interrupted() -> None:
    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        started, _ = await streaming(old, desk, text_line("a"))
    async with next_server(old) as server:
        await moved(server, desk).connect(instance="instance-2")
        assert await ended(server, started) == ("interrupted", "executor_lost", "a")
        assert idle(server, desk.session_id)


@rule("R8")
async def test_an_offer_that_its_executor_still_holds_is_claimed_at_the_next_server() -> None:
    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        started, offer = await offered(old, desk)
    async with next_server(old) as server:
        ack = await moved(server, desk).connect([(offer.run_id, offer.attempt)])
        assert [(verdict.verdict, verdict.expected) for verdict in ack.runs] == [("continue", 0)]
        assert await desk.claim(offer) == 0
        await desk.finish(offer, 0, "stop", text_line("once"))
        assert await ended(server, started) == ("done", None, "once")
        assert (await run_of(server, started)).attempt == 1
        assert idle(server, desk.session_id)


@rule("R8")
async def test_an_offer_that_nobody_holds_is_offered_anew() -> None:
    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        started, first = await offered(old, desk)
    async with next_server(old) as server:
        await moved(server, desk).connect(instance="instance-2")
        assert (await desk.told())["type"] == "request:chat:abort"  # it does not know the attempt any more
        second = await desk.offer()
        assert (second.run_id, second.attempt) == (started.run.id, 2)
        with refused("stale_attempt"):
            await desk.claim(first)
        await desk.claim(second)
        await desk.finish(second, 0, "stop", text_line("once"))
        assert await ended(server, started) == ("done", None, "once")


@rule("R8")
async def test_an_offer_whose_executor_stays_away_goes_to_another() -> None:
    async with MemoryServer() as old:
        desk, other = ScriptedExecutor(old), ScriptedExecutor(old, executor_id="laptop")
        await desk.connect()
        await other.connect()
        started, _ = await offered(old, desk, prefer_executor_id="desk")
    async with next_server(old) as server:
        await moved(server, other).connect()
        await server.clock.advance(10.5)
        assert (await other.offer()).run_id == started.run.id


@rule("R8")
async def test_a_queued_run_starts_when_its_executor_announces_itself() -> None:
    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        await desk.disconnect()
        started = await old.ask((await old.chat()).id)
    async with next_server(old) as server:
        assert await state_of(server, started) == "queued"
        await moved(server, desk).connect()
        assert (await desk.offer()).run_id == started.run.id


@rule("R8", "E6")
async def test_a_run_of_a_plain_executor_is_interrupted_and_keeps_its_text() -> None:
    async with MemoryServer() as old:
        session_id = old.connect()
        old.calls.answers[session_id] = lambda _: {"status": True}
        started = await start(old, (await old.chat()).id, model="any", message="hi", session_id=session_id)
        await settle()
        data = old.calls.sessions[session_id].get_nowait()["data"]
        await old.frame(session_id, data["channel"], text_line("kept"))
    async with next_server(old) as server:
        assert await ended(server, started) == ("interrupted", "executor_lost", "kept")


@rule("R8")
async def test_a_programs_call_is_ended_and_its_executor_told() -> None:
    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        chat = await old.services.chats.create(old.user_id, "", hidden=True)
        new = NewRun(model="test/m", message=UserTurn(content="hi"))
        started = await old.services.requests.start(old.user_id, chat.id, new, caller=Caller("caller"))
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("a"))
    async with next_server(old) as server:
        assert await ended(server, started) == ("aborted", "caller_gone", "a")
        ack = await moved(server, desk).connect([(offer.run_id, offer.attempt)])
        assert [verdict.verdict for verdict in ack.runs] == ["drop"]


@rule("R8", "E7")
async def test_a_run_whose_end_mark_was_stored_is_done_even_if_nobody_comes_back() -> None:
    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        started, _ = await streaming(old, desk, text_line("whole", finish_reason="stop"))
    async with next_server(old) as server:
        await server.clock.advance(61)
        assert await ended(server, started) == ("done", None, "whole")


@rule("R8", "R4")
async def test_an_interrupted_run_can_still_come_back_after_a_restart() -> None:
    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        started, offer = await streaming(old, desk, text_line("a"))
        final, second = await streaming(old, desk, text_line("x"))
        await desk.disconnect()
        await old.clock.advance(61)
        assert await stop(old, final) == "interrupted"
    async with next_server(old) as server:
        holds = [(offer.run_id, offer.attempt), (second.run_id, second.attempt)]
        ack = await moved(server, desk).connect(holds)
        verdicts = {verdict.run_id: verdict.verdict for verdict in ack.runs}
        assert verdicts == {offer.run_id: "continue", second.run_id: "drop"}
        await desk.finish(offer, 1, "stop", text_line("b"))
        assert await ended(server, started) == ("done", None, "ab")


@rule("R8")
async def test_a_stop_works_on_what_the_last_process_left(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    await desk.disconnect()
    async with next_server(server) as again:
        assert await stop(again, started) == "aborted"
        ack = await moved(again, desk).connect([(offer.run_id, offer.attempt)])
        assert [verdict.verdict for verdict in ack.runs] == ["drop"]
        assert await ended(again, started) == ("aborted", None, "a")


@rule("R6", "R8")
async def test_a_run_id_is_known_after_a_restart(server: MemoryServer, desk: ScriptedExecutor) -> None:
    chat = await server.chat()
    first = await start(server, chat.id, run_id="r-1", message="hi")
    await settle()
    async with next_server(server) as again:
        second = await start(again, chat.id, run_id="r-1", message="hi")
        assert second.assistant_message.id == first.assistant_message.id
        with refused("conflict"):
            await start(again, chat.id, run_id="r-1", message="ho")


async def test_a_server_that_is_about_to_end_takes_no_new_run_and_leaves_what_is_queued_to_the_next() -> None:
    async with MemoryServer() as old:
        desk = ScriptedExecutor(old)
        await desk.connect()
        await desk.disconnect()
        waiting = await old.ask((await old.chat()).id)
        old.lifecycle.close_doors()
        with refused("shutting_down"):
            await old.ask((await old.chat()).id)
        await desk.connect()
        await settle()
        assert await state_of(old, waiting) == "queued"
    async with next_server(old) as server:
        await moved(server, desk).connect()
        assert (await desk.offer()).run_id == waiting.run.id
