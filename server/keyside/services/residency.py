"""A run while it is at home in this process, with all that belongs to it."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from keyside.core.run import Run, RunKey
from keyside.core.transcript import Transcript
from keyside.protocol.entities import Message
from keyside.services.inbox import Inbox


class Turn:
    """Lets one change of a run at a time through. While nobody waits for it, it costs next to nothing."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self) -> bool:
        """Takes the turn if it is free, and says whether it was."""
        if self._taken:
            return False
        self._taken = True
        return True

    def then(self, begin: Callable[[], None]) -> None:
        """Takes the turn and calls `begin`, as soon as all who came earlier had theirs: at once, if it is free."""
        if self.take():
            begin()
        else:
            self._waiting.append(begin)

    async def wait(self) -> None:
        """Takes the turn as soon as all who came earlier had theirs."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.then(lambda: self.give() if mine.done() else mine.set_result(None))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self.give()
            raise

    async def passed(self) -> None:
        """Returns when all who came earlier had theirs."""
        await self.wait()
        self.give()

    def give(self) -> None:
        """Gives the turn to whoever has waited longest."""
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._waiting.popleft())
        else:
            self._taken = False


class Residency:
    """Owns a run in this process, from an offer or a change made here until the run is at home nowhere (N2).

    `Runs` begins and ends it. Its end frees everything that the process kept for the run.
    """

    def __init__(self, key: RunKey) -> None:
        self.key = key
        self.turn = Turn()
        self.over = False
        """Whether it has ended; whoever waited for its turn then looks for another one."""
        self.inbox: Inbox | None = None
        """What a plain executor has sent and is not stored yet."""
        self.call: asyncio.Task[None] | None = None
        """The offer that waits for its callback."""
        self.transcript = Transcript()
        """What the run's stored lines make, all of them up to the event `seq` of its chat."""
        self.seq = 0
        self.message: Message | None = None
        """The run's message, as it is stored."""
        self.watched_until = float("inf")
        """The deadline of the run that is known to whoever watches the time."""
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        """The run as it is committed."""
        assert self._run is not None, "the run is not loaded yet"
        return self._run

    @run.setter
    def run(self, run: Run) -> None:
        self._run = run

    @property
    def loaded(self) -> bool:
        """Whether the run was read from the log already."""
        return self._run is not None

    def begin_call(self, call: Coroutine[Any, Any, None]) -> None:
        """Starts the call that offers the run. It is cancelled when the residency ends."""
        self.call = asyncio.ensure_future(call)

    def open_inbox(self) -> Inbox:
        """The plain executor's inbox, begun if need be."""
        if self.inbox is None:
            self.inbox = Inbox(self.run.attempt, self.run.expected)
        return self.inbox

    def watch(self, until: float) -> None:
        """Notes the deadline that is known to whoever watches the time."""
        self.watched_until = until

    def end(self) -> None:
        """Frees everything."""
        self.over = True
        self.inbox = None
        if self.call is not None:
            self.call.cancel()
            self.call = None
