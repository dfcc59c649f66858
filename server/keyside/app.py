"""Builds every object; the only place where choices meet."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Any

import socketio
from fastapi import FastAPI
from starlette.types import ASGIApp, Scope

from keyside import __version__
from keyside.adapters.clock import RandomIds, SystemClock
from keyside.adapters.listener.unread import Unread
from keyside.adapters.memory.store import MemoryStore
from keyside.adapters.secret_file import secret_of
from keyside.adapters.socketio.calls import SocketCalls, StockCalls
from keyside.adapters.socketio.hub import SocketHub, StockHub
from keyside.adapters.socketio.server import Endpoint, make_server
from keyside.adapters.socketio.unconnected import ConnectLimits
from keyside.adapters.sql.store import SqlStore
from keyside.core.limits import Limits
from keyside.services.accounts import Accounts
from keyside.services.api_calls import ApiCalls
from keyside.services.background import Background
from keyside.services.broadcasts import Broadcasts
from keyside.services.chat_locks import ChatLocks
from keyside.services.chats import Chats
from keyside.services.connections import Connections
from keyside.services.credential_watch import CredentialWatch
from keyside.services.deadlines import Deadlines
from keyside.services.dispatcher import MOST_RUNS, Dispatcher
from keyside.services.executors import Executors
from keyside.services.followers import Followers
from keyside.services.frames import Frames
from keyside.services.health import StoreHealth
from keyside.services.lifecycle import Lifecycle
from keyside.services.messages import Messages
from keyside.services.notices import Delivery, Listener, Notices
from keyside.services.offers import Offers
from keyside.services.plain import PlainExecutors
from keyside.services.ports import Calls, Clock, Hub, Ids, Store
from keyside.services.presence import Presence
from keyside.services.request_body import RequestBody
from keyside.services.requests import RunRequests
from keyside.services.runs import Runs
from keyside.services.trail import Trail
from keyside.services.viewers import Viewers
from keyside.settings import Settings
from keyside.web.auth import Authenticator
from keyside.web.bodies import Bodies, BodyLimits, Sender
from keyside.web.callers import Callers, caller_of
from keyside.web.client_address import ClientAddress
from keyside.web.gate import Gate
from keyside.web.http.account import account_router
from keyside.web.http.docs import serve_docs
from keyside.web.http.errors import EVERYWHERE, handle_errors
from keyside.web.http.health import health_router
from keyside.web.http.native import native_router
from keyside.web.http.openai import openai_router
from keyside.web.pages import Pages
from keyside.web.security_headers import SecurityHeaders
from keyside.web.sockets import SocketLimits, Sockets

STATIC = Path(__file__).parent / "static"


class Services:
    """All services of a server. Each is given what it needs; what they tell each other goes through `notices`."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        calls: Calls,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        user_runs: int = MOST_RUNS,
    ) -> None:
        log = store.chat_log
        self.store, self.hub, self.calls, self.clock = store, hub, calls, clock
        self.notices = Notices()
        self.accounts = Accounts(store.accounts, clock, ids, self.notices)
        self.connections = Connections()
        self.presence = Presence(self.connections, store.registry, clock, self.accounts.owner)
        self.health = StoreHealth(log, clock, self.notices)
        self.runs = Runs(log, hub, clock, limits, self.health, self.notices)
        self.deadlines = Deadlines(self.runs, log, clock, self.health)
        self.plain = PlainExecutors(self.runs)
        body = RequestBody(log, limits)
        self.offers = Offers(self.runs, self.presence, self.plain, body, calls, clock, ids, self.notices)
        self.dispatcher = Dispatcher(self.runs, self.presence, self.offers, log, self.health, user_runs)
        self.executors = Executors(self.runs, self.connections, self.presence, self.plain, calls, log, self.notices)
        self.frames = Frames(self.runs, self.presence, self.plain, log, clock, limits)
        locks = ChatLocks(log)
        self.chats = Chats(log, locks, self.runs, clock, self.notices)
        self.messages = Messages(log, locks, self.runs, clock, ids, self.notices)
        self.requests = RunRequests(log, locks, self.messages, self.runs, self.dispatcher, body, clock, ids, limits)
        self.followers = Followers(log, hub)
        self.viewers = Viewers(log, self.runs, hub, clock)
        self.api_calls = ApiCalls(log, self.chats, self.requests, self.runs, self.followers, clock, ids)
        self.broadcasts = Broadcasts(hub, calls)
        self.trail = Trail()
        self.credential_watch = CredentialWatch(self.accounts, self.connections, clock)


def lifecycle_of(services: Services, retention: float, *listeners: Listener) -> Lifecycle:
    """What starts and stops the services. `retention` is as in `Chats.expire`; `listeners` hear all notices, too."""
    heard_by = (
        services.runs.hear,
        services.deadlines.hear,
        services.executors.hear,
        services.offers.hear,
        services.dispatcher.hear,
        services.broadcasts.hear,
        services.trail.hear,
        *listeners,
    )
    background = Background(
        services.clock,
        (
            Delivery(services.notices, heard_by).run,
            services.health.watch,
            services.deadlines.run,
            services.dispatcher.run,
            services.executors.run,
            services.viewers.tell_heads,
            services.credential_watch.run,
            lambda: services.chats.expire(retention),
        ),
    )
    return Lifecycle(
        services.store, services.runs, services.executors, services.dispatcher, services.requests, background
    )


