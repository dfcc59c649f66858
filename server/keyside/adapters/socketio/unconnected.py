"""Sessions of Engine.IO without a CONNECT: their number is bounded, and they end soon."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keyside.adapters.listener.strangers import Stranger, Strangers


@dataclass(frozen=True)
class ConnectLimits:
    """What a client may do before it has signed in by a CONNECT."""

    seconds: float = 10
    """How long it may take."""
    bytes: int = 16 * 1024
    """The most that it may send by polling. The listener counts what comes by WebSocket."""
    per_address: int = 200
    in_all: int = 1000
    """How many such sessions there may be."""
    address_of: Callable[[Any], str] = lambda scope: (scope.get("client") or ("",))[0]
    """The address of the client that a request comes from; it is given the ASGI scope."""


class Unconnected:
    """The sessions that are not signed in, by the id of their transport. `close` is called with one that must end."""

    def __init__(self, limits: ConnectLimits, close: Callable[[str], None]) -> None:
        self._limits = limits
        self._close = close
        self._strangers = Strangers(per_address=limits.per_address, in_all=limits.in_all)
        self._waiting: dict[str, tuple[Stranger, asyncio.TimerHandle]] = {}

    def __contains__(self, transport_id: str) -> bool:
        return transport_id in self._waiting

    def begin(self, transport_id: str, scope: Any) -> None:
        """A session is not signed in, or no longer."""
        self.leave(transport_id)

        def close() -> None:
            self.leave(transport_id)
            self._close(transport_id)

        timer = asyncio.get_running_loop().call_later(self._limits.seconds, close)
        stranger = self._strangers.add(self._limits.address_of(scope), close)
        self._waiting[transport_id] = stranger, timer

    def leave(self, transport_id: str) -> None:
        """The session is signed in, or has ended."""
        found = self._waiting.pop(transport_id, None)
        if found is not None:
            stranger, timer = found
            timer.cancel()
            stranger.leave()
