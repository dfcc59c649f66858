"""An offer and its claim: taken, declined, unanswered, and given to the next executor."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from keyside.core.changes import Changes
from keyside.core.limits import Limits
from keyside.protocol import wire
from keyside.protocol.commands import NewMessage
from keyside.testing import MemoryServer, ScriptedExecutor, text_line
from tests.scenarios.kit import (
    ask_desk_first,
    ended,
    idle,
    laptop,
    offered,
    refused,
    run_of,
    start,
    state_of,
)

rule = pytest.mark.rule
DEEP: Any = json.loads("[" * 251 + "]" * 251)
"""It can be written as JSON by itself, and not in an offer."""


@pytest.fixture
async def desk_asleep() -> AsyncIterator[MemoryServer]:
    """A server whose desk does not answer and whose laptop is away. Runs wait for at most 100 seconds."""
    async with MemoryServer(limits=Limits(queue=100)) as server:
        desk, other = ScriptedExecutor(server), await laptop(server)
        await desk.connect()
        server.calls.answers[desk.session_id] = None
        await other.disconnect()
        yield server


def refuse(retryable: bool, message: str = "no") -> Any:
    """A callback that turns an offer down."""
    error = {"code": "executor_busy", "message": message, "retryable": retryable}
    return lambda data: {"status": False, "run_id": data["run_id"], "attempt": data["attempt"], "error": error}


@rule("E2")
async def test_the_call_names_the_run_and_brings_the_request(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await offered(server, desk, content="What is it?", params={"temperature": 0.5})
    assert (offer.run_id, offer.attempt, offer.chat_id) == (started.run.id, 1, started.run.chat_id)
    assert (offer.session_id, offer.message_id) == (desk.session_id, started.assistant_message.id)
    assert offer.model == wire.ModelRef(id="m", provider="test", connection_id="c1")
    assert offer.form_data == {
        "model": "m",
        "stream": True,
        "temperature": 0.5,
        "messages": [{"role": "user", "content": "What is it?"}],
    }


@rule("E2")
@pytest.mark.parametrize(
    ("asked", "limits"),
    [
        ({"first_line_timeout": 5, "idle_timeout": 7}, (5, 7)),
        ({"first_line_timeout": 5}, (5, 300)),
        ({"idle_timeout": 7}, (200, 7)),
        ({}, (200, 300)),
    ],
)
async def test_the_call_says_how_long_the_upstream_may_be_silent_as_asked_for_or_as_is_usual(
    asked: dict[str, float], limits: tuple[float, float]
) -> None:
    async with MemoryServer(limits=Limits(first_line=200, idle=300)) as server:
        desk = ScriptedExecutor(server)
        await desk.connect()
        _, offer = await offered(server, desk, **asked)
        assert (offer.first_line_timeout, offer.idle_timeout) == limits


@rule("E2")
@pytest.mark.parametrize("mode", ["reply", "regenerate", "continue"])
async def test_a_run_that_could_never_be_sent_is_refused_at_once(
    server: MemoryServer, desk: ScriptedExecutor, mode: str
) -> None:
    await desk.disconnect()
    chat = await server.chat()
    for role in ("user", "assistant") * 4:
        await server.services.messages.add(server.user_id, chat.id, NewMessage(role=role, content="x" * 1_000_000))
    stored = await server.store.chat_log.messages(server.user_id, chat.id)
    with refused("too_large"):
        await start(server, chat.id, mode=mode, **({"message": "and then?"} if mode == "reply" else {}))
    assert await server.store.chat_log.messages(server.user_id, chat.id) == stored
    assert await server.store.chat_log.queued(server.user_id) == ()


@rule("E2")
async def test_a_run_may_be_just_as_long_as_a_request_holds(server: MemoryServer, desk: ScriptedExecutor) -> None:
    _, offer = await offered(server, desk)
    around = len(orjson.dumps(offer.form_data)) - len("hello")
    most = wire.MAX_REQUEST - around + len("m") - len("test/m")  # it is measured with the model as it was asked for
    chat = await server.chat()
    with refused("too_large"):
        await server.ask(chat.id, "x" * (most + 1))
    await server.ask(chat.id, "x" * most)
    assert len(orjson.dumps((await desk.offer()).form_data)) == wire.MAX_REQUEST - len("test/")


@rule("E2")
@pytest.mark.parametrize("params", [{"seed": 10**32}, {"tools": DEEP}])
async def test_a_run_of_an_older_server_that_cannot_be_sent_fails_when_its_turn_comes(
    server: MemoryServer, desk: ScriptedExecutor, params: dict[str, Any]
) -> None:
    await desk.disconnect()
    started = await server.ask((await server.chat()).id)
    ((_, run),) = await server.store.chat_log.queued(server.user_id)
    older = replace(run, request=replace(run.request, params=params), version=run.version + 1)
    await server.store.chat_log.commit(Changes(run.user_id, run.chat_id, server.clock.now(), (older,)))
    await desk.connect()
    assert await ended(server, started) == ("failed", "bad_request", "")


@rule("E2")
async def test_a_history_that_is_too_long_for_one_request_fails_with_that_reason(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    await desk.disconnect()
    chat = await server.chat()
    grown = [NewMessage(id=f"m{n}", role="user", content="x") for n in range(5)]
    for message in grown:
        await server.services.messages.add(server.user_id, chat.id, message)
    started = await server.ask(chat.id)
    for message in grown:
        await server.services.messages.edit(server.user_id, chat.id, str(message.id), "x" * 1_000_000)
    await desk.connect()
    assert await ended(server, started) == ("failed", "too_large", "")
    # The executor had the offer's place, and learns that there is nothing to do.
    assert (await desk.told())["type"] == "request:chat:abort"


@rule("E3", "R1")
async def test_the_start_frame_binds_the_run_to_the_attempt(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await offered(server, desk)
    assert await state_of(server, started) == "offered"
    with refused("not_started"):
        await desk.send(offer, 0, text_line("too early"))
    assert await desk.claim(offer) == 0
    assert await desk.claim(offer) == 0
    assert await state_of(server, started) == "streaming"
    assert (await run_of(server, started)).started_at == server.clock.now()


@rule("E3", "R2")
async def test_an_offer_that_is_declined_for_now_goes_to_the_next_executor(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    other = await laptop(server)
    server.calls.answers[desk.session_id] = refuse(retryable=True)
    started, first = await ask_desk_first(server, desk)
    second = await other.offer()
    assert (second.run_id, second.attempt) == (started.run.id, 2)
    with refused("stale_attempt"):
        await desk.claim(first)
    await other.claim(second)
    assert (await run_of(server, started)).assignment is not None
    # Each was tried once, so nobody is asked a second time.
    assert (await desk.told())["type"] == "request:chat:abort"
    assert idle(server, desk.session_id)


@rule("E3", "R2")
async def test_an_offer_that_is_declined_for_good_fails_the_run_with_its_reason(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    other = await laptop(server)
    server.calls.answers[desk.session_id] = refuse(retryable=False, message="Not on my account.")
    started, _ = await ask_desk_first(server, desk)
    assert await ended(server, started) == ("failed", "executor_busy", "")
    failed = (await run_of(server, started)).failure
    assert failed is not None
    assert failed.message == "Not on my account."
    assert idle(server, other.session_id)


@rule("E3", "R3")
async def test_when_all_have_declined_the_run_fails_with_the_last_reason(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    server.calls.answers[desk.session_id] = refuse(retryable=True, message="Later.")
    started, _ = await offered(server, desk)
    assert await ended(server, started) == ("failed", "executor_busy", "")


@rule("E3")
async def test_a_callback_that_does_not_come_in_time_gives_the_run_to_the_next(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    server.calls.answers[desk.session_id] = None
    other = await laptop(server)
    started, first = await ask_desk_first(server, desk)
    await server.clock.advance(9.5)
    assert await state_of(server, started) == "offered"
    assert idle(server, other.session_id)
    await server.clock.advance(1)
    second = await other.offer()
    assert second.attempt == 2
    with refused("stale_attempt"):
        await desk.claim(first)
    assert await other.claim(second) == 0


@rule("R3")
async def test_who_slept_through_an_offer_is_asked_again_while_the_run_waits_for_another(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    server.calls.answers[desk.session_id] = None
    await (await laptop(server)).disconnect()
    started, first = await offered(server, desk)
    await server.clock.advance(10.5)
    assert await state_of(server, started) == "queued"
    with refused("stale_attempt"):
        await desk.claim(first)
    assert (await desk.told())["type"] == "request:chat:abort"
    await server.clock.advance(9)
    assert idle(server, desk.session_id)
    await server.clock.advance(1.5)
    second = await desk.offer()
    assert second.attempt == 2
    assert await desk.claim(second) == 0


@rule("R3")
async def test_asking_again_does_not_lengthen_the_wait(desk_asleep: MemoryServer) -> None:
    server = desk_asleep
    started = await server.ask((await server.chat()).id)
    await server.clock.advance(99)
    assert await state_of(server, started) in ("queued", "offered")
    await server.clock.advance(12)
    assert await ended(server, started) == ("failed", "no_executor", "")
    assert (await run_of(server, started)).attempt == 4  # after 10, 20 and 30 s, and 10 s for each


@rule("E3")
async def test_a_callback_without_a_claim_is_no_start(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, _ = await offered(server, desk)
    await server.clock.advance(10.5)
    assert await ended(server, started) == ("failed", "callback_timeout", "")


@rule("E3", "C8")
async def test_a_callback_of_another_attempt_changes_nothing(server: MemoryServer, desk: ScriptedExecutor) -> None:
    server.calls.answers[desk.session_id] = lambda data: {"status": False, "run_id": data["run_id"], "attempt": 9}
    started, offer = await offered(server, desk)
    assert await state_of(server, started) == "offered"
    assert await desk.claim(offer) == 0


@rule("E3")
@pytest.mark.parametrize("answer", [None, True, "yes", 7, [], {}, {"status": True}, {"status": "maybe", "run_id": 1}])
async def test_a_callback_that_is_none_is_as_a_refusal(
    server: MemoryServer, desk: ScriptedExecutor, answer: Any
) -> None:
    server.calls.answers[desk.session_id] = lambda _: answer
    started, _ = await offered(server, desk)
    assert await ended(server, started) == ("failed", "executor_refused", "")


@rule("E3")
async def test_an_executor_that_goes_during_the_call_frees_the_run_at_once(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    server.calls.answers[desk.session_id] = None
    other = await laptop(server)
    await ask_desk_first(server, desk)
    await desk.disconnect()
    assert (await other.offer()).attempt == 2
