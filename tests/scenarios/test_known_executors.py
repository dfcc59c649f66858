"""How many executors of a user are known, what of them is stored, and forgetting them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from keyside.adapters.memory.registry import MemoryRegistry
from keyside.adapters.memory.store import MemoryStore
from keyside.protocol.commands import NewRun, UserTurn
from keyside.protocol.entities import Connection, Failure, Model
from keyside.services.ports import KnownExecutor, Unavailable, user_room
from keyside.services.presence import MAX_EXECUTORS, MAX_USER_MODELS
from keyside.testing import MemoryServer, ScriptedExecutor, settle
from tests.scenarios.kit import ended, laptop, refused, second_user, start, state_of, streaming, told

rule = pytest.mark.rule


class NotedRegistry(MemoryRegistry):
    """A registry that notes what is stored and removed, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []
        self.fails = False

    async def save(self, known: KnownExecutor) -> None:
        self._note(f"save {known.executor_id}")
        await super().save(known)

    async def forget(self, user_id: int, executor_id: str) -> None:
        self._note(f"forget {executor_id}")
        await super().forget(user_id, executor_id)

    def _note(self, what: str) -> None:
        if self.fails:
            raise Unavailable
        self.noted.append(what)


@pytest.fixture
def noted() -> NotedRegistry:
    return NotedRegistry()


@pytest.fixture
async def server(noted: NotedRegistry) -> AsyncIterator[MemoryServer]:
    store = MemoryStore()
    store.registry = noted
    async with MemoryServer(store=store) as running:
        yield running


def with_models(*counts: int) -> list[Connection]:
    return [
        Connection(id=f"c{at}", provider="test", models=[Model(id=f"m{at}-{n}") for n in range(count)])
        for at, count in enumerate(counts)
    ]


def known_to(server: MemoryServer, user_id: int | None = None) -> list[str]:
    found = server.services.presence.executors(user_id or server.user_id, server.services.runs.count)
    return [one.id for one in found]


async def announced(server: MemoryServer, name: str, **update: Any) -> ScriptedExecutor:
    made = ScriptedExecutor(server, executor_id=name)
    made.ready = made.ready.model_copy(update=update)
    await made.connect()
    return made


async def away(server: MemoryServer, *names: str, **update: Any) -> None:
    """Executors that came and went, one after the other."""
    for name in names:
        await (await announced(server, name, **update)).disconnect()
        await server.clock.advance(0.1)


# --- one announcement --------------------------------------------------------------------------------


@rule("E1")
@pytest.mark.parametrize(
    "connections",
    [
        with_models(5001),
        with_models(*[51] * 99),
        [Connection(id="c", provider="p", models=[Model(id=f"{n}" + "x" * 290, name="y" * 290) for n in range(2000)])],
        [Connection(id="c", provider="p", models=[Model(id=f"{n}", name="語" * 290) for n in range(1300)])],
    ],
    ids=["one connection", "many connections", "long names", "bytes and not characters"],
)
async def test_an_announcement_that_is_too_large_is_refused_and_changes_nothing(
    server: MemoryServer, desk: ScriptedExecutor, connections: list[Connection]
) -> None:
    before = await server.store.registry.load()
    with refused("too_large"):
        await announced(server, "large", connections=connections)
    with refused("too_large"):
        await announced(server, "desk", connections=connections)
    assert known_to(server) == ["desk"]
    assert await server.store.registry.load() == before
    await announced(server, "just-so", connections=with_models(*[50] * 100))


@rule("E1", "R3")
async def test_models_of_before_are_kept_only_while_an_announcement_may_have_so_many(server: MemoryServer) -> None:
    failed = Failure(code="upstream_unreachable", message="no")
    first, second = with_models(3000, 3000)
    desk = await announced(server, "desk", connections=[first])
    silent = first.model_copy(update={"models": [], "error": failed})
    for connections, kept in (([silent], 3000), ([silent, second], 3000), ([silent], 0)):
        desk.ready = desk.ready.model_copy(update={"connections": connections})
        ack = await server.services.executors.ready(desk.session_id, desk.ready)
        assert sum(len(one.models) for one in ack.executor.connections) == kept


@rule("E1")
async def test_an_announcement_that_says_nothing_new_is_not_stored(server: MemoryServer, noted: NotedRegistry) -> None:
    desk = await announced(server, "desk")
    for _ in range(40):
        await desk.connect()
        await desk.disconnect()
        await server.clock.advance(10)
    assert noted.noted == ["save desk"]
    desk.ready = desk.ready.model_copy(update={"max_runs": 3})
    await desk.connect()
    assert noted.noted == ["save desk"] * 2
    # When it was there last is stored, but not each time.
    await server.clock.advance(3601)
    await desk.connect()
    await desk.connect()
    assert noted.noted == ["save desk"] * 3


