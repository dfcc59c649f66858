"""A whole server in this process, with real sockets, so that a test can make accounts in it."""

import asyncio
import importlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from uvicorn.server import ServerState

from keyside.adapters.listener.http import GuardedHttp
from keyside.app import Application, create_app
from keyside.settings import Settings
from tests.edge.live import SECONDS


@dataclass
class Inside:
    """The server and its address."""

    application: Application
    url: str

    async def account(self, name: str) -> int:
        """The id of an account of that name, which is made if there is none."""
        services = self.application.services
        return (await services.store.accounts.user(name, services.clock.now())).id

    @asynccontextmanager
    async def browser(self, user_id: int, agent: str) -> AsyncIterator[httpx.AsyncClient]:
        """A browser in which this user has signed in with a link."""
        headers = {"origin": self.url, "user-agent": agent}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=SECONDS) as client:
            link = await self.application.accounts.new_link(user_id)
            answer = await client.post("/api/auth/redeem", json={"code": link.code})
            assert answer.status_code == 200, answer.text
            yield client


def socket_headers(browser: httpx.AsyncClient) -> dict[str, str]:
    """What a socket of this browser sends along."""
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return {"cookie": cookies, "origin": browser.headers["origin"]}


@asynccontextmanager
async def listening(settings: Settings, application: Application, listener: socket.socket) -> AsyncIterator[None]:
    """Serves the application as `keyside serve` does, in this event loop."""
    serve = importlib.import_module("keyside.cli.serve")  # `keyside.cli.serve` is a command, too
    config = serve._config(settings, application.asgi)
    config.load()
    state = ServerState()
    guard = serve._guard(settings, application)
    protocol: Any = partial(GuardedHttp, guard=guard, config=config, server_state=state, app_state={})
    server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()


@asynccontextmanager
async def inside(folder: Path) -> AsyncIterator[Inside]:
    """A server with sign-in, on a free port."""
    # With the protocol named, asyncio sends without delay.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        settings = Settings(data_dir=folder, port=listener.getsockname()[1])
        application = create_app(settings, static=folder)
        await application.start()
        try:
            async with listening(settings, application, listener):
                yield Inside(application, settings.url)
        finally:
            await application.stop()
