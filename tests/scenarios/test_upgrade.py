"""A database that a killed server of an older version left, opened by this one.

`tests/fixtures/upgrade` has the database, a description of what is in it, and the script that made both.
"""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from keyside.adapters.sql.store import SqlStore
from keyside.protocol import wire
from keyside.protocol.commands import NewRun
from keyside.testing import DONE, CountingIds, FakeClock, MemoryServer, ScriptedExecutor, text_line
from tests.scenarios.kit import refused, start

rule = pytest.mark.rule

FIXTURES = Path(__file__).parents[1] / "fixtures" / "upgrade"
OLD: dict[str, Any] = json.loads((FIXTURES / "0001.json").read_text(encoding="utf-8"))
RUNS: dict[str, dict[str, Any]] = OLD["runs"]
FINAL = ("done", "failed", "aborted")
CALLS = ("call with a key", "call without a key")
SECONDS = 20
"""How long the store's threads may take in real time."""


def names(*states: str) -> list[str]:
    """The runs of people's chats that were in one of these states."""
    return [name for name, run in RUNS.items() if run["state"] in states and name not in CALLS]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MemoryServer]:
    """This version on the old database, five seconds after the old server was killed."""
    shutil.copy(FIXTURES / "0001.db", tmp_path / "keyside.db")
    ids = CountingIds()
    for _ in range(1000):
        ids.new()  # the old server has used the first of them
    store = SqlStore(tmp_path)
    async with MemoryServer(store=store, clock=FakeClock(OLD["at"] + 5), ids=ids) as running:
        yield running


def known_executor(server: MemoryServer, id: str) -> ScriptedExecutor:
    """An executor of the old server, that has not connected to this one yet."""
    facts = OLD["executors"][id]
    return ScriptedExecutor(
        server, executor_id=id, secret=facts["secret"], instance=facts["instance"], models=facts["models"], max_runs=20
    )


async def resumed(server: MemoryServer, id: str) -> tuple[ScriptedExecutor, dict[str, wire.Verdict]]:
    """An executor that comes back with every run that it was given, and the verdicts by the runs' names."""
    executor = known_executor(server, id)
    ack = await executor.connect([(run["id"], run["attempt"]) for run in RUNS.values() if run["executor_id"] == id])
    by_id = {run["id"]: name for name, run in RUNS.items()}
    return executor, {by_id[verdict.run_id]: verdict for verdict in ack.runs}


async def told(executor: ScriptedExecutor, type: str) -> dict[str, Any]:
    """The data of the next message of a type."""
    async with asyncio.timeout(SECONDS):
        while True:
            message = await executor.server.calls.sessions[executor.session_id].get()
            if message["type"] == type:
                return dict(message["data"])


async def offer_to(executor: ScriptedExecutor) -> wire.CompletionRequest:
    """The next offer."""
    return wire.CompletionRequest.model_validate(await told(executor, "request:chat:completion"))


async def send(executor: ScriptedExecutor, name: str, index: int, *lines: str, **more: Any) -> int:
    """Sends a frame of the old attempt on its old channel; returns `expected` of its acknowledgement."""
    old: Any = SimpleNamespace(attempt=RUNS[name]["attempt"], channel=RUNS[name]["channel"])
    return await executor.send(old, index, *lines, **more)


async def state_of(server: MemoryServer, name: str) -> tuple[str, int]:
    """The run's state and attempt."""
    run = await server.services.requests.get(server.user_id, RUNS[name]["id"])
    return run.state.value, run.attempt


async def text_of(server: MemoryServer, name: str) -> str:
    """The text that a viewer sees who opens the chat now."""
    server.services.viewers.connect("viewer")
    opened = await server.services.viewers.open("viewer", server.user_id, RUNS[name]["chat_id"], None)
    shown: dict[str, str] = {message["id"]: message["content"] for message in opened["snapshot"]["messages"]}
    if RUNS[name]["message_id"] in shown:
        return shown[RUNS[name]["message_id"]]
    message = await server.store.chat_log.message(server.user_id, RUNS[name]["message_id"])
    assert message is not None
    return message.content


async def end_of(server: MemoryServer, name: str) -> None:
    """Returns when the run ends."""
    with server.hub.follow(RUNS[name]["chat_id"]) as coming:
        async for entry in coming:
            if entry.payload.get("run", {}).get("ended_at"):
                return


@rule("R8", "D1")
async def test_everything_is_listed_and_readable(server: MemoryServer) -> None:
    log = server.store.chat_log
    assert server.user_id == OLD["user"]["id"]
    listed = (await log.chats(server.user_id, limit=100)).chats
    assert {str(chat.id): chat.title for chat in listed} == {id: chat["title"] for id, chat in OLD["chats"].items()}
    for name, old in RUNS.items():
        run = await server.services.requests.get(server.user_id, old["id"])
        assert (run.chat_id, run.message_id) == (old["chat_id"], old["message_id"]), name
        assert list(await log.lines(run)) == old["lines"], name
        if name != "before it was continued":
            assert await text_of(server, name) == old["text"], name
    offered = {executor.id: executor for executor in server.services.presence.executors(server.user_id, lambda _: 0)}
    assert {id: [model.id for model in offered[id].connections[0].models] for id in offered} == {
        id: executor["models"] for id, executor in OLD["executors"].items()
    }


