"""Hands out queued runs, and ends what takes too long."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from keyside.core.attempt import Assignment
from keyside.core.inputs import Cancel, Expire, Fail, Input, Lose, Offer, Start
from keyside.core.limits import Limits, expiry, next_try
from keyside.core.placement import Nobody, choose
from keyside.core.plain import lines_of_answer
from keyside.core.run import BOUND, Refused, Run, State
from keyside.core.tree import branch
from keyside.protocol import wire
from keyside.protocol.entities import Failure, Message
from keyside.protocol.errors import KeysideError, failure
from keyside.services.health import StoreHealth
from keyside.services.orchestrator import Live, Orchestrator
from keyside.services.ports import Calls, ChatLog, Clock, Gone, Ids
from keyside.services.presence import Presence

log = logging.getLogger(__name__)

_SWEEP = 0.5
"""Seconds between two looks at what has taken too long."""


class Dispatcher:
    """Offers runs to executors and watches their time. `run` is its one endless task.

    `on_answer` is awaited with a run, its channel and the lines, where a plain executor gave the whole answer at once.
    """

    def __init__(
        self,
        orchestrator: Orchestrator,
        presence: Presence,
        calls: Calls,
        chat_log: ChatLog,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        health: StoreHealth,
    ) -> None:
        self._orchestrator = orchestrator
        self._presence = presence
        self._calls = calls
        self._log = chat_log
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._health = health
        self._woken = asyncio.Event()
        self.on_answer: Callable[[Live, str, Sequence[str]], Awaitable[None]] = _nowhere
        self.closing = False
        """The server is about to end: what is queued is left for the next process."""
        self._calling: dict[tuple[int, str, int], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Places and sweeps, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._placing())
            group.create_task(self._sweeping())

    async def close(self) -> None:
        """Ends the calls that wait for an answer."""
        for task in list(self._calling.values()):
            task.cancel()
        await asyncio.gather(*self._calling.values(), return_exceptions=True)

    def wake(self) -> None:
        """Something changed: a run is queued, an executor came, or has room again."""
        self._woken.set()

    def running(self, key: str) -> int:
        """How many runs an executor has in hand."""
        busy = (State.OFFERED, *BOUND)
        runs = (live.run for live in self._orchestrator.live())
        return sum(1 for run in runs if run.state in busy and run.assignment and run.assignment.key == key)

    def check(self, run: Run) -> None:
        """Raises where nobody could ever run this: `model_not_found`, `session_gone`, `no_executor` (R3)."""
        found = choose(run.ask, self._presence.candidates(run.user_id, self.running), frozenset())
        if isinstance(found, Nobody):
            raise KeysideError(found.code, _explain(run, found.code))

    def recall(self, recall: Cancel) -> None:
        """Tells an executor that its attempt is over (E9)."""
        assignment = recall.assignment
        session_id = self._presence.session_of(assignment.key) if assignment.framed else assignment.session_id
        data = wire.AbortRequest(run_id=recall.run_id, attempt=recall.attempt, channel=recall.channel)
        if session_id is not None:
            self._calls.tell(session_id, wire.Abort(data=data).model_dump())

    # --- placing ---------------------------------------------------------------------------------

    async def _placing(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            for live in self._orchestrator.live():
                if live.run.state is State.QUEUED and self._health.ok and not self.closing:
                    await self._guard(self._place(live))

    async def _guard(self, work: Any) -> None:
        """One run's trouble is not another's."""
        try:
            await work
        except Refused:
            pass  # it changed in the meantime, and whoever changed it goes on with it
        except KeysideError as error:
            log.warning("a run could not be changed: %s", error)
        except Exception:
            log.exception("a run could not be changed")

    async def _place(self, live: Live) -> None:
        tried = live.run.tried if self._clock.now() < next_try(live.run) else frozenset[str]()
        found = choose(live.run.ask, self._presence.candidates(live.run.user_id, self.running), tried)
        closing = live.refusal is not None and live.refusal.code == "executor_closing"
        if isinstance(found, Nobody) and live.run.ask.waits and closing:
            return  # the device is there only to finish what it has: to this run it is away (R3)
        if isinstance(found, Nobody):
            why = live.refusal or failure(found.code, _explain(live.run, found.code))
            await self._orchestrator.feed(live.key, Fail(why))
        elif isinstance(found, Assignment):
            await self._offer(live, found)

    async def _offer(self, live: Live, assignment: Assignment) -> None:
        offer = Offer(assignment, self._ids.new())
        if assignment.framed:
            run = await self._orchestrator.feed(live.key, offer)
        else:  # a plain executor is bound by the offer itself (E6)
            run = await self._orchestrator.feed(live.key, offer, lambda run: Start(run.attempt))
        call = (*live.key, run.attempt)
        task = self._calling[call] = asyncio.create_task(self._guard(self._call(live, run)))
        task.add_done_callback(lambda _: self._calling.pop(call, None))

    async def _call(self, live: Live, run: Run) -> None:
        """Sends the offer and takes the callback as an input. Its time limits are the sweep's business."""
        assignment = run.assignment
        assert assignment is not None
        try:
            request = await self._request(run, assignment)
            answer = await self._calls.call(assignment.session_id, request)
        except Gone:
            await self._give_back(live, run, failure("executor_lost"))
        except KeysideError as error:
            await self._orchestrator.feed(live.key, _if_current(run, Fail(error.failure)))
        else:
            if assignment.framed:
                await self._take_answer(live, run, answer)
            else:
                await self._take_plain_answer(live, run, answer)

    async def _take_answer(self, live: Live, run: Run, answer: object) -> None:
        """A framed executor's callback (E3). On yes, the claim follows on the channel."""
        try:
            said = wire.Answer.model_validate(answer)
        except ValidationError:
            await self._give_back(live, run, failure("executor_refused"))
            return
        if (said.run_id, said.attempt) != (run.id, run.attempt):
            return  # a late answer to another call changes nothing (C8)
        if said.status:
            if live.run.attempt == run.attempt:
                self._orchestrator.touch(live)
            return
        why = said.error or failure("executor_refused")
        if why.retryable:
            await self._give_back(live, run, why)
        else:
            await self._orchestrator.feed(live.key, _if_current(run, Fail(why)))

    async def _take_plain_answer(self, live: Live, run: Run, answer: object) -> None:
        """A plain executor's callback: `{status: true}` and lines follow, or the whole answer (E6)."""
        streams = run.ask.params.get("stream", True)
        if streams and isinstance(answer, Mapping) and answer.get("status") is True:
            self._orchestrator.touch(live)
            return
        lines = lines_of_answer(answer)
        if lines is None:
            await self._orchestrator.feed(live.key, _if_current(run, Fail(_plain_failure(answer))))
            return
        await self.on_answer(live, run.channel or "", lines)

    async def _give_back(self, live: Live, run: Run, why: Failure) -> None:
        """The offer was not taken: it goes to the next executor. A bound run ends with its socket instead."""
        if live.run.attempt == run.attempt:
            live.refusal = why
        await self._orchestrator.feed(live.key, _if_current(run, Lose()))
        self.wake()

    # --- the request -----------------------------------------------------------------------------

    async def _request(self, run: Run, assignment: Assignment) -> dict[str, Any]:
        assert run.channel is not None
        form = {"model": assignment.model, "stream": True, **run.ask.params}
        form |= {"model": assignment.model}
        if "messages" not in form:
            form["messages"] = await self._history(run)
        if len(orjson.dumps(form)) > wire.MAX_REQUEST:
            raise KeysideError("too_large", "This chat is longer than the 4 MiB that one request can hold.")
        data = wire.CompletionRequest(
            run_id=run.id,
            attempt=run.attempt,
            channel=run.channel,
            session_id=assignment.session_id,
            chat_id=run.chat_id,
            message_id=run.message_id,
            model=wire.ModelRef(
                id=assignment.model, provider=assignment.provider, connection_id=assignment.connection_id
            ),
            form_data=form,
        )
        return wire.Completion(data=data).model_dump()

    async def _history(self, run: Run) -> list[dict[str, Any]]:
        """What was said before, root first; a message that is continued comes last."""
        messages = {message.id: message for message in await self._log.messages(run.user_id, run.chat_id)}
        links = [(message.id, message.parent_id) for message in messages.values()]
        path = [messages[id] for id in branch(links, run.message_id)]
        path[-1:] = [run.prefix] if run.prefix else []
        return [_turn(message) for message in path if message.content]

    # --- time ------------------------------------------------------------------------------------

    async def _sweeping(self) -> None:
        swept = self._clock.now()
        while True:
            await self._clock.sleep(_SWEEP)
            before, swept = swept, self._clock.now()
            for live in self._orchestrator.live():
                if self._health.ok and self._due(live.run) is not None:
                    await self._guard(self._expire(live, live.run))
                elif live.run.state is State.QUEUED and before < next_try(live.run) <= swept:
                    self.wake()

    def _due(self, run: Run) -> str | None:
        """The error of the time limit that the run has passed, if it has."""
        due = expiry(run, self._limits)
        return due[1] if due is not None and due[0] <= self._clock.now() else None

    async def _expire(self, live: Live, run: Run) -> None:
        code = self._due(run)
        if run.state is State.OFFERED and code is not None:
            live.refusal = failure(code)
        await self._orchestrator.feed(live.key, lambda now: Expire(due) if (due := self._due(now)) else None)
        call = self._calling.get((*live.key, run.attempt))
        if call is not None and live.run.state not in (State.OFFERED, *BOUND):
            call.cancel()
        self.wake()


async def _nowhere(_live: Live, _channel: str, _lines: Sequence[str]) -> None:
    return None


def _if_current(run: Run, input: Any) -> Any:
    """The input, if the run is still in this attempt when its turn comes, and has not ended."""

    def decide(now: Run) -> Input | None:
        if now.attempt != run.attempt or now.state not in (State.OFFERED, *BOUND):
            return None
        if isinstance(input, Lose) and now.state is not State.OFFERED:
            return None  # it was claimed after all
        return input(now) if callable(input) else input  # type: ignore[no-any-return]

    return decide


def _turn(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content}


def _plain_failure(answer: object) -> Failure:
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if isinstance(error, Mapping):
        error = error.get("message")
    return failure("executor_refused", f"The device answered: {str(error)[:500]}" if error else None)


def _explain(run: Run, code: str) -> str | None:
    if code == "model_not_found":
        return f"None of your devices offers the model {run.ask.model!r}. Add a connection for it, or choose another."
    return None