@rule("D4", "E1")
async def test_an_announcement_that_could_not_be_stored_is_stored_when_it_is_repeated(
    server: MemoryServer, noted: NotedRegistry
) -> None:
    desk = await announced(server, "desk")
    desk.ready = desk.ready.model_copy(update={"max_runs": 3})
    noted.fails = True
    with pytest.raises(Unavailable):
        await desk.connect()
    noted.fails = False
    await desk.connect()
    assert [one.max_runs for one in await noted.load()] == [3]


@rule("E1")
async def test_after_a_restart_the_same_announcement_is_not_stored_again(
    server: MemoryServer, noted: NotedRegistry
) -> None:
    await away(server, "desk")
    async with MemoryServer(store=server.store, clock=server.clock) as again:
        await announced(again, "desk")
    assert noted.noted == ["save desk"]


# --- how many are known ------------------------------------------------------------------------------


@rule("E1")
async def test_for_a_new_executor_the_one_is_forgotten_that_was_away_longest(server: MemoryServer) -> None:
    here = await announced(server, "here")
    names = [f"old-{n}" for n in range(MAX_EXECUTORS - 1)]
    await away(server, *names)
    await away(server, "old-0")  # it came back, and is not the one that was away longest any more
    assert len(known_to(server)) == MAX_EXECUTORS
    await announced(server, "new")
    assert set(known_to(server)) == {"here", "new", *names} - {"old-1"}
    assert {one.executor_id for one in await server.store.registry.load()} == set(known_to(server))
    # One that is known already needs no room.
    await here.disconnect()
    await here.connect()
    assert len(known_to(server)) == MAX_EXECUTORS


@rule("E1")
async def test_how_long_one_was_away_counts_from_when_it_went(server: MemoryServer) -> None:
    first = await announced(server, "came-first")
    await server.clock.advance(1)
    await away(server, *[f"old-{n}" for n in range(MAX_EXECUTORS - 1)])
    await first.disconnect()
    await announced(server, "new")
    assert "came-first" in known_to(server)
    assert "old-0" not in known_to(server)


