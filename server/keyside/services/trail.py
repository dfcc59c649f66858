"""Writes the trail of each run into the log: one line for each offer, callback, attempt and end, and no content."""

import logging

from keyside.core.run import ENDED, Run, State
from keyside.services.notices import Notice, OfferAnswered, RunChanged

log = logging.getLogger(__name__)


class Trail:
    """Logs with level INFO, and with WARNING where something failed."""

    def hear(self, notice: Notice) -> None:
        """Writes a line, if it is one of a run's steps."""
        match notice:
            case OfferAnswered(run, code, seconds):
                _write(run, "called back" if code is None else "refused", code, seconds)
            case RunChanged(before, after, _):
                _write_change(before, after)
            case _:
                pass


def _write_change(before: Run | None, after: Run) -> None:
    if before is None:
        _write(after, "asked for", None, 0)
    elif after.state is not before.state:
        _write(after, _step(before, after), _code(after), max(after.since - before.since, 0))


def _step(before: Run, after: Run) -> str:
    if after.state is State.QUEUED:
        return "queued again"
    if after.state is State.STREAMING:
        return "claimed" if before.state in (State.OFFERED, State.QUEUED) else "resumed"
    return after.state.value


def _code(run: Run) -> str | None:
    if run.state is State.QUEUED:
        return run.refusal.code if run.refusal else None
    if run.state is State.SUSPENDED:
        return "executor_lost"
    return run.failure.code if run.failure and run.state in ENDED else None


def _write(run: Run, what: str, code: str | None, seconds: float) -> None:
    level = logging.WARNING if code is not None else logging.INFO
    executor = run.assignment.executor_id if run.assignment else None
    log.log(
        level,
        "run %s: %s (attempt %d, executor %s, code %s, %d ms)",
        run.id,
        what,
        run.attempt,
        executor,
        code,
        seconds * 1000,
    )
