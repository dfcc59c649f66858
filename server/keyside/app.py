"""Builds every object; the only place where choices meet."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import socketio
from fastapi import FastAPI
from starlette.types import ASGIApp

from keyside import __version__
from keyside.adapters.clock import RandomIds, SystemClock
from keyside.adapters.memory.accounts import MemoryAccounts
from keyside.adapters.memory.log import MemoryChatLog
from keyside.adapters.memory.registry import MemoryRegistry
from keyside.adapters.socketio.calls import SocketCalls, StockCalls
from keyside.adapters.socketio.hub import SocketHub, StockHub
from keyside.adapters.socketio.server import Endpoint, make_server
from keyside.adapters.sql.accounts import SqlAccounts
from keyside.adapters.sql.database import DataDirectoryLock, database_of
from keyside.adapters.sql.log import SqlChatLog
from keyside.adapters.sql.registry import SqlRegistry
from keyside.core.limits import Limits
from keyside.core.run import ENDED, Run
from keyside.protocol import wire
from keyside.services.account_store import AccountStore
from keyside.services.accounts import Accounts
from keyside.services.api_calls import ApiCalls
from keyside.services.catchup import Catchup
from keyside.services.chats import Chats
from keyside.services.dispatcher import Dispatcher
from keyside.services.executors import Executors
from keyside.services.health import StoreHealth
from keyside.services.orchestrator import Orchestrator
from keyside.services.ports import Calls, ChatLog, Clock, Hub, Ids, Registry, Unavailable, chat_room, user_room
from keyside.services.presence import Presence
from keyside.settings import Settings
from keyside.web.auth import Authenticator
from keyside.web.http.account import account_router
from keyside.web.http.docs import serve_docs
from keyside.web.http.errors import handle_errors
from keyside.web.http.health import health_router
from keyside.web.http.native import native_router
from keyside.web.http.openai import openai_router
from keyside.web.pages import Pages
from keyside.web.security_headers import SecurityHeaders
from keyside.web.sockets import Sockets

log = logging.getLogger(__name__)

CREDENTIALS_SECONDS = 4
"""How often it is looked whether a credential was revoked elsewhere or is too old (C7)."""
STATIC = Path(__file__).parent / "static"


class Store:
    """Where everything is kept: the log, the executors that are known, and the accounts."""

    def __init__(self, chat_log: ChatLog, registry: Registry, accounts: AccountStore) -> None:
        self.chat_log = chat_log
        self.registry = registry
        self.accounts = accounts

    async def start(self) -> None:
        """Opens it."""

    async def stop(self) -> None:
        """Writes what waits, and closes it."""


class MemoryStore(Store):
    """Keeps everything for as long as the process lives."""

    def __init__(self) -> None:
        super().__init__(MemoryChatLog(), MemoryRegistry(), MemoryAccounts())


class SqlStore(Store):
    """A SQLite database in the data directory, which is locked for this process."""

    def __init__(self, settings: Settings) -> None:
        self._lock = DataDirectoryLock(settings.make_data_dir())
        self._database = database_of(settings.data_dir, sync=settings.sync)
        self._sql_log = SqlChatLog(self._database)
        super().__init__(self._sql_log, SqlRegistry(self._database), SqlAccounts(self._database))

    async def start(self) -> None:
        """Brings the tables up to date, and loads what the last process left unfinished."""
        await asyncio.to_thread(self._database.migrate)
        await self._sql_log.start()

    async def stop(self) -> None:
        """Writes what waits, and lets the next server in."""
        await self._sql_log.close()
        self._database.close()
        self._lock.release()


class Services:
    """All services, wired to each other; `start` and `stop` run their endless tasks."""

    def __init__(
        self, store: Store, hub: Hub, calls: Calls, clock: Clock, ids: Ids, limits: Limits, retention: float
    ) -> None:
        self.hub = hub
        self.store = store
        self.health = StoreHealth(store.chat_log, hub, clock)
        self.orchestrator = Orchestrator(store.chat_log, hub, clock)
        self.presence = Presence(store.registry, clock)
        self.dispatcher = Dispatcher(
            self.orchestrator, self.presence, calls, store.chat_log, clock, ids, limits, self.health
        )
        self.executors = Executors(self.orchestrator, self.presence, store.chat_log)
        self.chats = Chats(store.chat_log, self.orchestrator, self.dispatcher, clock, ids)
        self.api_calls = ApiCalls(store.chat_log, self.chats, clock)
        self.catchup = Catchup(store.chat_log, hub, clock)
        self.accounts = Accounts(store.accounts, clock, ids)
        self._clock = clock
        self._retention = retention
        self._tasks: list[asyncio.Task[None]] = []
        self._notices: set[asyncio.Task[None]] = set()
        self._wire(calls)

    def _wire(self, calls: Calls) -> None:
        self.orchestrator.on_state = self._run_changed
        self.orchestrator.on_recall = self.dispatcher.recall
        self.orchestrator.on_unavailable = self.health.failed
        self.dispatcher.on_answer = self.executors.answered
        self.health.on_back = self._store_is_back
        self.executors.on_replaced = lambda session: calls.tell(session, wire.Replaced().model_dump())
        self.executors.on_change = self._executors_changed
        self.chats.on_change = self._chats_changed
        self.chats.on_gone = lambda chat_id: self.hub.tell(
            chat_room(chat_id), wire.ChatGone(data=wire.ChatRef(chat_id=chat_id)).model_dump()
        )

    async def _store_is_back(self, away: float) -> None:
        self.orchestrator.stand_still(away)
        await self.executors.reconcile()
        self.dispatcher.wake()

    async def _watch_credentials(self) -> None:
        while True:
            await self._clock.sleep(CREDENTIALS_SECONDS)
            with suppress(Unavailable):
                await self.accounts.drop_lapsed(self.presence.credentials())

    def _chats_changed(self, user_id: int) -> None:
        self.hub.tell(user_room(user_id), wire.ChatsChanged().model_dump())

    def _executors_changed(self, user_id: int) -> None:
        self.hub.tell(user_room(user_id), wire.ExecutorsChanged().model_dump())
        self.dispatcher.wake()

    def _run_changed(self, run: Run) -> None:
        self._chats_changed(run.user_id)
        self.dispatcher.wake()
        if run.state in ENDED:
            self._spawn(self._tell_head(run.chat_id), self._notices)

    async def _tell_head(self, chat_id: int) -> None:
        for id, seq in (await self.store.chat_log.heads([chat_id])).items():
            self.catchup.ended(id, seq)

    @staticmethod
    def _spawn(work: Coroutine[Any, Any, None], kept: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        kept.add(task)
        task.add_done_callback(kept.discard)

    async def start(self) -> None:
        """Opens the store, takes over what was left unfinished, and begins to hand out runs."""
        await self.store.start()
        await self.presence.start()
        await self.executors.start()
        for work in (
            self.dispatcher.run,
            self.health.watch,
            self.catchup.tell_heads,
            lambda: self.chats.expire(self._retention),
            self._watch_credentials,
        ):
            self._tasks.append(asyncio.create_task(self._keep_up(work)))
        self.dispatcher.wake()

    def close_doors(self) -> None:
        """Takes no new run from now on, and hands none out."""
        self.chats.closing = True
        self.dispatcher.closing = True

    async def _keep_up(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs an endless task. One that fails is a bug: it is logged, and the task begins again."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("a task of the server failed and begins again")
            await self._clock.sleep(1)

    async def stop(self) -> None:
        """Ends the tasks and closes the store; what is unfinished goes on with the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._notices, return_exceptions=True)
        await self.dispatcher.close()
        await self.store.stop()