@rule("E1")
async def test_one_with_runs_is_forgotten_last_and_may_come_back(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, _ = await streaming(server, desk)
    await desk.disconnect()
    await server.clock.advance(1)
    await away(server, *[f"old-{n}" for n in range(MAX_EXECUTORS - 1)])
    await announced(server, "new")
    assert "desk" in known_to(server)
    assert "old-0" not in known_to(server)
    others = [f"here-{n}" for n in range(MAX_EXECUTORS - 1)]
    for name in others:
        await announced(server, name)
    assert set(known_to(server)) == {"new", *others}
    assert await state_of(server, started) == "suspended"


@rule("E1")
async def test_where_all_are_connected_another_one_is_refused(server: MemoryServer) -> None:
    for n in range(MAX_EXECUTORS):
        last = await announced(server, f"here-{n}")
    with refused("too_many_executors"):
        await announced(server, "one-too-many")
    other = ScriptedExecutor(server, executor_id="of-another-user")
    other.session_id = server.connect(user_id=await second_user(server))
    await server.services.executors.ready(other.session_id, other.ready)
    await last.disconnect()
    await announced(server, "one-too-many")
    assert len(known_to(server)) == MAX_EXECUTORS


@rule("E1")
async def test_all_executors_of_a_user_have_so_many_models_and_not_more(server: MemoryServer) -> None:
    await away(server, "small", connections=[])
    await away(server, "old-0", "old-1", connections=with_models(5000))
    for n in range(2):
        await announced(server, f"here-{n}", connections=with_models(5000))
    await announced(server, "new", connections=with_models(1))
    assert set(known_to(server)) == {"small", "old-1", "here-0", "here-1", "new"}
    await announced(server, "here-2", connections=with_models(5000))
    assert "old-1" not in known_to(server)
    with refused("too_many_executors"):
        await announced(server, "here-3", connections=with_models(5000))
    shown = server.services.presence.executors(server.user_id, server.services.runs.count)
    assert sum(len(one.models) for executor in shown for one in executor.connections) <= MAX_USER_MODELS


# --- forgetting --------------------------------------------------------------------------------------


@rule("E1")
async def test_an_executor_that_is_away_can_be_forgotten(server: MemoryServer, desk: ScriptedExecutor) -> None:
    forget = server.services.executors.forget
    with refused("conflict"):
        await forget(server.user_id, "desk")
    await desk.disconnect()
    await settle()
    server.hub.told.clear()
    with refused("not_found"):
        await forget(await second_user(server), "desk")
    await forget(server.user_id, "desk")
    await settle()
    assert known_to(server) == []
    assert await server.store.registry.load() == ()
    assert len(told(server, user_room(server.user_id), "executors:changed")) == 1
    with refused("not_found"):
        await forget(server.user_id, "desk")
    again = ScriptedExecutor(server, secret="it has another secret now")
    await again.connect()
    assert known_to(server) == ["desk"]


@rule("D4")
async def test_what_could_not_be_forgotten_is_still_known(server: MemoryServer, noted: NotedRegistry) -> None:
    await away(server, "desk")
    noted.fails = True
    with pytest.raises(Unavailable):
        await server.services.executors.forget(server.user_id, "desk")
    assert known_to(server) == ["desk"]


@rule("E1", "R3")
@pytest.mark.parametrize("asked", [{}, {"executor_id": "desk"}], ids=["by model", "by name"])
async def test_what_waited_only_for_a_forgotten_executor_fails(
    server: MemoryServer, desk: ScriptedExecutor, asked: dict[str, str]
) -> None:
    await desk.disconnect()
    await away(server, "other", connections=with_models(1))
    waiting = await start(server, (await server.chat()).id, message="hi", **asked)
    elsewhere = await start(server, (await server.chat()).id, model="m0-0", message="hi")
    assert await state_of(server, waiting) == "queued"
    await server.services.executors.forget(server.user_id, "desk")
    assert await ended(server, waiting) == ("failed", "model_not_found", "")
    assert await state_of(server, elsewhere) == "queued"


@rule("R3")
async def test_what_another_executor_can_run_goes_on_waiting(server: MemoryServer, desk: ScriptedExecutor) -> None:
    other = await laptop(server)
    await desk.disconnect()
    await other.disconnect()
    waiting = await server.ask((await server.chat()).id)
    await server.services.executors.forget(server.user_id, "desk")
    assert await state_of(server, waiting) == "queued"


@rule("R3")
async def test_a_model_that_is_not_offered_just_now_is_waited_for_whoever_else_is_forgotten(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    await desk.disconnect()
    await away(server, "other", connections=with_models(1))
    waiting = await server.ask((await server.chat()).id)
    desk.ready = desk.ready.model_copy(update={"connections": []})
    await desk.connect()
    await server.services.executors.forget(server.user_id, "other")
    assert await state_of(server, waiting) == "queued"


@rule("R3")
async def test_a_run_that_names_another_executor_goes_on_waiting_for_that_one(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    other = await laptop(server)
    await desk.disconnect()
    await other.disconnect()
    waiting = await server.ask((await server.chat()).id, executor_id="laptop")
    other.ready = other.ready.model_copy(update={"connections": []})
    await other.connect()
    await server.services.executors.forget(server.user_id, "desk")
    assert await state_of(server, waiting) == "queued"


# --- whose they are ----------------------------------------------------------------------------------


@rule("E12", "R2")
async def test_a_shared_executor_is_there_for_its_own_user_and_for_the_owner(server: MemoryServer) -> None:
    second = await second_user(server)
    third = (await server.store.accounts.user("third", server.clock.now())).id
    shared = ScriptedExecutor(server, executor_id="shared", kind="shared")
    shared.session_id = server.connect("shared", user_id=second)
    await server.services.executors.ready(shared.session_id, shared.ready)
    assert [known_to(server, user) for user in (second, server.user_id, third)] == [["shared"], ["shared"], []]
    chat = await server.services.chats.create(third, "")
    new = NewRun(model="test/m", message=UserTurn(content="hi"), executor_id="shared")
    with refused("model_not_found"):
        await server.services.requests.start(third, chat.id, new)
    with refused("model_not_found"):
        await server.services.requests.start(third, chat.id, new.model_copy(update={"executor_id": None}))
    with refused("session_gone"):
        await server.services.requests.start(third, chat.id, new.model_copy(update={"session_id": shared.session_id}))


@rule("E12")
async def test_what_the_owner_shares_is_not_given_to_others(server: MemoryServer) -> None:
    shared = ScriptedExecutor(server, executor_id="shared", kind="shared")
    await shared.connect()
    assert known_to(server, await second_user(server)) == []
    assert known_to(server) == ["shared"]
