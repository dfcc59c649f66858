"""Every change of a run: input, `step`, commit, publication. What is not committed did not happen."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from keyside.core.changes import Entry, LinesAdded
from keyside.core.deadline import shifted
from keyside.core.inputs import Input, Recover
from keyside.core.limits import Limits
from keyside.core.reading import read
from keyside.core.run import AT_HOME, BOUND, Run, RunKey, channel_of
from keyside.core.step import Refused
from keyside.core.transcript import Transcript
from keyside.protocol.entities import Message
from keyside.protocol.errors import KeysideError
from keyside.services.health import StoreHealth
from keyside.services.notices import AttemptCancelled, DeadlineMoved, Notice, Notices, RunChanged, StoreBack
from keyside.services.ports import ChatLog, Clock, Conflict, Hub, Unavailable
from keyside.services.residency import Residency
from keyside.services.transaction import Part, Stepped, changes_of, parts_by_chat, step_run

log = logging.getLogger(__name__)

_TRIES = 5
"""How often a change is made again on what another process has stored meanwhile."""
_MANY_LINES = 500
"""From so many lines on they are read beside the event loop."""

Settled = Callable[[Exception | None], None]
"""Called once when a change is stored, or with why it is not."""


class Runs:
    """The runs that are at home in this process, and the one way to change a run, wherever it is at home."""

    def __init__(
        self, chat_log: ChatLog, hub: Hub, clock: Clock, limits: Limits, health: StoreHealth, notices: Notices
    ) -> None:
        self._log = chat_log
        self._hub = hub
        self._clock = clock
        self._limits = limits
        self._health = health
        self._notices = notices
        self._residencies: dict[RunKey, Residency] = {}
        self._by_channel: dict[str, Residency] = {}
        self._by_executor: dict[str, dict[RunKey, Residency]] = {}
        self._working: set[asyncio.Task[Any]] = set()
        self._left = False
        """Whether the process ends: nothing is changed here any more."""

    # --- finding ---------------------------------------------------------------------------------

    def at_home(self, key: RunKey) -> Residency | None:
        """The run's residency, if it is at home here."""
        residency = self._residencies.get(key)
        return residency if residency is not None and residency.loaded else None

    def on_channel(self, name: str) -> Residency | None:
        """The run whose frames travel under that name, if it is at home here."""
        return self._by_channel.get(channel_of(name))

    def with_executor(self, key: str) -> list[Residency]:
        """The runs that an executor has in hand."""
        return list(self._by_executor.get(key, {}).values())

    def count(self, key: str) -> int:
        """How many runs an executor has in hand."""
        return len(self._by_executor.get(key, ()))

    def those_at_home(self, keys: Iterable[RunKey]) -> list[Residency]:
        """The residencies of those of the runs that are at home here."""
        return [residency for key in keys if (residency := self.at_home(key)) is not None]

    def every(self) -> list[Residency]:
        """All runs that are at home here."""
        return [residency for residency in self._residencies.values() if residency.loaded]

    async def run(self, key: RunKey) -> Run | None:
        """The run as it is committed, wherever it is at home."""
        residency = self.at_home(key)
        return residency.run if residency is not None else await self._log.run(*key)

    # --- changing --------------------------------------------------------------------------------

    def apply(self, key: RunKey, *inputs: Input) -> asyncio.Future[Run]:
        """Takes a run through the inputs, in one transaction. The result is the run as it is committed.

        The future raises `Refused` where one of the inputs is illegal or there is no such run, and `KeysideError` with
        `store_unavailable`. Once begun the change goes on to its end, whoever stops waiting for it.
        """
        residency = self._residencies.get(key)
        if residency is None:
            return asyncio.shield(self._work(self._apply_in_turn(key, inputs)))
        done: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        self.apply_now(residency, inputs, partial(_settle, done))
        return done

    def apply_now(self, residency: Residency, inputs: Sequence[Input], done: Callable[[Run | Exception], None]) -> None:
        """The same for a run that is at home, without a task. Inputs take their turn in the order of the calls.

        Calls `done` with what the future of `apply` would hold.
        """
        residency.turn.then(partial(self._apply_to, residency, inputs, done))

    def _apply_to(self, residency: Residency, inputs: Sequence[Input], done: Callable[[Run | Exception], None]) -> None:
        """The turn is taken; the run may have left its home since it was asked for."""
        if residency.over:
            residency.turn.give()
            self._work(self._apply_in_turn(residency.key, inputs)).add_done_callback(
                lambda task: done(_result_of(task))
            )
            return
        run = residency.run
        part = Part(run.user_id, run.chat_id, {run.key: inputs})
        self._begin([residency], [part], lambda error: done(residency.run if error is None else error), _TRIES)

    async def apply_all(self, *parts: Part) -> tuple[Run, ...]:
        """Takes all runs of the parts through their inputs, and stores it with the other changes in one transaction.

        Returns the runs as they are committed, in the order of their keys. Raises as `apply` does. Once begun it goes
        on to its end, also when the caller is cancelled.
        """
        return await asyncio.shield(self._work(self._apply_all(parts)))

    async def _apply_in_turn(self, key: RunKey, inputs: Sequence[Input]) -> Run:
        residency = await self._hold(key)
        part = Part(residency.run.user_id, residency.run.chat_id, {key: inputs})
        await self._carry_out([residency], [part])
        return residency.run

    async def _apply_all(self, parts: Sequence[Part]) -> tuple[Run, ...]:
        held: list[Residency] = []
        try:
            # Always in this order: two that want the same runs cannot wait for each other.
            for key in sorted({key for part in parts for key in part.inputs}):
                held.append(await self._hold(key))
        except BaseException:
            self._release(held)
            raise
        await self._carry_out(held, parts)
        return tuple(residency.run for residency in held)

    async def _carry_out(self, held: list[Residency], parts: Sequence[Part]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settled(error: Exception | None) -> None:
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)

        self._begin(held, parts, settled, _TRIES)
        await done

    def _work(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._working.add(task)
        task.add_done_callback(self._worked)
        return task

    def _worked(self, task: asyncio.Task[Any]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits gets it; that nobody waits any more is no fault

    # --- one transaction: everything between the turn and the publication ------------------------

    def _begin(self, held: list[Residency], parts: Sequence[Part], settled: Settled, tries: int) -> None:
        """Steps the runs and hands the changes to the log. The turns of all runs that are concerned are held."""
        try:
            now = self._clock.now()
            stepped = [
                [step_run(self._residencies[key], part, now, self._limits) for key in part.inputs] for part in parts
            ]
            proposed = [changes_of(part, own, now) for part, own in zip(parts, stepped, strict=True)]
            transactions = [changes for changes in proposed if changes is not None]
        except Exception as error:
            self._release(held)
            settled(error)
            return
        stored = partial(self._stored, held, parts, stepped, settled, tries)
        if transactions:
            self._log.submit(transactions, stored)
        else:
            stored(())

    def _stored(
        self,
        held: list[Residency],
        parts: Sequence[Part],
        stepped: list[list[Stepped]],
        settled: Settled,
        tries: int,
        result: tuple[Entry, ...] | Exception,
    ) -> None:
        """What the log calls with the entries, or with why there are none."""
        if isinstance(result, Conflict) and tries > 1 and held:
            self._work(self._again(held, parts, settled, tries - 1))
            return
        if isinstance(result, Exception):
            self._release(held)
            settled(self._failed(result))
            return
        try:
            self._take_over_all(parts, stepped, result)
            self._hub.publish(result)
        finally:  # whatever fails there, the runs can be changed again
            self._release(held)
            settled(None)

    def _take_over_all(self, parts: Sequence[Part], stepped: list[list[Stepped]], entries: tuple[Entry, ...]) -> None:
        """The entries are those of `changes_of`, in the same order."""
        at = 0
        for part, own in zip(parts, stepped, strict=True):
            for one in own:
                at += len(one.changes)
                self._take_over(one, entries[at - 1].seq if one.changes else None)
            for change in part.changes:
                if isinstance(change, Run) and change.version == 0:
                    self._notices.put(RunChanged(None, change, entries[at].seq))
                at += 1

    def _take_over(self, one: Stepped, seq: int | None) -> None:
        """The residency after the commit: the run, its transcript, and who must hear of it."""
        residency, before = one.residency, one.residency.run
        residency.run = run = one.after
        if seq is not None:
            residency.seq = seq
        for change in one.changes:
            if isinstance(change, LinesAdded):
                residency.transcript.add(change.delta)
            elif isinstance(change, Message):
                residency.message = change
        for cancel in one.cancels:
            self._notices.put(AttemptCancelled(cancel))
        if run.version != before.version:
            self._index(residency, before)
            self._notices.put(RunChanged(before, run, residency.seq))
        if run.deadline is not None and run.deadline.at < residency.watched_until and run.state in AT_HOME:
            residency.watch(run.deadline.at)
            self._notices.put(DeadlineMoved(run, run.deadline.at))

    async def _again(self, held: list[Residency], parts: Sequence[Part], settled: Settled, tries: int) -> None:
        """Another process has changed something: the inputs are stepped again on what is stored now."""
        try:
            for residency in held:
                await self._load(residency)
        except Exception as error:
            for residency in held:  # what is kept of them is not what is stored
                self._end(residency)
                residency.turn.give()
            settled(self._failed(error))
            return
        self._begin(held, parts, settled, tries)

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, Unavailable):
            log.warning("the store cannot be written: %s", error)
            self._health.failed()
            return KeysideError("store_unavailable")
        if isinstance(error, Conflict):
            return KeysideError("conflict", f"This was changed at the same time: {error}")
        return error

    # --- residencies: one beginning, one end ------------------------------------------------------

    async def _hold(self, key: RunKey) -> Residency:
        """The run's residency, begun if need be, with its turn taken."""
        while True:
            if self._left:
                raise KeysideError("shutting_down")
            residency = self._residencies.get(key)
            if residency is None:
                residency = self._residencies[key] = Residency(key)
                residency.turn.take()
                try:
                    await self._load(residency)
                    if residency.over:  # the process has left its runs meanwhile
                        raise KeysideError("shutting_down")
                except BaseException as error:
                    self._end(residency)
                    residency.turn.give()
                    if isinstance(error, Unavailable):
                        raise self._failed(error) from error
                    raise
                return residency
            await residency.turn.wait()
            if not residency.over:
                return residency
            residency.turn.give()

    async def _load(self, residency: Residency) -> None:
        """Reads the run and all that its residency keeps of it; raises `Refused` if there is no such run."""
        run = await self._log.run(*residency.key)
        if run is None:
            raise Refused("run_ended")
        # All of the run's lines up to the head are read: it has none that are not stored while its turn is held.
        seq = (await self._log.heads([run.chat_id])).get(run.chat_id, 0)
        lines = await self._log.lines(run) if run.state in BOUND or run.can_return else ()
        many = len(lines) > _MANY_LINES
        residency.transcript = await asyncio.to_thread(_transcript, lines) if many else _transcript(lines)
        residency.message = await self._log.message(run.user_id, run.message_id)
        before = residency.run if residency.loaded else None
        residency.run, residency.seq = run, seq
        self._index(residency, before)

    def _release(self, held: Iterable[Residency]) -> None:
        """Gives the turns back. A run that no executor has in hand is at home nowhere."""
        for residency in held:
            if residency.run.state not in AT_HOME:
                self._end(residency)
            residency.turn.give()

    def _index(self, residency: Residency, before: Run | None) -> None:
        """Makes the residency known under its channel and its executor, as far as the run is in hand."""
        run = residency.run
        if before is not None and before.assignment is not None:
            self._forget_executor(before.assignment.key, residency.key)
        if run.state in AT_HOME and run.assignment is not None and run.channel is not None:
            self._by_channel[run.channel] = residency
            self._by_executor.setdefault(run.assignment.key, {})[residency.key] = residency

    def _end(self, residency: Residency) -> None:
        self._residencies.pop(residency.key, None)
        if residency.loaded:
            run = residency.run
            self._by_channel.pop(run.channel or "", None)
            if run.assignment is not None:
                self._forget_executor(run.assignment.key, run.key)
        residency.end()

    def _forget_executor(self, executor: str, key: RunKey) -> None:
        runs = self._by_executor.get(executor, {})
        runs.pop(key, None)
        if not runs:
            self._by_executor.pop(executor, None)

    # --- the process begins and ends -------------------------------------------------------------

    async def recover(self, *inputs: Input) -> None:
        """Takes over the runs that were at home in the process before (R8), in one transaction."""
        await self.apply_all(*parts_by_chat(await self._log.left_at_home(), inputs))

    async def leave(self) -> None:
        """Leaves the runs that are at home here to the next process, and frees all of them."""
        in_hand = [residency.run for residency in self.every()]
        try:
            await self.apply_all(*parts_by_chat(in_hand, (Recover(),)))
        except (KeysideError, Refused) as error:
            log.warning("the runs in hand could not be left to the next process in order: %s", error)
        self._left = True
        left = list(self._residencies.values())
        calls = [residency.call for residency in left if residency.call is not None]
        for residency in left:
            self._end(residency)
        await asyncio.gather(*(residency.turn.passed() for residency in left))
        await asyncio.gather(*self._working, *calls, return_exceptions=True)

    def hear(self, notice: Notice) -> None:
        """While the store was away no limit counted: the deadlines of the runs at home move on (D4)."""
        if isinstance(notice, StoreBack):
            for residency in self.every():
                residency.turn.then(partial(self._shift, residency, notice.seconds))

    def _shift(self, residency: Residency, seconds: float) -> None:
        if not residency.over:
            residency.run = shifted(residency.run, seconds)
        residency.turn.give()

    def leftovers(self) -> list[str]:
        """What is kept for runs that are not in hand; nothing, unless there is a fault. For tests."""
        found = [
            f"{key}: not in hand" for key, r in self._residencies.items() if not (r.loaded and r.run.state in AT_HOME)
        ]
        kept = set(map(id, self._residencies.values()))
        found += [f"channel {name}" for name, r in self._by_channel.items() if id(r) not in kept]
        found += [f"executor {key}" for key, runs in self._by_executor.items() if not runs]
        indexed = [r for runs in self._by_executor.values() for r in runs.values()]
        found += [f"executor of {r.key}" for r in indexed if id(r) not in kept]
        return found


def _settle(done: asyncio.Future[Run], result: Run | Exception) -> None:
    if done.done():
        return
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)


def _result_of(task: "asyncio.Task[Run]") -> Run | Exception:
    error = KeysideError("shutting_down") if task.cancelled() else task.exception()
    return error if isinstance(error, Exception) else task.result()


def _transcript(lines: Iterable[str]) -> Transcript:
    return Transcript(map(read, lines))
