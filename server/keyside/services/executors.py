"""Executors come and go: they announce themselves, take their runs up again, and lose them."""

import asyncio
import logging

from keyside.core.inputs import Abandon, Disconnect, Recover, Resume, Unfollow
from keyside.core.run import Run, State
from keyside.core.step import Refused
from keyside.protocol import wire
from keyside.protocol.errors import KeysideError
from keyside.services.connections import Connections, Socket
from keyside.services.notices import (
    ExecutorForgotten,
    ExecutorReplaced,
    ExecutorsChanged,
    Notice,
    Notices,
    SocketGone,
    StoreBack,
)
from keyside.services.plain import PlainExecutors
from keyside.services.ports import Calls, ChatLog, KnownExecutor
from keyside.services.presence import Presence, Present
from keyside.services.residency import Residency
from keyside.services.runs import Runs

log = logging.getLogger(__name__)


class Executors:
    """What the coming and going of sockets means for runs. `run` is its endless task."""

    def __init__(
        self,
        runs: Runs,
        connections: Connections,
        presence: Presence,
        plain: PlainExecutors,
        calls: Calls,
        chat_log: ChatLog,
        notices: Notices,
    ) -> None:
        self._runs = runs
        self._connections = connections
        self._presence = presence
        self._plain = plain
        self._calls = calls
        self._log = chat_log
        self._notices = notices
        self._store_is_back = asyncio.Event()

    async def start(self) -> None:
        """Takes over what the last process left (R8): bound runs wait for their executor, offers for their claim."""
        await self._presence.start()
        await self._runs.recover(Unfollow(None), Recover())

    def connect(self, socket: Socket) -> None:
        """A socket is here."""
        self._connections.add(socket)

    # --- announcing ------------------------------------------------------------------------------

    async def ready(self, session_id: str, ready: wire.ExecutorReady) -> wire.ReadyAck:
        """`executor:ready`: announces, updates and resumes (E1)."""
        socket = self._connections.get(session_id)
        if socket is None:
            raise KeysideError("not_ready")
        announced = await self._presence.announce(socket, ready, self._runs.count)
        present, before = announced.present, announced.before
        for known in announced.forgotten:
            self._tell_forgotten(known)
        if before is not None and before.instance != present.instance:
            self._notices.put(ExecutorReplaced(before.socket.session_id))
        verdicts = await self._resume(present)
        self._notices.put(ExecutorsChanged(socket.user_id, shared=socket.kind == "shared"))
        return wire.ReadyAck(executor=self._presence.shown(present, self._runs.count), runs=verdicts)

    async def forget(self, user_id: int, executor_id: str) -> None:
        """Forgets an executor that is away, so that nothing waits for it; raises `not_found` or `conflict`."""
        self._tell_forgotten(await self._presence.forget(user_id, executor_id))

    def _tell_forgotten(self, known: KnownExecutor) -> None:
        self._notices.put(ExecutorForgotten(known.user_id, known.executor_id, known.connections))

    async def _resume(self, present: Present) -> list[wire.Verdict]:
        """What becomes of each run that it holds; what it should hold and does not is lost.

        A run that was offered on this very socket is not: its offer and the list of what is held crossed each other.
        """
        held = {(hold.run_id, hold.attempt) for hold in present.ready.holds}
        verdicts = {hold: wire.Verdict(run_id=hold[0], attempt=hold[1], verdict="drop") for hold in held}
        for stored in await self._log.runs_of(present.key):
            residency = self._runs.at_home(stored.key)
            run = residency.run if residency is not None else stored
            if run.assignment is None or run.assignment.key != present.key:
                continue
            if (run.id, run.attempt) in held:
                verdicts[run.id, run.attempt] = await self._continue(run, present)
            elif run.assignment.session_id != present.socket.session_id:
                await self._runs.apply(run.key, Abandon(run.attempt))
        return list(verdicts.values())

    async def _continue(self, run: Run, present: Present) -> wire.Verdict:
        if run.state is not State.OFFERED:
            try:
                run = await self._runs.apply(run.key, Resume(run.attempt))
            except Refused:
                return wire.Verdict(run_id=run.id, attempt=run.attempt, verdict="drop")
            if self._presence.session_of(present.key) != present.socket.session_id:
                # The socket went while this was stored: nobody would notice again that the executor is away.
                await self._runs.apply(run.key, Disconnect(run.attempt))
        return wire.Verdict(run_id=run.id, attempt=run.attempt, verdict="continue", expected=run.expected)

    # --- going -----------------------------------------------------------------------------------

    async def gone(self, session_id: str) -> None:
        """A socket went away: what it was running is suspended, offered anew, or, if it was plain, interrupted."""
        self._calls.gone(session_id)
        socket = self._connections.remove(session_id)
        present = self._presence.disconnect(session_id)
        if socket is not None and present is None:
            self._notices.put(SocketGone(socket.user_id))
        if present is not None:
            self._notices.put(ExecutorsChanged(present.socket.user_id, shared=present.socket.kind == "shared"))
            for residency in self._runs.with_executor(present.key):
                await self._disconnected(residency)
        for residency in self._runs.with_executor(session_id):
            await self._disconnected(residency)

    async def _disconnected(self, residency: Residency) -> None:
        """Tells one run that its executor has gone. An error is logged, so that the other runs go on.

        What cannot be stored now is made up for when the store is back.
        """
        run = residency.run
        assert run.assignment is not None
        try:
            if run.assignment.framed:
                await self._runs.apply(run.key, Disconnect(run.attempt))
            else:
                await self._plain.catch_up(residency, gone=True)
        except (KeysideError, Refused) as error:
            log.warning("run %s: that its executor went away could not be stored: %s", run.id, error)

    # --- after the store was away ----------------------------------------------------------------

    def hear(self, notice: Notice) -> None:
        """Notes that there is something to make up for."""
        if isinstance(notice, StoreBack):
            self._store_is_back.set()

    async def run(self) -> None:
        """Stores what could not be stored while the store was away: plain lines, and that executors went (D4)."""
        while True:
            await self._store_is_back.wait()
            self._store_is_back.clear()
            for residency in self._runs.every():
                await self._make_up(residency)

    async def _make_up(self, residency: Residency) -> None:
        assignment = residency.run.assignment
        assert assignment is not None
        if assignment.framed:
            here = self._presence.session_of(assignment.key) is not None
        else:
            here = self._connections.get(assignment.session_id) is not None
        if not here:
            await self._disconnected(residency)
        elif not assignment.framed:
            try:
                await self._plain.catch_up(residency, gone=False)
            except (KeysideError, Refused) as error:
                log.warning("run %s: its lines could not be stored: %s", residency.run.id, error)
