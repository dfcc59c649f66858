"""Which executor gets a run, and what becomes of one that nobody can take."""

import pytest

from keyside.core.limits import Limits
from keyside.protocol.commands import NewRun, UserTurn
from keyside.protocol.errors import failure
from keyside.services.requests import Caller
from keyside.testing import MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import ended, idle, refused, run_of, second_user, start, state_of, stop, streaming

rule = pytest.mark.rule


async def executor(server: MemoryServer, name: str, *models: str, max_runs: int = 8) -> ScriptedExecutor:
    made = ScriptedExecutor(server, executor_id=name, models=models or ("m",), max_runs=max_runs)
    await made.connect()
    return made


async def shared(server: MemoryServer, name: str = "shared") -> ScriptedExecutor:
    """An executor that the operator runs for everybody."""
    made = ScriptedExecutor(server, executor_id=name, kind="shared")
    made.session_id = server.connect("shared", user_id=await second_user(server))
    server.calls.answers[made.session_id] = made.says
    await server.services.executors.ready(made.session_id, made.ready)
    return made


async def chosen(server: MemoryServer, *, model: str = "test/m", **more: str) -> str | None:
    """The executor that a new run is offered to."""
    started = await start(server, (await server.chat()).id, model=model, message="hi", **more)
    await settle()
    assignment = (await run_of(server, started)).assignment
    return assignment.executor_id if assignment else None


@rule("R2")
async def test_the_preferred_then_the_least_loaded_then_the_last_active_then_a_shared_one(
    server: MemoryServer,
) -> None:
    await shared(server)
    assert await chosen(server) == "shared"
    await executor(server, "older")
    await server.clock.advance(5)
    await executor(server, "newer")
    assert await chosen(server) == "newer"  # none has anything to do: the last active
    assert await chosen(server) == "older"  # the other is busy
    assert await chosen(server, prefer_executor_id="older") == "older"
    assert await chosen(server) == "newer"
    assert await chosen(server, prefer_executor_id="nobody") == "newer"


@rule("R2")
async def test_only_those_that_offer_the_model_are_asked(server: MemoryServer) -> None:
    await executor(server, "small", "tiny")
    await executor(server, "large", "huge", "tiny")
    assert await chosen(server, model="huge") == "large"
    assert await chosen(server, model="test/huge", prefer_executor_id="small") == "large"
    with refused("model_not_found"):
        await chosen(server, model="huge", provider="another")


@rule("R2")
async def test_a_named_executor_never_falls_back(server: MemoryServer) -> None:
    small, large = await executor(server, "small", "tiny"), await executor(server, "large", "huge")
    assert await chosen(server, model="huge", executor_id="large") == "large"
    await large.told()
    with refused("model_not_found"):
        await chosen(server, model="huge", executor_id="small")
    await large.disconnect()
    waiting = await start(server, (await server.chat()).id, model="huge", message="x", executor_id="large")
    assert await state_of(server, waiting) == "queued"
    assert idle(server, small.session_id)


@rule("R2")
async def test_what_belongs_to_another_user_is_never_chosen(server: MemoryServer) -> None:
    other = await second_user(server)
    theirs = ScriptedExecutor(server, executor_id="theirs")
    theirs.session_id = server.connect(user_id=other)
    await server.services.executors.ready(theirs.session_id, theirs.ready)
    with refused("model_not_found"):
        await chosen(server)
    with refused("model_not_found"):
        await chosen(server, executor_id="theirs")
    with refused("session_gone"):
        await chosen(server, session_id=theirs.session_id)
    assert idle(server, theirs.session_id)


@rule("R2")
async def test_a_named_session_takes_the_model_as_given_and_never_falls_back(server: MemoryServer) -> None:
    await executor(server, "desk")
    session_id = server.connect()
    started = await start(server, (await server.chat()).id, model="gpt-x", message="hi", session_id=session_id)
    await settle()
    assignment = (await run_of(server, started)).assignment
    assert assignment is not None
    assert (assignment.session_id, assignment.model, assignment.kind) == (session_id, "gpt-x", "plain")
    await server.disconnect(session_id)
    assert await state_of(server, started) == "interrupted"


@rule("R2")
async def test_a_named_session_that_announced_itself_runs_it_as_a_framed_executor(server: MemoryServer) -> None:
    desk = await executor(server, "desk")
    started = await start(
        server, (await server.chat()).id, model="not-listed", message="hi", session_id=desk.session_id
    )
    offer = await desk.offer()
    assert offer.model.id == "not-listed"
    await desk.claim(offer)
    await desk.finish(offer, 0, "stop", text_line("ok"))
    assert await ended(server, started) == ("done", None, "ok")


