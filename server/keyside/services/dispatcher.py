"""Places queued runs: chooses an executor for each, or says why there is none."""

import asyncio
import logging
from collections.abc import Sequence

from keyside.core.assignment import Assignment
from keyside.core.inputs import Fail
from keyside.core.placement import Nobody, choose, find_model
from keyside.core.run import AT_HOME, Run, State
from keyside.core.step import Refused
from keyside.protocol.errors import KeysideError, failure
from keyside.services.health import StoreHealth
from keyside.services.notices import ExecutorForgotten, ExecutorsChanged, Notice, RunChanged, SocketGone, StoreBack
from keyside.services.offers import Offers
from keyside.services.ports import ChatLog, Unavailable
from keyside.services.presence import Presence
from keyside.services.runs import Runs

log = logging.getLogger(__name__)

MOST_RUNS = 2000
"""How many runs of one user may be in the hands of executors. Others wait, as where an executor is full (R7)."""
_PAGE = 100
"""Queued runs that are read at once."""
Forgotten = Sequence[ExecutorForgotten]


class Dispatcher:
    """Looks at the runs that may have become possible, or impossible. `run` is its endless task."""

    def __init__(
        self,
        runs: Runs,
        presence: Presence,
        offers: Offers,
        chat_log: ChatLog,
        health: StoreHealth,
        most_runs: int = MOST_RUNS,
    ) -> None:
        self._runs = runs
        self._presence = presence
        self._offers = offers
        self._log = chat_log
        self._health = health
        self._most_runs = most_runs
        self._woken = asyncio.Event()
        self._new: dict[tuple[int, str], Run] = {}
        """Runs that were queued, or queued again, since the last look."""
        self._users: set[int] = set()
        """Users whose queued runs are all to be looked at."""
        self._forgotten: list[ExecutorForgotten] = []
        """Executors that were forgotten since the last look: what waited for one of them may wait for nothing now."""
        self._everybody = True
        """Whether those of all users are; so it is at the start."""
        self._closing = False

    def hear(self, notice: Notice) -> None:
        """Notes whose runs are to be looked at."""
        match notice:
            case RunChanged(before, after, _):
                self._hear_run(before, after)
            case ExecutorsChanged(user_id, shared):
                self._users.add(user_id)
                self._everybody |= shared
            case ExecutorForgotten(user_id):
                self._forgotten.append(notice)
                self._users.add(user_id)
            case SocketGone(user_id):
                self._users.add(user_id)
            case StoreBack():
                self._everybody = True
            case _:
                return
        self._woken.set()

    def _hear_run(self, before: Run | None, after: Run) -> None:
        if after.state is State.QUEUED:
            self._new[after.key] = after
        had = before is not None and before.state in AT_HOME
        if had and after.state not in AT_HOME and after.assignment is not None:  # its executor has room
            self._users.add(after.user_id)
            self._everybody |= after.assignment.kind == "shared"

    def close(self) -> None:
        """The server is about to end: what is queued is left for the next process."""
        self._closing = True

    def check(self, run: Run) -> None:
        """Raises where nobody could ever run this: `model_not_found`, `session_gone`, `no_executor` (R3)."""
        found = choose(run.request, self._presence.candidates(run.user_id, self._runs.count), frozenset())
        if isinstance(found, Nobody):
            raise KeysideError(found.code, _explain(run, found.code))

    async def run(self) -> None:
        """Places runs until it is cancelled."""
        self._woken.set()
        while True:
            await self._woken.wait()
            self._woken.clear()
            if self._closing or not self._health.ok:
                continue
            try:
                await self._look()
            except Unavailable:
                self._health.failed()

    async def _look(self) -> None:
        new, self._new = self._new, {}
        users, self._users = self._users, set()
        everybody, self._everybody = self._everybody, False
        forgotten = tuple(self._forgotten)
        for user_id in (None,) if everybody else sorted(users):
            await self._place_queued(user_id, forgotten)
        for run in new.values():
            if not everybody and run.user_id not in users:
                await self._place(run)
        del self._forgotten[: len(forgotten)]

    async def _place_queued(self, user_id: int | None, forgotten: Forgotten) -> None:
        """Places what waits, the oldest first, a page at a time."""
        after = 0
        while page := await self._log.queued(user_id, after=after, limit=_PAGE):
            for after, run in page:  # noqa: B007 (the last position is where the next page begins)
                await self._place(run, forgotten)
            if len(page) < _PAGE:
                return

    async def _place(self, run: Run, forgotten: Forgotten = ()) -> None:
        """An error of one run is logged, so that the other runs go on."""
        if self._closing or not self._health.ok:
            return
        try:
            await self._decide(run, forgotten)
        except Refused:
            pass  # it changed in the meantime, and whoever changed it goes on with it
        except KeysideError as error:
            log.warning("run %s could not be placed: %s", run.id, error)
        except Exception:
            log.exception("run %s could not be placed", run.id)

    async def _decide(self, run: Run, forgotten: Forgotten) -> None:
        candidates = self._presence.candidates(run.user_id, self._runs.count)
        found = choose(run.request, candidates, run.tried)
        if isinstance(found, Assignment):
            if sum(candidate.running for candidate in candidates) < self._most_runs:
                await self._offers.make(run, found)
        elif isinstance(found, Nobody) and not (run.request.waits and _may_come_back(run, found, forgotten)):
            why = run.refusal or failure(found.code, _explain(run, found.code))
            await self._runs.apply(run.key, Fail(why, attempt=run.attempt))


def _may_come_back(run: Run, found: Nobody, forgotten: Forgotten) -> bool:
    """Whether what is missing now was there before, and may be again (R3).

    A model was offered when the run was asked for. An executor that is about to close finishes only what it has.
    """
    if run.refusal is None:
        return found.code == "model_not_found" and not any(_waited_for(run, one) for one in forgotten)
    return run.refusal.code == "executor_closing"


def _waited_for(run: Run, one: ExecutorForgotten) -> bool:
    """Whether the run could have gone to an executor that is forgotten now."""
    if run.user_id != one.user_id or run.request.executor_id not in (None, one.executor_id):
        return False
    return run.request.executor_id is not None or find_model(run.request, one.connections) is not None


def _explain(run: Run, code: str) -> str | None:
    if code == "model_not_found":
        return (
            f"None of your devices offers the model {run.request.model!r}. Add a connection for it, or choose another."
        )
    return None