@rule("V3", "R8")
async def test_the_events_of_a_chat_can_be_read_without_a_gap(server: MemoryServer) -> None:
    for id, chat in OLD["chats"].items():
        floor = await server.store.chat_log.floor(int(id))
        entries = await server.store.chat_log.read(int(id), after=floor)
        assert entries is not None
        numbers = [entry.payload["seq"] for entry in entries]
        assert numbers == list(range(floor + 1, floor + 1 + len(numbers))), chat
        assert floor + len(numbers) >= chat["seq"], chat


async def test_the_parts_of_a_message_and_the_tree_of_a_chat_are_kept(server: MemoryServer) -> None:
    message = await server.store.chat_log.message(server.user_id, RUNS["done"]["message_id"])
    assert message is not None
    assert (message.status, message.reasoning, message.provider) == ("sent", "Let me think.", "test")
    assert [(call.id, call.name, call.arguments) for call in message.tool_calls] == [("call-1", "clock", "{}")]
    assert (message.prompt_tokens, message.completion_tokens) == (3, 2)
    branches = (await server.store.chat_log.messages(server.user_id, RUNS["first answer"]["chat_id"])).messages
    parents = {message.id: message.parent_id for message in branches}
    answers = [RUNS[name]["message_id"] for name in ("first answer", "second answer", "other branch")]
    assert parents[answers[0]] == parents[answers[1]] != parents[answers[2]]
    cut = (await server.store.chat_log.messages(server.user_id, RUNS["kept"]["chat_id"])).messages
    assert [message.content for message in cut] == ["the question of kept", "kept"]


async def test_a_token_still_signs_in(server: MemoryServer) -> None:
    identity = await server.services.accounts.by_token(OLD["user"]["token"])
    assert identity is not None
    assert identity.user_id == server.user_id
    assert sorted(identity.scopes) == ["api", "chats", "executor"]


async def test_sign_ins_end_and_the_secret_that_proved_them_is_gone(tmp_path: Path) -> None:
    """Until 0004 the cookie held the id of its sign-in, and the database what signed it."""
    with closing(sqlite3.connect(shutil.copy(FIXTURES / "0001.db", tmp_path / "keyside.db"))) as database, database:
        database.execute("INSERT INTO meta VALUES ('cookie_secret', 'x')")
        database.execute("INSERT INTO signin VALUES ('s1', ?, 'Firefox', ?, ?, NULL)", (1, OLD["at"], OLD["at"] + 1e6))
    async with MemoryServer(store=SqlStore(tmp_path), clock=FakeClock(OLD["at"] + 5)) as server:
        accounts = server.services.accounts
        assert await accounts.sign_ins(server.user_id) == ()
        made = await accounts.redeem((await accounts.new_link(server.user_id)).code, "Firefox", "here")
        assert await accounts.by_cookie(made.value) == made.identity
    with closing(sqlite3.connect(tmp_path / "keyside.db")) as database:
        assert database.execute("SELECT key FROM meta").fetchall() == [("url",)]


@rule("R8")
async def test_a_queued_run_is_offered_when_its_executor_announces_itself(server: MemoryServer) -> None:
    queued = names("queued")
    assert len(queued) == 3
    for name in queued:
        assert (await state_of(server, name))[0] == "queued"
    attic = known_executor(server, "attic")
    await attic.connect()
    offers = {offer.run_id: offer for offer in [await offer_to(attic) for _ in queued]}
    for name in queued:
        offer = offers[RUNS[name]["id"]]
        assert offer.attempt == RUNS[name]["attempt"] + 1
        assert offer.form_data["messages"] == [{"role": "user", "content": f"the question of {name}"}]
        await attic.claim(offer)
        await attic.finish(offer, 0, "stop", text_line("here"))
        assert await state_of(server, name) == ("done", offer.attempt)
        assert await text_of(server, name) == "here"
    assert offers[RUNS["queued by name"]["id"]].form_data["temperature"] == 0.5


@rule("R8", "E3")
async def test_an_offer_that_its_executor_still_holds_is_claimed(server: MemoryServer) -> None:
    desk, verdicts = await resumed(server, "desk")
    assert (verdicts["offered"].verdict, verdicts["offered"].expected) == ("continue", 0)
    assert await send(desk, "offered", 0) == 0
    await send(desk, "offered", 0, text_line("once"), DONE)
    assert await state_of(server, "offered") == ("done", 1)
    assert await text_of(server, "offered") == "once"


@rule("R8", "E4")
async def test_an_offer_that_nobody_holds_is_offered_again(server: MemoryServer) -> None:
    desk = known_executor(server, "desk")
    await desk.connect(instance="desk-2")
    offer = await offer_to(desk)
    assert (offer.run_id, offer.attempt) == (RUNS["offered"]["id"], 2)
    with refused("stale_attempt"):
        await send(desk, "offered", 0)
    await desk.claim(offer)


