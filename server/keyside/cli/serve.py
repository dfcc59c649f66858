"""Runs the server: binds the port, starts the application, prints its address, and stops on a signal."""

import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import threading
import webbrowser
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer
import uvicorn
import uvloop
from starlette.types import ASGIApp

from keyside.adapters.listener.http import Guard, GuardedHttp
from keyside.adapters.listener.server import GuardedServer
from keyside.adapters.listener.strangers import Strangers
from keyside.adapters.listener.turns import Turns
from keyside.adapters.listener.unfinished import Unfinished
from keyside.adapters.listener.websocket import GuardedWebSocket
from keyside.adapters.log_lines import LineFormatter, bounded
from keyside.adapters.socketio.connection import Connection
from keyside.cli.problems import Problem, foreseeable
from keyside.protocol.wire import MAX_PACKET
from keyside.settings import Settings

if TYPE_CHECKING:
    from keyside.app import Application

LEAVE_SECONDS = 3
"""How long open requests may still take when the server shuts down."""
MOST_FILES = 65_536
"""How many files and connections the process asks to be allowed to have open. Many systems allow 1,024 otherwise."""
SWITCH_SECONDS = 0.0005
"""Seconds after which a busy event loop must release the interpreter to the thread that writes to the store."""


def run(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM."""
    _set_up_log(settings.log_level)
    # Only the owner may read the chats and the cookie secret, whatever the mode of the directory is.
    os.umask(0o077)
    if settings.warning:
        typer.echo(f"Warning: {settings.warning}", err=True)
    _check_certificate(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_many_files()
    with _bound(settings.host, settings.port) as listener:
        known = settings.model_copy(update={"port": listener.getsockname()[1]})
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(known, listener))


async def _serve(settings: Settings, listener: socket.socket) -> None:
    from keyside.app import create_app

    with foreseeable():
        application = create_app(settings)
        await application.start()
    _settle_garbage()
    try:
        config = _config(settings, application.asgi)
        guard = _guard(settings, application)
        server = _Server(config, guard, lambda: _announce(settings, application), application.close_doors)
        await server.serve(sockets=[listener])
    finally:
        await application.stop()


def _settle_garbage() -> None:
    """Makes garbage collections rare and excludes all imported objects from them, because each one stops the server."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000, 10, 50)


class _Server(GuardedServer):
    def __init__(
        self,
        config: uvicorn.Config,
        guard: Guard,
        when_ready: Callable[[], Awaitable[None]],
        when_told_to_end: Callable[[], None],
    ) -> None:
        super().__init__(config, guard)
        self._when_ready = when_ready
        self._when_told_to_end = when_told_to_end

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._when_told_to_end()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._when_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own method raises the signal again at the end, and the application would not be stopped.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _config(settings: Settings, asgi: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        asgi,
        http=GuardedHttp,
        ws=Connection if settings.transport == "lean" else GuardedWebSocket,
        ws_max_size=MAX_PACKET + 1024,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        proxy_headers=False,  # whose `X-Forwarded-For` counts is decided in `web/client_address.py`
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LEAVE_SECONDS,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def _guard(settings: Settings, application: "Application") -> Guard:
    return Guard(
        Strangers(per_address=settings.strangers_per_address, in_all=settings.strangers),
        Turns(),
        header_bytes=settings.max_header,
        header_seconds=settings.arrival_timeout,
        connect_bytes=settings.stranger_socket,
        unfinished=Unfinished(settings.max_bodies // 2),
        unread=application.unread,
        is_proxy=application.address.is_proxy,
        address_of=application.address.of,
        is_known=application.is_known,
    )


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _announce(settings: Settings, application: "Application") -> None:
    accounts = application.accounts
    await accounts.remember_url(settings.url)
    address = settings.url
    typer.echo(f"Keyside is ready at {address}")
    if settings.auth == "off":
        typer.echo("Sign-in is off: whoever reaches this address is its owner.")
    else:
        link = await accounts.new_link((await accounts.owner()).id)
        address = link.url(settings.url)
        typer.echo(f"Sign in (once, within 10 minutes): {address}")
    if settings.browser and _has_screen():
        # With some browsers this call returns only when the browser is closed.
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _has_screen() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _set_up_log(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # uvicorn's debug log shows every header and socket message, and so cookies and tokens. It stays off.
    least = logging.INFO if level == "debug" else logging.WARNING
    for chatty in ("uvicorn", "alembic"):
        logging.getLogger(chatty).setLevel(max(least, logging.getLogger().level))
    for written_by_clients in ("uvicorn.error", "asyncio"):
        bounded(written_by_clients)


def _check_certificate(settings: Settings) -> None:
    if settings.tls_cert is None or settings.tls_key is None:
        return
    for file in (settings.tls_cert, settings.tls_key):
        if not os.access(file, os.R_OK):
            raise Problem(f"{file} is not there, or cannot be read.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
    except ssl.SSLError as error:
        cause = error.reason or "it holds no certificate or key"
        raise Problem(f"{settings.tls_cert} and {settings.tls_key} are no matching pair: {cause}.") from None


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound to the port but does not listen yet, so that no client waits for a starting server.

    Raises `Problem` if the port cannot be bound.
    """
    listener = None
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise _no_port(error, host, port) from None
    with listener:
        yield listener


def _no_port(error: OSError, host: str, port: int) -> Problem:
    if error.errno == errno.EADDRINUSE:
        return Problem(f"Port {port} of {host} is in use: choose another with --port, or 0 for any free one.")
    if error.errno == errno.EACCES:
        return Problem(f"Port {port} is for privileged users: choose one of 1024 or more with --port.")
    return Problem(f"The server cannot listen on {host}: {error.strerror}.")
