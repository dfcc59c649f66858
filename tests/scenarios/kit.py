"""Helpers of the scenarios: they bring a server into a state, and show its state."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from keyside.core.run import Run
from keyside.core.step import Refused
from keyside.protocol import wire
from keyside.protocol.commands import NewRun, Started, UserTurn
from keyside.protocol.errors import KeysideError
from keyside.testing import MemoryServer, ScriptedExecutor, settle

Offered = tuple[Started, wire.CompletionRequest]


async def offered(server: MemoryServer, desk: ScriptedExecutor, **more: Any) -> Offered:
    """A run of a new chat that was offered to the executor."""
    started = await server.ask((await server.chat()).id, **more)
    return started, await desk.offer()


async def streaming(server: MemoryServer, desk: ScriptedExecutor, *lines: str, **more: Any) -> Offered:
    """A run of a new chat that the executor has claimed, with its first lines."""
    started, offer = await offered(server, desk, **more)
    await desk.claim(offer)
    if lines:
        await desk.send(offer, 0, *lines)
    return started, offer


async def run_of(server: MemoryServer, started: Started) -> Run:
    """The run as it is now."""
    return await server.services.requests.get(server.user_id, started.run.id)


async def state_of(server: MemoryServer, started: Started) -> str:
    """The run's state, after everything has come to rest."""
    await settle()
    return (await run_of(server, started)).state.value


async def ended(server: MemoryServer, started: Started) -> tuple[str, str | None, str]:
    """How the run ended: its state, its error's code, and the text that is kept."""
    state = await state_of(server, started)
    failed = (await run_of(server, started)).failure
    return state, failed.code if failed else None, (await server.answer(started)).content


async def stop(server: MemoryServer, started: Started) -> str:
    """Stops the run; returns its state."""
    return (await server.services.requests.stop(server.user_id, started.run.id)).state


async def start(server: MemoryServer, chat_id: int, *, model: str = "test/m", **more: Any) -> Started:
    """Starts a run with the given fields of the request."""
    if isinstance(more.get("message"), str):
        more["message"] = UserTurn(content=more["message"])
    return await server.services.requests.start(server.user_id, chat_id, NewRun(model=model, **more))


@contextmanager
def refused(code: str, expected: int | None = None) -> Iterator[None]:
    """Expects that the block raises an error with this code."""
    with pytest.raises((Refused, KeysideError)) as caught:
        yield
    error = caught.value
    assert isinstance(error, Refused | KeysideError)
    assert error.code == code
    if expected is not None:
        assert isinstance(error, Refused)
        assert error.expected == expected


def idle(server: MemoryServer, session_id: str) -> bool:
    """Whether there is no further message for the socket."""
    return server.calls.sessions[session_id].empty()


def told(server: MemoryServer, room: str, type: str) -> list[Any]:
    """The data of all messages of a type that were sent to a room."""
    return [message["data"] for at, message in server.hub.told if at == room and message["type"] == type]


async def second_user(server: MemoryServer) -> int:
    """Another account's id."""
    return (await server.store.accounts.user("second", server.clock.now())).id


async def laptop(server: MemoryServer, **more: Any) -> ScriptedExecutor:
    """A second executor of the same user."""
    executor = ScriptedExecutor(server, executor_id="laptop", **more)
    await executor.connect()
    return executor


async def ask_desk_first(server: MemoryServer, desk: ScriptedExecutor) -> Offered:
    return await offered(server, desk, prefer_executor_id="desk")
