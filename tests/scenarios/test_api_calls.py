"""Calls by programs: who follows them, what a key stands for, and what the caller gets."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from keyside.adapters.memory.log import MemoryChatLog
from keyside.adapters.memory.store import MemoryStore
from keyside.core.run import Run
from keyside.protocol.commands import NewRun, UserTurn
from keyside.services import api_calls
from keyside.services.api_calls import ApiCall, Chunk, Ended
from keyside.services.ports import user_room
from keyside.testing import DONE, MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import refused, second_user, told

rule = pytest.mark.rule


def new(**more: Any) -> NewRun:
    return NewRun(model="test/m", message=UserTurn(content="hi"), **more)


async def opened(server: MemoryServer, stack: AsyncExitStack, key: str | None = None, **more: Any) -> ApiCall:
    """A call that is open as long as the stack."""
    user_id = more.pop("user_id", server.user_id)
    return await stack.enter_async_context(server.services.api_calls.open(user_id, None, new(**more), key=key))


async def state(server: MemoryServer, call: ApiCall) -> tuple[str, str | None]:
    await settle()
    run = await server.services.requests.get(call.run.user_id, call.run.id)
    return run.state.value, run.failure.code if run.failure else None


async def answer(desk: ScriptedExecutor, *lines: str) -> None:
    offer = await desk.offer()
    await desk.claim(offer)
    await desk.send(offer, 0, *lines, done=True, finish={"reason": "stop"})


async def text_of(call: ApiCall) -> tuple[str, Run]:
    text = ""
    async for event in call:
        if isinstance(event, Ended):
            return text, event.run
        text += event.delta.content
    raise AssertionError("the call has no end")


@rule("R9")
async def test_a_call_without_a_key_is_stopped_as_soon_as_its_caller_has_gone(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    async with AsyncExitStack() as stack:
        call = await opened(server, stack)
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("a"))
        assert await state(server, call) == ("streaming", None)
    assert await state(server, call) == ("aborted", "caller_gone")
    assert (await desk.told())["type"] == "request:chat:abort"


@rule("R6", "R9")
async def test_the_same_key_again_follows_the_run_though_the_connection_that_it_replaces_goes(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        begun = await opened(server, first, "key")
        offer = await desk.offer()
        await desk.claim(offer)
        again = await opened(server, second, "key")
        assert again.run.id == begun.run.id
        await first.aclose()
        await desk.send(offer, 0, text_line("whole"), done=True, finish={"reason": "stop"})
        text, run = await asyncio.wait_for(text_of(again), 10)
    assert (text, run.state.value) == ("whole", "done")


@rule("R6", "R9")
async def test_a_keyed_call_goes_on_for_half_a_minute_without_a_caller(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    async with AsyncExitStack() as stack:
        call = await opened(server, stack, "key")
        offer = await desk.offer()
        await desk.claim(offer)
    await server.clock.advance(29)
    assert await state(server, call) == ("streaming", None)
    async with AsyncExitStack() as stack:
        assert (await opened(server, stack, "key")).run.id == call.run.id
        await server.clock.advance(60)
        assert await state(server, call) == ("streaming", None)
    await server.clock.advance(31)
    assert await state(server, call) == ("aborted", "caller_gone")
    async with AsyncExitStack() as stack:  # nobody waited for that answer: the key is free again
        assert (await opened(server, stack, "key")).run.id != call.run.id


@rule("R6", "R3")
async def test_a_key_whose_run_was_never_claimed_is_free_again(server: MemoryServer, desk: ScriptedExecutor) -> None:
    desk.says = lambda data: {
        "status": False,
        "run_id": data["run_id"],
        "attempt": data["attempt"],
        "error": {"code": "executor_busy", "message": "not now", "retryable": True},
    }
    server.calls.answers[desk.session_id] = desk.says
    async with AsyncExitStack() as stack:
        call = await opened(server, stack, "key")
        _, run = await asyncio.wait_for(text_of(call), 10)
        assert (run.state.value, run.started_at) == ("failed", None)
    async with AsyncExitStack() as stack:
        again = await opened(server, stack, "key")
        assert again.run.id != call.run.id
        with refused("conflict"):
            await opened(server, stack, "key", provider="test")


@rule("R6", "R9")
async def test_a_key_whose_run_was_deleted_stands_for_it_until_it_is_old(
    server: MemoryServer, desk: ScriptedExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_calls, "KEY_SECONDS", 100.0)
    chat = await server.chat()
    calls = server.services.api_calls
    async with AsyncExitStack() as stack:
        call = await stack.enter_async_context(calls.open(server.user_id, chat.id, new(), key="k"))
        await answer(desk, text_line("a"))
        await text_of(call)
    await server.services.messages.remove(server.user_id, chat.id, call.run.message_id)
    with refused("conflict"):
        await calls.open(server.user_id, chat.id, new(), key="k").__aenter__()
    await server.clock.advance(100)
    async with calls.open(server.user_id, chat.id, new(), key="k") as again:
        assert again.run.id != call.run.id


@rule("R6", "R9")
async def test_a_key_stands_for_its_last_run_whatever_was_deleted_of_those_before(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    calls, chats = server.services.api_calls, [await server.chat() for _ in range(3)]
    accepts, desk.says = desk.says, None
    async with calls.open(server.user_id, chats[0].id, new(), key="k") as unclaimed:
        await desk.offer()
        await server.services.requests.stop(server.user_id, unclaimed.run.id)
        assert (await desk.told())["type"] == "request:chat:abort"
    await server.services.chats.delete(server.user_id, chats[0].id)
    desk.says = accepts
    async with calls.open(server.user_id, chats[1].id, new(), key="k") as answered:
        await answer(desk, text_line("paid for"))
        await text_of(answered)
    assert answered.run.id != unclaimed.run.id
    async with calls.open(server.user_id, chats[2].id, new(), key="k") as again:
        assert again.run.id == answered.run.id
        assert (await text_of(again))[0] == "paid for"


@rule("R6", "R8")
async def test_after_a_start_of_the_server_a_keyed_call_has_its_grace_and_another_is_stopped() -> None:
    async with MemoryServer() as old, AsyncExitStack() as stack:
        desk = ScriptedExecutor(old)
        await desk.connect()
        keyed = await opened(old, stack, "key")
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("a"))
        bare = await opened(old, stack)
        bare_offer = await desk.offer()
        await desk.claim(bare_offer)
        stack.pop_all()  # the process is killed: nobody leaves in order
        async with MemoryServer(store=old.store, clock=old.clock, ids=old.ids) as server:
            assert await state(server, bare) == ("aborted", "caller_gone")
            assert await state(server, keyed) == ("suspended", None)
            desk.server = server
            holds = [(offer.run_id, 1), (bare_offer.run_id, 1)]
            verdicts = {said.run_id: said.verdict for said in (await desk.connect(holds)).runs}
            assert verdicts == {offer.run_id: "continue", bare_offer.run_id: "drop"}
            async with AsyncExitStack() as later:
                again = await opened(server, later, "key")
                assert again.run.id == keyed.run.id
                await server.clock.advance(45)
                await desk.send(offer, 1, text_line("b"), done=True, finish={"reason": "stop"})
                assert (await asyncio.wait_for(text_of(again), 10))[0] == "ab"


class SlowLog(MemoryChatLog):
    """A log that is slow to say, the first time, which runs a key stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.let = asyncio.Event()

    async def last_number(self, user_id: int, prefix: str) -> int | None:
        self.asked += 1
        if self.asked == 1:
            await self.let.wait()
        return await super().last_number(user_id, prefix)


