"""Framed executors: announcing and resuming, whose channel it is, and coming back late."""

import pytest

from keyside.core.limits import Limits
from keyside.protocol import wire
from keyside.services.ports import KnownExecutor, user_room
from keyside.testing import DONE, MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import (
    ask_desk_first,
    ended,
    idle,
    laptop,
    offered,
    refused,
    second_user,
    start,
    state_of,
    stop,
    streaming,
    told,
)

rule = pytest.mark.rule


# --- announcing and resuming -----------------------------------------------------------------------


@rule("E1")
async def test_ready_announces_updates_and_tells_the_users_sockets(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    session_id = desk.session_id
    ack = await server.services.executors.ready(
        session_id, desk.ready.model_copy(update={"name": "Desk", "max_runs": 3})
    )
    assert (ack.executor.name, ack.executor.max_runs, ack.executor.online) == ("Desk", 3, True)
    assert ack.runs == []
    await settle()
    assert len(told(server, user_room(server.user_id), "executors:changed")) == 2
    assert idle(server, session_id)


@rule("E1")
async def test_what_an_executor_holds_is_continued_from_what_is_stored(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"), text_line("b"))
    await desk.disconnect()
    ack = await desk.connect([(offer.run_id, offer.attempt)])
    verdict = wire.Verdict(run_id=offer.run_id, attempt=1, verdict="continue", expected=2)
    assert ack.runs == [verdict]
    assert await desk.send(offer, 1, text_line("b"), text_line("c"), DONE) == 4
    assert await ended(server, started) == ("done", None, "abc")


@rule("E1")
async def test_every_hold_gets_its_verdict_and_what_is_over_is_dropped(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    over, first = await streaming(server, desk)
    await stop(server, over)
    await desk.told()
    _, second = await streaming(server, desk)
    await desk.disconnect()
    holds = [(first.run_id, 1), (second.run_id, 1), (second.run_id, 7), ("of-nobody", 1)]
    ack = await desk.connect(holds)
    found = {(verdict.run_id, verdict.attempt): verdict.verdict for verdict in ack.runs}
    assert found == dict(zip(holds, ["drop", "continue", "drop", "drop"], strict=True))


@rule("E1")
async def test_a_bound_run_that_is_not_held_any_more_is_interrupted_at_once(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, _ = await streaming(server, desk, text_line("a"))
    await desk.disconnect()
    await desk.connect(instance="instance-2")
    assert await ended(server, started) == ("interrupted", "executor_lost", "a")
    assert (await server.answer(started)).status == "interrupted"
    assert idle(server, desk.session_id)


@rule("E1")
async def test_a_bound_run_is_lost_even_if_the_server_had_not_seen_the_old_socket_go(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, _ = await streaming(server, desk, text_line("a"))
    await desk.connect(instance="instance-2")
    assert await ended(server, started) == ("interrupted", "executor_lost", "a")


@rule("R4")
async def test_an_executor_that_goes_in_the_middle_of_its_announcement_is_away(
    server: MemoryServer, desk: ScriptedExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    await desk.disconnect()
    save = server.store.registry.save

    async def go_meanwhile(known: KnownExecutor) -> None:
        await save(known)
        await desk.disconnect()

    monkeypatch.setattr(server.store.registry, "save", go_meanwhile)
    desk.ready = desk.ready.model_copy(update={"name": "another, which must be stored"})
    await desk.connect([(offer.run_id, offer.attempt)])
    assert await state_of(server, started) == "suspended"


@rule("E1")
async def test_before_ready_frames_are_told_to_come_again(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    await desk.disconnect()
    desk.session_id = server.connect()
    with refused("not_ready"):
        await desk.send(offer, 1, text_line("b"))
    await server.services.executors.ready(
        desk.session_id, desk.ready.model_copy(update={"holds": [wire.Hold(run_id=offer.run_id, attempt=1)]})
    )
    assert await desk.send(offer, 1, text_line("b"), DONE) == 3
    assert await ended(server, started) == ("done", None, "ab")


@rule("E1")
async def test_an_offer_that_was_not_started_goes_to_another_and_the_older_claim_is_refused(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    other = await laptop(server)
    started, first = await ask_desk_first(server, desk)
    await desk.disconnect()
    second = await other.offer()
    assert (second.run_id, second.attempt) == (first.run_id, 2)
    assert second.channel != first.channel
    ack = await desk.connect([(first.run_id, first.attempt)])
    assert [verdict.verdict for verdict in ack.runs] == ["drop"]
    with refused("stale_attempt"):
        await desk.claim(first)
    await other.claim(second)
    await other.finish(second, 0, "stop", text_line("once"))
    assert await ended(server, started) == ("done", None, "once")


@rule("E1")
async def test_an_update_in_the_middle_of_an_offer_leaves_the_offer_alone(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await offered(server, desk)
    await server.services.executors.ready(desk.session_id, desk.ready)
    assert await desk.claim(offer) == 0
    assert await state_of(server, started) == "streaming"


# --- whose channel it is ---------------------------------------------------------------------------


@rule("E11")
async def test_only_the_socket_that_announced_the_executor_can_send(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    own = desk.session_id
    another = await laptop(server)
    for stranger in (server.connect(), server.connect(user_id=await second_user(server)), another.session_id):
        desk.session_id = stranger
        with refused("not_yours"):
            await desk.send(offer, 1, text_line("forged"))
        with refused("not_yours"):
            await desk.finish(offer, 1, "stop", text_line("forged"))
    desk.session_id = own
    await desk.finish(offer, 1)
    assert await ended(server, started) == ("done", None, "a")


@rule("E11")
async def test_a_claim_can_only_come_from_the_executor_to_which_the_run_was_offered(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await offered(server, desk)
    own, desk.session_id = desk.session_id, server.connect()
    with refused("not_yours"):
        await desk.claim(offer)
    assert await state_of(server, started) == "offered"
    desk.session_id = own
    assert await desk.claim(offer) == 0


@rule("E11", "E12")
async def test_an_executor_of_the_same_id_but_another_user_is_another_executor(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    other = await second_user(server)
    theirs = ScriptedExecutor(server, secret="quite another secret")
    theirs.session_id = server.connect(user_id=other)
    await server.services.executors.ready(theirs.session_id, theirs.ready)
    started, offer = await streaming(server, desk)
    with refused("not_yours"):
        await theirs.send(offer, 0, text_line("forged"))
    await theirs.disconnect()
    assert await state_of(server, started) == "streaming"


@rule("E12")
async def test_an_executor_id_is_bound_to_its_first_secret(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk)
    thief = ScriptedExecutor(server, secret="quite another secret", instance="instance-2")
    with refused("executor_taken"):
        await thief.connect([(offer.run_id, offer.attempt)])
    assert await state_of(server, started) == "streaming"
    await desk.disconnect()
    with refused("executor_taken"):
        await thief.connect([(offer.run_id, offer.attempt)])


@rule("E12")
async def test_a_newer_instance_replaces_the_older_one(server: MemoryServer, desk: ScriptedExecutor) -> None:
    old = desk.session_id
    newer = ScriptedExecutor(server, instance="instance-2")
    await newer.connect()
    assert server.calls.sessions[old].get_nowait() == {"type": "executor:replaced", "data": {}}
    assert len(server.services.presence.executors(server.user_id, lambda _: 0)) == 1
    await offered(server, newer)
    # The old socket's end is not the new one's.
    await desk.disconnect()
    started = await server.ask((await server.chat()).id)
    await newer.offer()
    assert await state_of(server, started) == "offered"


@rule("E12")
async def test_the_same_instance_on_a_new_socket_is_no_other(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    old = desk.session_id
    ack = await desk.connect([(offer.run_id, offer.attempt)])
    assert [verdict.verdict for verdict in ack.runs] == ["continue"]
    assert idle(server, old)
    await server.disconnect(old)
    assert await state_of(server, started) == "streaming"
    await desk.finish(offer, 1)
    assert await ended(server, started) == ("done", None, "a")


# --- coming back late ------------------------------------------------------------------------------


@rule("R4")
async def test_a_run_is_suspended_for_a_minute_and_then_interrupted(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, _ = await streaming(server, desk, text_line("kept"))
    await desk.disconnect()
    await server.clock.advance(59.5)
    assert await state_of(server, started) == "suspended"
    await server.clock.advance(1)
    assert await ended(server, started) == ("interrupted", "executor_lost", "kept")
    other = await laptop(server)
    await server.clock.advance(30)
    assert idle(server, other.session_id)


@rule("R4")
async def test_an_interrupted_run_is_finished_by_its_own_attempt_that_comes_back_late(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    await desk.disconnect()
    await server.clock.advance(300)
    ack = await desk.connect([(offer.run_id, offer.attempt)])
    assert [(verdict.verdict, verdict.expected) for verdict in ack.runs] == [("continue", 1)]
    assert await state_of(server, started) == "streaming"
    assert (await server.answer(started)).status == "streaming"
    await desk.finish(offer, 1, "stop", text_line("b"))
    assert await ended(server, started) == ("done", None, "ab")
    assert (await server.answer(started)).error is None


@rule("R4")
async def test_after_the_time_for_a_late_return_an_interrupted_run_is_final() -> None:
    async with MemoryServer(limits=Limits(late_resume=60)) as server:
        desk = ScriptedExecutor(server)
        await desk.connect()
        started, offer = await streaming(server, desk, text_line("a"))
        await desk.disconnect()
        await server.clock.advance(122)
        ack = await desk.connect([(offer.run_id, offer.attempt)])
        assert [verdict.verdict for verdict in ack.runs] == ["drop"]
        assert await ended(server, started) == ("interrupted", "executor_lost", "a")


@rule("R7")
async def test_runs_beyond_what_an_executor_takes_wait_in_order(server: MemoryServer) -> None:
    desk = ScriptedExecutor(server, max_runs=1)
    await desk.connect()
    chats = [await server.chat() for _ in range(3)]
    runs = [await start(server, chat.id, message=f"number {n}") for n, chat in enumerate(chats)]
    for n, started in enumerate(runs):
        offer = await desk.offer()
        assert offer.run_id == started.run.id
        assert idle(server, desk.session_id)
        await desk.claim(offer)
        waiting = [await state_of(server, later) for later in runs[n + 1 :]]
        assert waiting == ["queued"] * len(waiting)
        await desk.finish(offer, 0, "stop", text_line("x"))
    await settle()
    assert idle(server, desk.session_id)
