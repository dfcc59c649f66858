"""Servers that several tests share; each test looks whether it made its server stumble."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import httpx
import pytest

from tests.edge.live import LiveServer

SOCKET_TESTS = {
    "test_sockets",
    "test_frames",
    "test_overload",
    "test_strangers",
    "test_one_socket",
    "test_revoked",
    "test_blocking_client",
    "test_websocket_frames",
    "test_durable",
    "test_server_log",
    "test_large_chats",
    "test_odd_events",
}
"""The modules whose tests run on servers with both transports; the others need only the usual one."""
SOME_SOCKET_TESTS = {"test_completions"}
"""Those of whose tests only some use sockets: the ones that ask for the server itself, and not for `http` alone."""

Serve = Callable[[str, str], LiveServer]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "transport" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition(".")[2]
        asked = inspect.signature(metafunc.function).parameters
        both = module in SOCKET_TESTS or (module in SOME_SOCKET_TESTS and "live" in asked)
        metafunc.parametrize("transport", ["lean", "stock"] if both else ["lean"], scope="session")


@contextmanager
def served(folder: Path, auth: str, transport: str) -> Iterator[LiveServer]:
    server = LiveServer(folder, auth, transport=transport)
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture(scope="session")
def _serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Returns the one server with that sign-in and transport, and starts it where it is asked for first."""
    with ExitStack() as servers:

        @cache
        def serve(auth: str, transport: str) -> LiveServer:
            folder = tmp_path_factory.mktemp(f"{auth}-{transport}")
            return servers.enter_context(served(folder, auth, transport))

        yield serve


@contextmanager
def _quiet(server: LiveServer) -> Iterator[LiveServer]:
    """Whatever is sent to it, the log shows no traceback."""
    before = len(server.log)
    yield server
    assert "Traceback" not in server.log[before:], server.log[before:]


@pytest.fixture
def live(_serve: Serve, transport: str) -> Iterator[LiveServer]:
    """A server without sign-in."""
    with _quiet(_serve("off", transport)) as server:
        yield server


@pytest.fixture
async def http(live: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with live.http() as client:
        yield client


@pytest.fixture
def local(_serve: Serve, transport: str) -> Iterator[LiveServer]:
    """A server with sign-in."""
    with _quiet(_serve("local", transport)) as server:
        yield server


@pytest.fixture(scope="session")
def _sign_in(_serve: Serve) -> Callable[[str], dict[str, str]]:
    """Redeems the link that a server has printed. That works once, and is done once."""

    async def redeem(server: LiveServer) -> dict[str, str]:
        async with server.http(origin=server.url) as client:
            code = server.link.rpartition("=")[2]
            answer = await client.post("/api/auth/redeem", json={"code": code})
            assert answer.status_code == 200, answer.text
            return {"cookie": f"keyside_session={answer.cookies['keyside_session']}", "origin": server.url}

    return cache(lambda transport: asyncio.run(redeem(_serve("local", transport))))


@pytest.fixture(scope="session")
def signed_in(_sign_in: Callable[[str], dict[str, str]], transport: str) -> dict[str, str]:
    """The headers of a browser that is signed in."""
    return _sign_in(transport)


@pytest.fixture
def own_server(tmp_path: Path, transport: str) -> Iterator[LiveServer]:
    """A server of this test alone, that it may kill and start again."""
    with served(tmp_path, "off", transport) as server, _quiet(server):
        yield server