@dataclass
class Application:
    """A server: its ASGI application, and its services between `start` and `stop`."""

    asgi: ASGIApp
    services: Services
    lifecycle: Lifecycle
    sio: socketio.AsyncServer
    address: ClientAddress
    """Tells a listener whose connection it is."""
    unread: Unread
    """What waits for clients, on its sockets and in a listener's connections."""
    is_known: Callable[[Scope], bool]
    """Tells a listener whether somebody who has signed in sends a request, as far as that can be seen at once."""

    @property
    def accounts(self) -> Accounts:
        """Who may sign in."""
        return self.services.accounts

    def close_doors(self) -> None:
        """The server was told to end: new runs are refused, and those that run are left to the next process."""
        self.lifecycle.close_doors()

    async def start(self) -> None:
        """Begins to serve."""
        await self.lifecycle.start()

    async def stop(self) -> None:
        """Closes every socket, then the services."""
        await self.sio.shutdown()
        await self.lifecycle.stop()


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


def body_limits_of(settings: Settings) -> BodyLimits:
    """The settings' limits for the bodies of requests."""
    return BodyLimits(
        stranger=settings.stranger_body,
        together=settings.max_bodies,
        silence=settings.arrival_timeout,
        rate=settings.min_rate,
    )


def connect_limits_of(settings: Settings, address: ClientAddress) -> ConnectLimits:
    """The settings' limits for sockets that have not signed in."""
    return ConnectLimits(
        seconds=settings.arrival_timeout,
        bytes=settings.stranger_socket,
        per_address=settings.strangers_per_address,
        in_all=settings.strangers,
        address_of=address.of,
    )


def create_app(
    settings: Settings, *, store: Store | None = None, clock: Clock | None = None, static: Path = STATIC
) -> Application:
    """A server with these settings. Without a `store` it opens, and locks, the data directory's database."""
    secret = _secret(settings, in_memory=store is not None)
    address = ClientAddress(settings.trusted_proxies)
    unread = Unread(settings.max_unread)
    sio = make_server(settings.transport, connect_limits_of(settings, address), unread)
    stock = settings.transport == "stock"
    services = Services(
        store or SqlStore(settings.make_data_dir(), sync=settings.sync),
        StockHub(sio) if stock else SocketHub(sio),
        StockCalls(sio) if stock else SocketCalls(sio),
        clock or SystemClock(),
        RandomIds(),
        limits_of(settings),
        settings.user_runs,
    )
    authenticator = Authenticator(services.accounts, settings.origins, settings.auth, secret)
    sockets = Sockets(
        sio,
        authenticator,
        services.connections,
        services.executors,
        services.frames,
        services.viewers,
        services.hub,
        services.clock,
        SocketLimits(settings.user_sockets, settings.socket_events),
    )
    lifecycle = lifecycle_of(services, settings.api_retention, sockets.hear)
    endpoint = Endpoint(sio, _api(services, authenticator, address, Pages(static, settings.origins)))

    async def sender_of(scope: Scope) -> Sender:
        """Who sends a request, and the most that it may have."""
        if endpoint.takes(scope):
            socket = services.connections.get(endpoint.session_of(scope))
            return Sender(socket.user_id if socket else 0, endpoint.most_bytes(scope))
        return Sender((await caller_of(scope).identity()).user_id, settings.max_body)

    bounded = Callers(Bodies(endpoint, sender_of, body_limits_of(settings)), authenticator, settings.user_requests)
    asgi = SecurityHeaders(Gate(bounded, authenticator), settings.origins)
    return Application(asgi, services, lifecycle, sio, address, unread, authenticator.knows)


def _secret(settings: Settings, *, in_memory: bool) -> bytes:
    """What signs the cookies. A store that is given may leave nothing behind, so no file is written beside it."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    return token_bytes(32) if in_memory else secret_of(settings.make_data_dir())


def _api(services: Services, authenticator: Authenticator, address: ClientAddress, pages: Pages) -> FastAPI:
    about: dict[str, Any] = {"title": "Keyside", "version": __version__, "docs_url": None, "redoc_url": None}
    api = FastAPI(**about, redirect_slashes=False, responses=EVERYWHERE)
    handle_errors(api)
    serve_docs(api)
    api.include_router(health_router(services.store.chat_log))
    api.include_router(account_router(authenticator, address))
    api.include_router(
        native_router(
            authenticator,
            services.chats,
            services.messages,
            services.requests,
            services.followers,
            services.executors,
            services.viewers,
            services.presence,
            services.runs,
        )
    )
    api.include_router(openai_router(authenticator, services.api_calls))
    api.router.default = pages  # a mount would take every path, and hide what is only the wrong method
    return api


__all__ = ["Application", "MemoryStore", "Services", "SqlStore", "create_app", "lifecycle_of", "limits_of"]
