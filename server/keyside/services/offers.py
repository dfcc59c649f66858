"""Hands a run to an executor, and takes what the executor calls back."""

import logging
from functools import partial
from typing import Any

from pydantic import ValidationError

from keyside.core.assignment import Assignment
from keyside.core.inputs import Abandon, Answered, Cancel, Decline, Fail, Input, Offer, Start
from keyside.core.run import Run
from keyside.core.step import Refused
from keyside.protocol import wire
from keyside.protocol.errors import KeysideError, failure
from keyside.services.notices import AttemptCancelled, Notice, Notices, OfferAnswered
from keyside.services.plain import PlainExecutors
from keyside.services.ports import Calls, Clock, Gone, Ids
from keyside.services.presence import Presence
from keyside.services.request_body import RequestBody
from keyside.services.runs import Runs

log = logging.getLogger(__name__)


class Offers:
    """Calls executors. A call is in flight as long as the residency of its run keeps it; it has no time limit here."""

    def __init__(
        self,
        runs: Runs,
        presence: Presence,
        plain: PlainExecutors,
        body: RequestBody,
        calls: Calls,
        clock: Clock,
        ids: Ids,
        notices: Notices,
    ) -> None:
        self._runs = runs
        self._presence = presence
        self._plain = plain
        self._body = body
        self._calls = calls
        self._clock = clock
        self._ids = ids
        self._notices = notices

    async def make(self, run: Run, assignment: Assignment) -> None:
        """Commits the offer of a queued run, and begins the call. A plain executor is bound by the offer (E6)."""
        inputs: list[Input] = [Offer(assignment, self._ids.new(), run.attempt + 1)]
        if not assignment.framed:
            inputs.append(Start(run.attempt + 1))
        offered = await self._runs.apply(run.key, *inputs)
        residency = self._runs.at_home(run.key)
        if residency is not None and residency.run.attempt == offered.attempt:
            residency.begin_call(self._call(offered, assignment))

    def hear(self, notice: Notice) -> None:
        """Tells an executor that its attempt is over (E9)."""
        if isinstance(notice, AttemptCancelled):
            self._abort(notice.cancel)

    def _abort(self, cancel: Cancel) -> None:
        assignment = cancel.assignment
        session_id = self._presence.session_of(assignment.key) if assignment.framed else assignment.session_id
        data = wire.AbortRequest(run_id=cancel.run_id, attempt=cancel.attempt, channel=cancel.channel)
        if session_id is not None:
            self._calls.tell(session_id, wire.Abort(data=data).model_dump())

    async def _call(self, run: Run, assignment: Assignment) -> None:
        """An error of one run is logged, so that the other runs go on."""
        try:
            await self._offer(run, assignment)
        except Refused:
            pass  # the run changed in the meantime, and whoever changed it goes on with it
        except KeysideError as error:
            log.warning("run %s: its offer could not be made: %s", run.id, error)
        except Exception:
            log.exception("run %s: its offer could not be made", run.id)

    async def _offer(self, run: Run, assignment: Assignment) -> None:
        began = self._clock.now()
        try:
            answer = await self._calls.call(assignment.session_id, partial(self._request, run))
        except Gone:  # a plain executor was bound by the offer, and can never come back to it
            lost = failure("executor_lost")
            said: Input | None = Decline(run.attempt, lost) if assignment.framed else Abandon(run.attempt)
        except KeysideError as error:
            said = Fail(error.failure, attempt=run.attempt)
        else:
            said = _said(run, answer) if assignment.framed else None
            if said is None and not assignment.framed:
                self._notices.put(OfferAnswered(run, None, self._clock.now() - began))
                await self._plain.answered(run, answer)
                return
        if said is not None:
            refused = said.failure.code if isinstance(said, Decline | Fail) else None
            self._notices.put(OfferAnswered(run, refused, self._clock.now() - began))
            await self._runs.apply(run.key, said)

    async def _request(self, run: Run) -> dict[str, Any]:
        """The request, unless the run was stopped while it was made: then the executor never hears of it."""
        request = await self._body.build(run)
        residency = self._runs.at_home(run.key)
        if residency is None or residency.run.attempt != run.attempt:
            raise Refused("run_ended")
        return request


def _said(run: Run, answer: object) -> Input | None:
    """What a framed executor's callback means (E3). `None`: it is a late answer to another call (C8)."""
    try:
        said = wire.Answer.model_validate(answer)
    except ValidationError:
        return Decline(run.attempt, failure("executor_refused").model_copy(update={"retryable": True}))
    if (said.run_id, said.attempt) != (run.id, run.attempt):
        return None
    return Answered(run.attempt) if said.status else Decline(run.attempt, said.error or failure("executor_refused"))