@rule("R3")
async def test_a_model_that_none_ever_offered_is_not_found_at_once(server: MemoryServer) -> None:
    await executor(server, "desk")
    chat = await server.chat()
    with refused("model_not_found"):
        await server.ask(chat.id, model="test/unheard-of")
    assert (await server.store.chat_log.messages(server.user_id, chat.id)).messages == ()


@rule("R3")
async def test_a_model_of_an_absent_executor_waits_and_starts_when_it_connects(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    await desk.disconnect()
    started = await server.ask((await server.chat()).id)
    await server.clock.advance(120)
    assert await state_of(server, started) == "queued"
    assert (await server.services.chats.get(server.user_id, started.run.chat_id)).running
    await desk.connect()
    offer = await desk.offer()
    await desk.claim(offer)
    await desk.finish(offer, 0, "stop", text_line("at last"))
    assert await ended(server, started) == ("done", None, "at last")


@rule("R3")
async def test_what_waits_does_not_wait_for_ever_and_can_be_cancelled() -> None:
    async with MemoryServer(limits=Limits(queue=60)) as server:
        desk = await executor(server, "desk")
        await desk.disconnect()
        cancelled, expired = [await server.ask((await server.chat()).id) for _ in range(2)]
        assert await stop(server, cancelled) == "aborted"
        await server.clock.advance(61)
        assert await ended(server, expired) == ("failed", "no_executor", "")
        await desk.connect()
        await settle()
        assert idle(server, desk.session_id)


@rule("R3")
async def test_a_programs_call_does_not_wait_for_an_absent_executor(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    await desk.disconnect()
    chat = await server.chat()
    new = NewRun(model="test/m", message=UserTurn(content="hi"))
    with refused("no_executor"):
        await server.services.requests.start(server.user_id, chat.id, new, caller=Caller("caller"))
    assert (await server.store.chat_log.messages(server.user_id, chat.id)).messages == ()


@rule("R3")
async def test_a_named_session_that_is_gone_fails_at_once(server: MemoryServer, desk: ScriptedExecutor) -> None:
    gone = desk.session_id
    await desk.disconnect()
    await desk.connect()
    with refused("session_gone"):
        await chosen(server, session_id=gone)


@rule("R3")
async def test_executors_and_their_models_are_known_after_a_restart(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    await desk.disconnect()
    async with MemoryServer(store=server.store, clock=server.clock) as again:
        started = await again.ask((await again.chat()).id)
        assert await state_of(again, started) == "queued"
        with refused("model_not_found"):
            await again.ask((await again.chat()).id, model="test/other")
        shown = again.services.presence.executors(again.user_id, lambda _: 0)
        assert [(one.id, one.online) for one in shown] == [("desk", False)]


@rule("R2", "R4")
async def test_nothing_that_was_started_is_ever_offered_again(server: MemoryServer, desk: ScriptedExecutor) -> None:
    other = await executor(server, "laptop")
    started, _ = await streaming(server, desk, prefer_executor_id="desk")
    await desk.disconnect()
    await server.clock.advance(61)
    assert await state_of(server, started) == "interrupted"
    await desk.connect(instance="instance-2")
    await settle()
    assert idle(server, other.session_id)
    assert idle(server, desk.session_id)


@rule("R3")
async def test_a_connection_that_cannot_list_its_models_keeps_those_it_had(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    await desk.disconnect()
    waiting = await server.ask((await server.chat()).id)
    (listed,) = desk.ready.connections
    silent = listed.model_copy(update={"models": [], "error": failure("upstream_unreachable")})
    desk.ready = desk.ready.model_copy(update={"connections": [silent]})
    await desk.connect()
    assert (await desk.offer()).run_id == waiting.run.id


@rule("R7")
async def test_what_goes_beyond_the_runs_of_a_user_waits_for_one_to_end() -> None:
    async with MemoryServer(user_runs=2) as server:
        await executor(server, "one")
        await executor(server, "other")
        asked = [await start(server, (await server.chat()).id, model="test/m", message="hi") for _ in range(4)]
        await settle()
        assert [await state_of(server, one) for one in asked] == ["offered", "offered", "queued", "queued"]
        await stop(server, asked[0])
        await settle()
        assert [await state_of(server, one) for one in asked] == ["aborted", "offered", "offered", "queued"]
