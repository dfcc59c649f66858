"""Servers that several tests share. Each test checks that its server logged no traceback."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.edge.live import LiveServer


@contextmanager
def _served(folder: Path, auth: str, **settings: str) -> Iterator[LiveServer]:
    server = LiveServer(folder, auth, **settings)
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture(scope="session")
def _off_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with _served(tmp_path_factory.mktemp("off"), "off") as server:
        yield server


@pytest.fixture(scope="session")
def _local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with _served(tmp_path_factory.mktemp("local"), "local") as server:
        yield server


@contextmanager
def _quiet(server: LiveServer) -> Iterator[LiveServer]:
    """Checks that the server's log shows no traceback after the test."""
    before = len(server.log)
    yield server
    assert "Traceback" not in server.log[before:], server.log[before:]


@pytest.fixture
def live(_off_server: LiveServer) -> Iterator[LiveServer]:
    """A server without sign-in."""
    with _quiet(_off_server) as server:
        yield server


@pytest.fixture
async def http(live: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with live.http() as client:
        yield client


@pytest.fixture
def local(_local_server: LiveServer) -> Iterator[LiveServer]:
    """A server with sign-in."""
    with _quiet(_local_server) as server:
        yield server


@pytest.fixture(scope="session")
def signed_in(_local_server: LiveServer) -> dict[str, str]:
    """The headers of a browser that redeemed the link that the server printed."""

    async def redeem() -> dict[str, str]:
        async with _local_server.http(origin=_local_server.url) as client:
            code = _local_server.link.rpartition("#")[2]
            answer = await client.post("/api/auth/redeem", json={"code": code})
            assert answer.status_code == 200, answer.text
            return {"cookie": f"keyside_session={answer.cookies['keyside_session']}", "origin": _local_server.url}

    return asyncio.run(redeem())


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[LiveServer]:
    """A server for one test, which may kill and restart it."""
    with _served(tmp_path, "off") as server, _quiet(server):
        yield server
