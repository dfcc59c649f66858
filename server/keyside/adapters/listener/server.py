"""uvicorn's server with a `Guard` around every connection."""

import asyncio
import socket
from typing import Any

import uvicorn

from keyside.adapters.listener.http import Guard, GuardedHttp


class GuardedServer(uvicorn.Server):
    """Serves HTTP and WebSockets on sockets that are bound already."""

    def __init__(self, config: uvicorn.Config, guard: Guard) -> None:
        super().__init__(config)
        self._guard = guard

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`, whose own method would wait a minute for each TLS handshake."""
        tls: dict[str, Any] = {}
        if self.config.ssl is not None:
            tls = {"ssl": self.config.ssl, "ssl_handshake_timeout": self._guard.header_seconds}
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(self._protocol, sock=listener, backlog=self.config.backlog, **tls)
            for listener in sockets or []
        ]
        self.started = True

    def _protocol(self) -> GuardedHttp:
        return GuardedHttp(guard=self._guard, config=self.config, server_state=self.server_state, app_state={})
