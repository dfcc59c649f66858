"""What plain executors send: bare lines, or the whole answer at once (E6)."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from keyside.core.inputs import Abandon, Answered, Fail
from keyside.core.plain import lines_of_answer
from keyside.core.run import Run
from keyside.core.step import Refused
from keyside.protocol.entities import Failure
from keyside.protocol.errors import KeysideError, failure
from keyside.services.inbox import Inbox
from keyside.services.residency import Residency
from keyside.services.runs import Runs


class PlainExecutors:
    """Takes what plain executors send.

    Each line is put into the inbox before anything is awaited, because lines count in the order in which they arrive.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def receive(self, residency: Residency, session_id: str, payload: object) -> None:
        """A line, a part of one, or the end. Raises `not_yours`, `bad_request`, `Refused`, `store_unavailable`."""
        run = residency.run
        if run.assignment is None or run.assignment.session_id != session_id:
            raise KeysideError("not_yours")
        inbox = residency.open_inbox()
        if isinstance(payload, str):
            inbox.put(payload)
        elif isinstance(payload, dict) and payload.get("done") is True:
            inbox.end()
        else:
            raise KeysideError("bad_request", "A plain executor sends lines as strings, and {done: true} at the end.")
        await self._store(residency)

    async def answered(self, run: Run, answer: object) -> None:
        """The callback: `{status: true}` and lines follow, or the whole answer."""
        if run.request.params.get("stream", True) and isinstance(answer, Mapping) and answer.get("status") is True:
            await self._runs.apply(run.key, Answered(run.attempt))
            return
        lines = lines_of_answer(answer)
        residency = self._runs.at_home(run.key)
        if lines is None:
            await self._runs.apply(run.key, Fail(_failure(answer), attempt=run.attempt))
        elif residency is not None and residency.run.attempt == run.attempt:
            await self._take_whole(residency, lines)

    async def catch_up(self, residency: Residency, *, gone: bool) -> None:
        """Stores what a plain executor has sent, and after it that its socket went, if it did."""
        run = residency.run
        with suppress(Refused):  # it has ended meanwhile
            await self._store(residency)
        if gone:
            await self._runs.apply(run.key, Abandon(run.attempt))

    async def _take_whole(self, residency: Residency, lines: Sequence[str]) -> None:
        inbox = residency.open_inbox()
        inbox.keep(lines)
        inbox.end()
        await self._store(residency)

    async def _store(self, residency: Residency) -> None:
        """Waits until all that has been sent so far is stored. One task stores it for all who wait."""
        inbox = residency.inbox
        if inbox is None:
            return
        if inbox.storing is None or inbox.storing.done():
            inbox.storing = asyncio.ensure_future(self._store_all(residency, inbox))
            inbox.storing.add_done_callback(_seen)
        await asyncio.shield(inbox.storing)

    async def _store_all(self, residency: Residency, inbox: Inbox) -> None:
        while (waiting := inbox.waiting()) is not None and not residency.over:
            run = await self._runs.apply(residency.key, waiting)
            inbox.stored(run.expected)
            if run.final:
                break


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # whoever waits gets it; that nobody waits any more is no fault


def _failure(answer: object) -> Failure:
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if isinstance(error, Mapping):
        error = error.get("message")
    return failure("executor_refused", f"The device answered: {str(error)[:500]}" if error else None)
