"""Watches the time: a run whose deadline is over gets `Expire`."""

import heapq
import itertools
import logging

from keyside.core.inputs import Expire
from keyside.core.run import AT_HOME, Run, RunKey
from keyside.core.step import Refused
from keyside.protocol.errors import KeysideError
from keyside.services.health import StoreHealth
from keyside.services.notices import DeadlineMoved, Notice, RunChanged, StoreBack
from keyside.services.ports import ChatLog, Clock, Unavailable
from keyside.services.runs import Runs

log = logging.getLogger(__name__)

TICK = 0.5
"""Seconds between two looks at the first deadline."""


class Deadlines:
    """The deadlines of the runs at home stand in a heap, those of all others in the log. `run` is its endless task.

    A deadline that moves on leaves its entry in the heap: when that is due, the run is looked at, and a new entry made.
    """

    def __init__(self, runs: Runs, chat_log: ChatLog, clock: Clock, health: StoreHealth) -> None:
        self._runs = runs
        self._log = chat_log
        self._clock = clock
        self._health = health
        self._heap: list[tuple[float, int, RunKey]] = []
        self._order = itertools.count()
        self._stored: float | None = 0.0
        """The first deadline in the log, or an earlier time; `None`: there is none."""
        self._away = 0.0
        """Seconds that the store was away, by which the deadlines in the log have yet to be moved."""

    def hear(self, notice: Notice) -> None:
        """Takes in the deadlines that have changed."""
        match notice:
            case DeadlineMoved(run, at):
                heapq.heappush(self._heap, (at, next(self._order), run.key))
            case RunChanged(_, run) if run.state not in AT_HOME and run.deadline is not None:
                self._stored = run.deadline.at if self._stored is None else min(self._stored, run.deadline.at)
            case StoreBack(seconds):
                self._away += seconds
            case _:
                pass

    async def run(self) -> None:
        """Looks at the time until it is cancelled."""
        while True:
            await self._clock.sleep(TICK)
            if not self._health.ok:
                continue
            try:
                await self._expire_at_home()
                await self._expire_stored()
            except Unavailable:
                self._health.failed()

    async def _expire_at_home(self) -> None:
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now and self._health.ok:
            _, _, key = heapq.heappop(self._heap)
            residency = self._runs.at_home(key)
            if residency is None or residency.run.deadline is None:
                continue
            at = residency.run.deadline.at
            residency.watch(at)
            if at <= now:
                residency.watch(float("inf"))
                await self._expire(residency.run)
            else:
                heapq.heappush(self._heap, (at, next(self._order), key))

    async def _expire_stored(self) -> None:
        if self._away:
            away, self._away = self._away, 0.0
            await self._log.shift_deadlines(away)
            self._stored = 0.0
        if self._stored is None or self._stored > self._clock.now():
            return
        seen: set[tuple[RunKey, int]] = set()
        while due := [run for run in await self._log.due(self._clock.now()) if (run.key, run.version) not in seen]:
            seen |= {(run.key, run.version) for run in due}
            for run in due:
                await self._expire(run)
        self._stored = None
        later = [at for at in (await self._log.next_deadline(), self._stored) if at is not None]
        self._stored = min(later, default=None)

    async def _expire(self, run: Run) -> None:
        """An error of one run is logged, so that the other runs go on."""
        try:
            await self._runs.apply(run.key, Expire())
        except (Refused, KeysideError) as error:
            log.info("run %s: its deadline is over, but it could not be changed: %s", run.id, error)
        except Exception:
            log.exception("run %s: its deadline is over, but it could not be changed", run.id)