@rule("R6")
@pytest.mark.parametrize("whose", ["another key of the same user", "the same key of another user"])
async def test_callers_with_different_keys_do_not_wait_for_each_other(whose: str) -> None:
    log = SlowLog()
    async with MemoryServer(store=MemoryStore(log)) as server, AsyncExitStack() as stack:
        mine, theirs = ScriptedExecutor(server), ScriptedExecutor(server)
        await mine.connect()
        user_id, key = server.user_id, "other"
        if whose == "the same key of another user":
            user_id, key = await second_user(server), "same"
            theirs.session_id = server.connect(user_id=user_id)
            await server.services.executors.ready(theirs.session_id, theirs.ready)
        waits = asyncio.ensure_future(opened(server, stack, "same"))
        await settle()
        try:
            begun = await asyncio.wait_for(opened(server, stack, key, user_id=user_id), 10)
            assert (begun.run.user_id, log.asked, waits.done()) == (user_id, 2, False)
        finally:
            log.let.set()
        assert (await asyncio.wait_for(waits, 10)).run.key != begun.run.key


@rule("R6")
async def test_two_callers_with_the_same_key_at_once_get_the_same_run(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    async with AsyncExitStack() as stack:
        calls = await asyncio.gather(*(opened(server, stack, "key") for _ in range(3)))
        assert len({call.run.id for call in calls}) == 1
        assert len((await server.store.chat_log.messages(server.user_id, calls[0].run.chat_id)).messages) == 2


@rule("V4")
async def test_a_call_in_no_list_changes_no_list(server: MemoryServer, desk: ScriptedExecutor) -> None:
    room = user_room(server.user_id)
    before = len(told(server, room, "chats:changed"))
    async with AsyncExitStack() as stack:
        call = await opened(server, stack)
        await answer(desk, text_line("a"))
        await asyncio.wait_for(text_of(call), 10)
    await server.services.chats.delete(server.user_id, call.run.chat_id)
    await settle()
    assert len(told(server, room, "chats:changed")) == before


@rule("E6")
async def test_whatever_is_read_can_be_passed_on(server: MemoryServer, desk: ScriptedExecutor) -> None:
    odd = '{"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": {"a": -Infinity, "b": NaN}}], "n": %s}'
    deep = '{"choices": [{"delta": {"content": "y"}}], "deep": ' + "[" * 400 + "]" * 400 + "}"
    async with AsyncExitStack() as stack:
        call = await opened(server, stack)
        await answer(desk, "data: " + odd % 10**30, "data: " + deep, text_line("z"), DONE)
        events = [event async for event in call]
    chunks = [event for event in events if isinstance(event, Chunk)]
    assert [chunk.delta.content for chunk in chunks] == ["x", "z"]
    written = orjson.loads(orjson.dumps(chunks[0].body))
    assert written["choices"][0]["logprobs"] == {"a": None, "b": None}
    assert isinstance(events[-1], Ended)
    assert events[-1].run.state.value == "done"