@dataclass
class Application:
    """A server: its ASGI application, and its services between `start` and `stop`."""

    asgi: ASGIApp
    services: Services
    sio: socketio.AsyncServer

    @property
    def accounts(self) -> Accounts:
        """Who may sign in."""
        return self.services.accounts

    def close_doors(self) -> None:
        """The server was told to end: new runs are refused, and those that run are left to the next process."""
        self.services.close_doors()

    async def start(self) -> None:
        """Begins to serve."""
        await self.services.start()

    async def stop(self) -> None:
        """Closes every socket, then the services."""
        await self.sio.shutdown()
        await self.services.stop()


def limits_of(settings: Settings) -> Limits:
    """The settings' time limits."""
    return Limits(
        callback=settings.callback_timeout,
        first_line=settings.first_line_timeout,
        idle=settings.idle_timeout,
        run=settings.run_timeout,
        resume_grace=settings.resume_grace,
        queue=settings.queue_timeout,
        late_resume=settings.late_resume,
    )


def create_app(
    settings: Settings, *, store: Store | None = None, clock: Clock | None = None, static: Path = STATIC
) -> Application:
    """A server with these settings. Without a `store` it opens, and locks, the data directory's database."""
    sio = make_server(settings.transport, cors_allowed_origins="*")
    stock = settings.transport == "stock"
    hub = StockHub(sio) if stock else SocketHub(sio)
    calls = StockCalls(sio) if stock else SocketCalls(sio)
    services = Services(
        store or SqlStore(settings),
        hub,
        calls,
        clock or SystemClock(),
        RandomIds(),
        limits_of(settings),
        settings.api_retention,
    )
    authenticator = Authenticator(services.accounts, settings.origins, settings.auth)
    sockets = Sockets(sio, authenticator, services.presence, services.executors, services.catchup, hub)
    sockets.on_gone = calls.gone
    services.accounts.on_revoked.append(sockets.drop)
    pages = Pages(static, settings.origins)
    api = _api(services, authenticator, pages)
    asgi = SecurityHeaders(Endpoint(sio, api), settings.origins)
    return Application(asgi, services, sio)


def _api(services: Services, authenticator: Authenticator, pages: Pages) -> FastAPI:
    api = FastAPI(title="Keyside", version=__version__, docs_url=None, redoc_url=None)
    handle_errors(api)
    serve_docs(api)
    api.include_router(health_router(services.store.chat_log))
    api.include_router(account_router(authenticator))
    api.include_router(
        native_router(
            authenticator,
            services.store.chat_log,
            services.chats,
            services.catchup,
            services.presence,
            services.dispatcher,
        )
    )
    api.include_router(openai_router(authenticator, services.chats, services.api_calls, services.catchup))
    api.router.default = pages  # a mount would take every path, and hide what is only the wrong method
    return api
