"""The one way to change a run: input, step, commit, publish. What is not committed did not happen."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from keyside.core.changes import Change, Changes, Written
from keyside.core.inputs import Append, Cancel, Close, Effect, Input
from keyside.core.message import closed, written
from keyside.core.run import ENDED, Refused, Run, State, step
from keyside.core.transcript import transcribe
from keyside.protocol.entities import Failure
from keyside.protocol.errors import KeysideError
from keyside.services.ports import ChatLog, Clock, Conflict, Hub, Unavailable

log = logging.getLogger(__name__)

RunKey = tuple[int, str]
"""User id and run id: a run's id is unique per user only (R6)."""
Decide = Callable[[Run], Input | None]
"""Makes an input from the run as it is when its turn comes; `None`: leave it."""

_KEPT_ENDED = 1000
"""Ended runs that are kept in memory, so that late frames are answered without a look into the log."""


@dataclass(eq=False)
class Live:
    """A run in memory: as committed, and what waits for it."""

    run: Run
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    refusal: Failure | None = None
    """Why the last executor gave its offer back."""

    @property
    def key(self) -> RunKey:
        """Where it stands among all."""
        return self.run.user_id, self.run.id


class Orchestrator:
    """Holds every run that has not ended and takes each input through `step` into the log and to the viewers.

    `on_state` is called after each committed change of a run's state, `on_recall` when an executor must be told
    that its attempt is over, `on_unavailable` when the store cannot be written.
    """

    def __init__(self, chat_log: ChatLog, hub: Hub, clock: Clock) -> None:
        self._log = chat_log
        self._hub = hub
        self._clock = clock
        self._live: dict[RunKey, Live] = {}
        self._ended: OrderedDict[RunKey, Live] = OrderedDict()
        self._channels: dict[str, RunKey] = {}
        self.on_state: Callable[[Run], None] = lambda run: None
        self.on_recall: Callable[[Cancel], None] = lambda recall: None
        self.on_unavailable: Callable[[], None] = lambda: None

    # --- finding ---------------------------------------------------------------------------------

    def live(self) -> Iterator[Live]:
        """Every run that has not ended for good, oldest first."""
        return iter(list(self._live.values()))

    def get(self, key: RunKey) -> Live | None:
        """A run that is in memory."""
        return self._live.get(key) or self._ended.get(key)

    def by_channel(self, channel: str) -> Live | None:
        """The run that a channel was made for, though its attempt may be over."""
        key = self._channels.get(channel)
        return self.get(key) if key else None

    def adopt(self, run: Run) -> Live:
        """Takes a run in that is stored already."""
        live = self._live[run.user_id, run.id] = Live(run)
        if run.channel:
            self._channels[run.channel] = live.key
        return live

    # --- changing --------------------------------------------------------------------------------

    async def feed(self, key: RunKey, *inputs: Input | Decide) -> Run:
        """Takes the run through the inputs, in one transaction, and returns it as committed.

        Raises `Refused` where the first of them is illegal; `KeysideError` with `store_unavailable`. Once begun it goes
        on to its end, also when the caller is cancelled.
        """
        return await asyncio.shield(asyncio.ensure_future(self.feed_here(key, *inputs)))

    async def feed_here(self, key: RunKey, *inputs: Input | Decide) -> Run:
        """The same, without a task of its own: for a caller whom nobody cancels."""
        live = self.get(key)
        if live is None:
            raise Refused("run_ended")
        async with live.lock:
            before = live.run
            steps, effects = self._step_all(before, inputs)
            if not steps:
                return before
            await self._commit(live, steps, effects)
        self._after(live, before, effects)
        return live.run

    def _step_all(self, run: Run, inputs: Iterable[Input | Decide]) -> tuple[list[Run], list[Effect]]:
        steps: list[Run] = []
        effects: list[Effect] = []
        now = self._clock.now()
        for item in inputs:
            input = item(run) if callable(item) else item
            if input is None:
                continue
            after, more = step(run, input, now)
            if after is not run:
                steps.append(after)
            effects.extend(more)
            run = after
        return steps, effects

    async def _commit(self, live: Live, steps: list[Run], effects: list[Effect]) -> None:
        """Stores what changed. Heartbeats change nothing that is stored."""
        before, after = live.run, steps[-1]
        changes = await self._changes(before, steps, effects)
        if changes:
            await self.store(after.user_id, after.chat_id, changes)
        live.run = after
        if after.channel and after.channel != before.channel:
            self._channels[after.channel] = live.key

    async def _changes(self, before: Run, steps: list[Run], effects: list[Effect]) -> list[Change]:
        after = steps[-1]
        appended = [
            Written(after, effect.index, effect.lines, effect.readings)
            for effect in effects
            if isinstance(effect, Append)
        ]
        changes: list[Change] = [*appended]
        returned = before.state is State.INTERRUPTED and after.state is State.STREAMING
        if returned or any(isinstance(effect, Close) for effect in effects):
            message = await self._log.message(after.user_id, after.message_id)
            if message is not None:
                lines = [*await self._log.lines(before), *(line for part in appended for line in part.lines)]
                draft = transcribe(lines)
                if returned:
                    message = written(message, after, draft).model_copy(update={"status": "streaming", "error": None})
                else:
                    message = closed(message, after, draft, self._clock.now())
                changes.append(message)
        versions = {before.version}
        for run in steps:
            if run.version not in versions:
                versions.add(run.version)
                changes.append(run)
        return changes

    async def store(self, user_id: int, chat_id: int, changes: Iterable[Change]) -> None:
        """Commits changes of a chat and publishes them, in this order (D1)."""
        transaction = Changes(user_id, chat_id, self._clock.now(), tuple(changes))
        try:
            entries = await self._log.commit(transaction)
        except Unavailable as error:
            log.warning("the store cannot be written: %s", error)
            self.on_unavailable()
            raise KeysideError("store_unavailable") from error
        except Conflict as error:
            raise KeysideError("conflict", f"This was changed at the same time: {error}") from error
        # No await between the commit and this line: what is committed first is published first.
        self._hub.publish(entries)

    def _after(self, live: Live, before: Run, effects: list[Effect]) -> None:
        run = live.run
        for effect in effects:
            if isinstance(effect, Cancel):
                self.on_recall(effect)
        if run.state in ENDED and not _can_return(run):
            self._retire(live)
        if run.version != before.version:
            self.on_state(run)

    def _retire(self, live: Live) -> None:
        self._live.pop(live.key, None)
        self._ended[live.key] = live
        while len(self._ended) > _KEPT_ENDED:
            _, old = self._ended.popitem(last=False)
            self._channels.pop(old.run.channel or "", None)

    def retire(self, lives: Iterable[Live]) -> None:
        """Takes runs out that were ended together with their messages; late frames still learn that they ended."""
        for live in lives:
            self._retire(live)

    def begin_anew(self, live: Live) -> None:
        """Counts the time in the present state from now: nobody could come while there was no server (R4)."""
        now = self._clock.now()
        live.run = replace(live.run, since=now, heard_at=now)

    def touch(self, live: Live) -> None:
        """Notes that the run's executor was heard, without a change of state."""
        live.run = replace(live.run, heard_at=self._clock.now())

    def stand_still(self, seconds: float) -> None:
        """Moves every run's times on: so long the store was away, and no limit may count it (D4, R4)."""
        for live in self._live.values():
            run = live.run
            started = run.started_at + seconds if run.started_at is not None else None
            live.run = replace(run, since=run.since + seconds, heard_at=run.heard_at + seconds, started_at=started)


def _can_return(run: Run) -> bool:
    return run.state is State.INTERRUPTED and run.closed_by is None
