"""The web layer without the services for chats: routes, security headers and page, called in process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import httpx
from fastapi import Depends, FastAPI

from keyside.adapters.clock import RandomIds, SystemClock
from keyside.adapters.memory.accounts import MemoryAccounts
from keyside.services.account_store import User
from keyside.services.accounts import Accounts, Identity
from keyside.services.notices import Notices
from keyside.web.auth import Authenticator
from keyside.web.callers import Callers
from keyside.web.client_address import ClientAddress, networks_of
from keyside.web.gate import Gate
from keyside.web.http.account import account_router
from keyside.web.http.docs import serve_docs
from keyside.web.http.errors import handle_errors
from keyside.web.origins import origins_of
from keyside.web.pages import Pages
from keyside.web.security_headers import SecurityHeaders

LOCAL = "http://127.0.0.1:8000"


@dataclass
class Doors:
    """The web layer of a server. `browser` sends the Origin that a page of `url` sends."""

    store: MemoryAccounts
    accounts: Accounts
    authenticator: Authenticator
    asgi: SecurityHeaders
    url: str

    def client(self, url: str | None = None, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.asgi, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=url or self.url, headers=headers)

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[httpx.AsyncClient]:
        """An HTTP client that is signed in as a browser."""
        async with self.client(origin=self.url) as client:
            answer = await client.post("/api/auth/redeem", json={"code": await self.code()})
            assert answer.status_code == 200
            yield client

    async def guest(self) -> User:
        """Another account."""
        return await self.store.user("guest", 0)

    async def code(self) -> str:
        return (await self.accounts.new_link((await self.accounts.owner()).id)).code


def doors(
    static: Path, *, public_url: str = LOCAL, auth: Literal["local", "off"] = "local", trusted_proxies: str = ""
) -> Doors:
    """The web layer as `app.py` builds it, with accounts in memory."""
    store = MemoryAccounts()
    accounts = Accounts(store, SystemClock(), RandomIds(), Notices())
    origins = origins_of(public_url, host="127.0.0.1", port=8000, tls=False)
    authenticator = Authenticator(accounts, origins, auth, b"what signs the cookies of the tests")
    app = FastAPI(title="Keyside", docs_url=None, redoc_url=None, redirect_slashes=False)
    handle_errors(app)
    serve_docs(app)
    app.include_router(account_router(authenticator, ClientAddress(networks_of(trusted_proxies))))
    _add_probes(app, authenticator)
    app.router.default = Pages(static, origins)
    gate = Gate(Callers(app, authenticator, 100), authenticator)
    return Doors(store, accounts, authenticator, SecurityHeaders(gate, origins), public_url)


def _add_probes(app: FastAPI, authenticator: Authenticator) -> None:
    @app.post("/api/probe/chats")
    async def chats(identity: Annotated[Identity, Depends(authenticator.current("chats"))]) -> str:
        return identity.kind

    @app.get("/api/probe/crash")
    async def crash() -> None:
        raise RuntimeError("the canary of a crash")