@rule("R8", "E1")
@pytest.mark.parametrize("id", ["desk", "laptop", "tablet", "phone"])
async def test_a_run_that_was_being_written_goes_on_where_its_lines_end(server: MemoryServer, id: str) -> None:
    bound = [name for name in names("streaming", "suspended") if RUNS[name]["executor_id"] == id]
    assert bound
    for name in bound:
        assert (await state_of(server, name))[0] == "suspended"
    executor, verdicts = await resumed(server, id)
    for name in bound:
        old, stored = RUNS[name], len(RUNS[name]["lines"])
        assert (verdicts[name].verdict, verdicts[name].expected) == ("continue", stored), name
        assert await state_of(server, name) == ("streaming", old["attempt"])
        with refused("gap", stored):
            await send(executor, name, stored + 1, text_line("too far"))
        again = old["lines"][-1:]
        assert await send(executor, name, stored - len(again), *again, text_line("and on")) == stored + 1
        assert await text_of(server, name) == old["text"] + "and on"
        await send(executor, name, stored + 1, DONE)
        assert await state_of(server, name) == ("done", old["attempt"]), name
        assert await text_of(server, name) == old["text"] + "and on"


@rule("R8", "E7")
async def test_a_run_whose_finish_reason_was_stored_is_done_though_nobody_comes_back(server: MemoryServer) -> None:
    ended = asyncio.create_task(end_of(server, "finish reason stored"))
    async with asyncio.timeout(SECONDS):
        while not ended.done():  # step by step: the store's threads do not wait for the clock, nor it for them
            await server.clock.advance(1)
            await asyncio.wait([ended], timeout=0.001)
    assert await state_of(server, "finish reason stored") == ("done", 1)
    assert await text_of(server, "finish reason stored") == "whole"


@rule("R8", "E6")
async def test_a_run_of_a_plain_executor_is_interrupted_and_keeps_its_text(server: MemoryServer) -> None:
    assert await state_of(server, "plain") == ("interrupted", 1)
    assert await text_of(server, "plain") == RUNS["plain"]["text"] == "bare lines"


@rule("R8", "R4")
async def test_an_interrupted_run_comes_back_with_the_same_attempt(server: MemoryServer) -> None:
    assert await state_of(server, "interrupted") == ("interrupted", 1)
    tablet, verdicts = await resumed(server, "tablet")
    assert (verdicts["interrupted"].verdict, verdicts["interrupted"].expected) == ("continue", 2)
    assert await state_of(server, "interrupted") == ("streaming", 1)
    await send(tablet, "interrupted", 2, text_line("here"), DONE)
    assert await state_of(server, "interrupted") == ("done", 1)
    assert await text_of(server, "interrupted") == "late but here"


@rule("R8", "R4")
async def test_what_was_closed_stays_closed(server: MemoryServer) -> None:
    ended = [*names(*FINAL), "closed"]
    assert {RUNS[name]["state"] for name in ended} == {*FINAL, "interrupted"}
    for id in ("desk", "tablet"):
        _, verdicts = await resumed(server, id)
        mine = [name for name in ended if RUNS[name]["executor_id"] == id]
        assert mine
        for name in mine:
            assert verdicts[name].verdict == "drop", name
    for name in ended:
        run = await server.services.requests.get(server.user_id, RUNS[name]["id"])
        old = RUNS[name]
        assert (run.state.value, run.attempt, run.closed_by) == (old["state"], old["attempt"], old["closed_by"]), name
        assert (run.failure.code if run.failure else None) == old["error"], name


@rule("R8")
async def test_a_call_without_a_key_whose_program_is_gone_is_ended(server: MemoryServer) -> None:
    assert await state_of(server, "call without a key") == ("aborted", 1)
    assert await text_of(server, "call without a key") == "for the program"


@rule("R6", "R8")
async def test_a_key_of_a_call_stands_for_the_same_run(server: MemoryServer) -> None:
    body, key = OLD["calls"]["bodies"]["call with a key"], OLD["calls"]["key"]
    async with server.services.api_calls.open(server.user_id, None, NewRun(**body), key=key) as call:
        assert call.run.id == RUNS["call with a key"]["id"]
        assert await text_of(server, "call with a key") == "for the program"
    with refused("conflict"):
        other = NewRun(**{**body, "params": {"temperature": 1}})
        async with server.services.api_calls.open(server.user_id, None, other, key=key):
            pass


@rule("R8")
async def test_the_chats_go_on(server: MemoryServer) -> None:
    desk, _ = await resumed(server, "desk")
    started = await start(server, RUNS["first answer"]["chat_id"], message="and now?")
    offer = await offer_to(desk)
    assert offer.run_id == started.run.id
    said = [turn["content"] for turn in offer.form_data["messages"]]
    assert said == ["the question of first answer", "two", "and now?"]
    await desk.claim(offer)
    await desk.finish(offer, 0, "stop", text_line("go on"))
    answer = await server.answer(started)
    assert (answer.content, answer.status) == ("go on", "sent")
