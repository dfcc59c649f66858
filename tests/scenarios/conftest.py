"""A server in memory, and an executor that is connected to it."""

from collections.abc import AsyncIterator

import pytest

from keyside.testing import MemoryServer, ScriptedExecutor


@pytest.fixture
async def server() -> AsyncIterator[MemoryServer]:
    async with MemoryServer() as running:
        yield running


@pytest.fixture
async def desk(server: MemoryServer) -> ScriptedExecutor:
    executor = ScriptedExecutor(server)
    await executor.connect()
    return executor
