"""The contract of `Registry`, which every implementation must fulfil."""

import json
from dataclasses import replace

import pytest
from sqlmodel import update

from keyside.adapters.memory.registry import MemoryRegistry
from keyside.adapters.sql.registry import SqlRegistry
from keyside.adapters.sql.tables import ExecutorRow
from keyside.protocol.entities import Connection, Failure, Model
from keyside.services.ports import KnownExecutor, Registry
from tests.contracts.logs import OTHER, OWNER, SqlShelf

DESK = KnownExecutor(
    user_id=OWNER,
    executor_id="desk",
    secret_hash="hash",
    name="Desk 語🙂",
    kind="browser",
    connections=(
        Connection(
            id="c1",
            provider="test",
            label="Home",
            models=[Model(id="m", name="M", context_length=8192, input=0.25, output=1.5), Model(id="n")],
            error=Failure(code="upstream_unauthorized", message="no", retryable=False),
        ),
        Connection(id="c2", provider="other"),
    ),
    max_runs=3,
    last_active_at=1_700_000_000.125,
)


@pytest.fixture(params=["sql", "memory"])
def registry(request: pytest.FixtureRequest) -> Registry:
    if request.param == "memory":
        return MemoryRegistry()
    shelf: SqlShelf = request.getfixturevalue("sql")
    return SqlRegistry(shelf.database, shelf.writer)


def in_order(known: tuple[KnownExecutor, ...]) -> list[KnownExecutor]:
    return sorted(known, key=lambda one: (one.user_id, one.executor_id))


@pytest.mark.rule("R3")
async def test_an_executor_and_its_models_are_known_after_it_has_gone(registry: Registry) -> None:
    assert await registry.load() == ()
    await registry.save(DESK)
    assert await registry.load() == (DESK,)


@pytest.mark.rule("E1", "R3")
async def test_what_an_executor_announces_replaces_what_it_said_before(registry: Registry) -> None:
    await registry.save(DESK)
    updated = replace(DESK, name="Desk", connections=(), max_runs=1, last_active_at=2, kind="companion")
    await registry.save(updated)
    assert await registry.load() == (updated,)


@pytest.mark.rule("E12")
async def test_the_id_of_an_executor_is_unique_per_user_only(registry: Registry) -> None:
    theirs = replace(DESK, user_id=OTHER, name="Another", secret_hash="another")
    phone = replace(DESK, executor_id="phone")
    for known in (theirs, phone, DESK):
        await registry.save(known)
    assert in_order(await registry.load()) == [DESK, phone, theirs]
    await registry.forget(OWNER, "desk")
    assert in_order(await registry.load()) == [phone, theirs]
    await registry.forget(OTHER, "phone")
    assert in_order(await registry.load()) == [phone, theirs]


async def test_an_executor_that_was_forgotten_may_come_again(registry: Registry) -> None:
    await registry.forget(OWNER, "desk")
    await registry.save(DESK)
    await registry.forget(OWNER, "desk")
    assert await registry.load() == ()
    await registry.save(DESK)
    assert await registry.load() == (DESK,)


@pytest.mark.rule("E1", "R3")
async def test_a_connection_that_an_older_server_took_and_this_one_does_not_is_left_out(sql: SqlShelf) -> None:
    await SqlRegistry(sql.database, sql.writer).save(DESK)
    c1, c2 = DESK.connections
    older = json.dumps([c1.model_dump() | {"models": [{"id": "m", "context_length": 10**30}]}, c2.model_dump()])
    await sql.writer.write(lambda connection: connection.execute(update(ExecutorRow).values(connections=older)))
    assert await SqlRegistry(sql.database, sql.writer).load() == (replace(DESK, connections=(c2,)),)


@pytest.mark.rule("R3")
async def test_the_next_process_knows_the_same_executors(sql: SqlShelf) -> None:
    await SqlRegistry(sql.database, sql.writer).save(DESK)
    await sql.reopen()
    assert await SqlRegistry(sql.database, sql.writer).load() == (DESK,)
