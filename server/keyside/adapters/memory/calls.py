"""Calls in memory: they reach scripted executors."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from keyside.services.ports import Gone


class MemoryCalls:
    """`Calls` that reach scripted executors."""

    def __init__(self) -> None:
        self.sessions: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._answers: dict[str, set[asyncio.Future[Any]]] = {}
        self.answers: dict[str, Any] = {}
        """What a session says to a call; without an entry the call stays unanswered."""

    async def call(self, session_id: str, make: Callable[[], Awaitable[dict[str, Any]]]) -> Any:
        """See `Calls`."""
        message = await make() if session_id in self.sessions else None
        if message is None or session_id not in self.sessions:
            raise Gone(session_id)
        self.sessions[session_id].put_nowait(message)
        say = self.answers.get(session_id)
        if say is not None:
            return say(message["data"])
        unanswered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers.setdefault(session_id, set()).add(unanswered)
        try:
            return await unanswered
        finally:
            self._answers.get(session_id, set()).discard(unanswered)

    @property
    def waiting(self) -> int:
        """How many calls wait for their answer."""
        return sum(map(len, self._answers.values()))

    def tell(self, session_id: str, message: dict[str, Any]) -> None:
        """See `Calls`."""
        if session_id in self.sessions:
            self.sessions[session_id].put_nowait(message)

    def gone(self, session_id: str) -> None:
        """The socket goes away."""
        self.sessions.pop(session_id, None)
        for waiting in self._answers.pop(session_id, set()):
            if not waiting.done():
                waiting.set_exception(Gone(session_id))
