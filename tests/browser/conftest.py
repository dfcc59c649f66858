"""The servers, the upstream and the browser of these tests: one browser for all, one profile and one server a test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.browser.chromium import launch
from tests.browser.kit import upstream
from tests.browser.kit.answers import FIXTURES
from tests.browser.kit.processes import Keyside, Servers
from tests.browser.kit.recorder import Recorder
from tests.browser.kit.recorder import recorder as recording
from tests.browser.kit.tab import MILLISECONDS, Tab, Visitor, visitor
from tests.browser.kit.upstream import Upstream, gate

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs all tests of this folder in one event loop, because the browser belongs to it."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


in_session = pytest_asyncio.fixture(scope="session", loop_scope="session")
in_test = pytest_asyncio.fixture(loop_scope="session")

Visit = Callable[..., Awaitable[Visitor]]
Serve = Callable[..., Awaitable[Keyside]]


@in_session
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    expect.set_options(timeout=MILLISECONDS)
    async with async_playwright() as playwright:
        chromium = await launch(playwright.chromium)
        yield chromium
        await chromium.close()


@pytest.fixture(scope="session")
def key() -> str:
    """The key that aimock accepts. It is new in each session, so that a search for it finds every leak."""
    return f"sk-canary-{secrets.token_hex(16)}"


@in_session
async def aimock(tmp_path_factory: pytest.TempPathFactory, key: str) -> AsyncIterator[str]:
    """The upstream itself, for the whole session."""
    async with upstream.aimock(tmp_path_factory.mktemp("aimock"), FIXTURES, [key]) as url:
        yield url


@in_test
async def model_server(aimock: str) -> AsyncIterator[Upstream]:
    """The upstream, at an address of this test, with counts of its own."""
    async with gate(aimock) as made:
        yield made


@in_session
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Starts the servers of the tests."""
    made = Servers(tmp_path_factory.mktemp("servers"))
    yield made
    await made.close()


@in_test
async def serve(servers: Servers) -> AsyncIterator[Serve]:
    """Starts servers with settings. The test fails if one of them logged an error."""
    taken: list[Keyside] = []

    async def start(**settings: str) -> Keyside:
        taken.append(await servers.take(**settings))
        return taken[-1]

    yield start
    for one in taken:
        await one.stop()
    assert [line for one in taken for line in one.complaints()] == []


@in_test
async def server(serve: Serve) -> Keyside:
    """A server with default settings."""
    return await serve()


@in_test
async def recorder() -> AsyncIterator[Recorder]:
    """A proxy to put in front of a server."""
    async with recording() as front:
        yield front


@in_test
async def visit(browser: Browser, serve: Serve, recorder: Recorder, model_server: Upstream) -> AsyncIterator[Visit]:
    """Creates profiles. The test fails if a page logged an unexpected error to the console.

    It asks for the servers so that they outlive the pages.
    """
    visitors: list[Visitor] = []

    async def make(*scripts: str, **options: Any) -> Visitor:
        visitors.append(await visitor(browser, scripts, options))
        return visitors[-1]

    yield make
    for one in visitors:
        await one.context.close()
    assert [text for one in visitors for text in one.unexpected()] == []


@in_test
async def tab(visit: Visit, server: Keyside, model_server: Upstream, key: str) -> Tab:
    """A tab that is signed in, and has a connection."""
    made = await (await visit()).sign_in(server)
    await made.connect(model_server, key)
    return made
