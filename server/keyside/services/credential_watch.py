"""Closes the sockets of credentials that have expired or were revoked (C7)."""

from contextlib import suppress

from keyside.services.accounts import Accounts
from keyside.services.connections import Connections
from keyside.services.ports import Clock, Unavailable

SECONDS = 4
"""Seconds between two looks at what was revoked by another process, or is too old."""


class CredentialWatch:
    """Looks at the credentials of the connected sockets. `run` is its endless task."""

    def __init__(self, accounts: Accounts, connections: Connections, clock: Clock) -> None:
        self._accounts = accounts
        self._connections = connections
        self._clock = clock

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await self._clock.sleep(SECONDS)
            with suppress(Unavailable):
                await self._accounts.drop_lapsed(self._connections.credentials())
