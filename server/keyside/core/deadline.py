"""When a run's present state must have changed."""

from collections.abc import Iterator
from dataclasses import replace

from keyside.core.limits import RETRY, Deadline, Limits
from keyside.core.run import Run, RunRequest, State


def deadline_of(run: Run, limits: Limits) -> Deadline | None:
    """The first of the limits that count in the run's state; `None`: it has all the time."""
    if run.state is State.STREAMING and run.unfollowed_at is None:
        return _streaming_limit(run, limits)  # with each frame
    return min(_limits_of(run, limits), key=lambda deadline: deadline.at, default=None)


def waits_until(request: RunRequest, now: float, limits: Limits) -> float:
    """Until when a run that is asked for now waits for an executor (R3)."""
    return now + min(limits.queue, request.wait_seconds or limits.queue)


def shifted(run: Run, seconds: float) -> Run:
    """The run with all limits moved by `seconds`, for which the store was away: no limit counts that time (D4, R4)."""

    def later(at: float | None) -> float | None:
        return None if at is None else at + seconds

    return replace(
        run,
        since=run.since + seconds,
        heard_at=run.heard_at + seconds,
        started_at=later(run.started_at),
        waits_until=run.waits_until + seconds,
        unfollowed_at=later(run.unfollowed_at),
        deadline=run.deadline and run.deadline._replace(at=run.deadline.at + seconds),
    )


def _limits_of(run: Run, limits: Limits) -> Iterator[Deadline]:
    match run.state:
        case State.QUEUED:
            yield Deadline(run.waits_until, "no_executor")
            if run.tried:
                yield Deadline(run.since + limits.retry * (run.rounds + 1), RETRY)
        case State.OFFERED:  # so long until the callback, and so long again until the claim
            yield Deadline(max(run.since, run.heard_at) + limits.callback, "callback_timeout")
        case State.STREAMING:
            yield _streaming_limit(run, limits)
        case State.SUSPENDED:
            yield Deadline(run.since + limits.resume_grace, "executor_lost")
        case State.INTERRUPTED if run.can_return:
            yield Deadline(run.since + limits.late_resume, "executor_lost")
        case _:
            return
    if run.unfollowed_at is not None and run.state is not State.INTERRUPTED:
        yield Deadline(run.unfollowed_at + (run.request.caller_grace or 0), "caller_gone")


def _streaming_limit(run: Run, limits: Limits) -> Deadline:
    assert run.started_at is not None
    assert run.assignment is not None
    begun = run.started_at
    # An executor that was away has time to send what it holds, whatever was over meanwhile (D2, R4).
    soonest = run.since + limits.idle if run.since > begun else begun
    whole = max(soonest, begun + limits.run)
    silence = _silence_limit(run, limits, begun, soonest)
    return silence if silence.at < whole else Deadline(whole, "run_timeout")


def _silence_limit(run: Run, limits: Limits, begun: float, soonest: float) -> Deadline:
    assert run.assignment is not None
    framed = run.assignment.framed
    silent = Deadline(run.heard_at + limits.idle, "executor_silent")
    if run.expected == 0:
        first_line = run.assignment.first_line_timeout or limits.first_line
        if not framed:
            return Deadline(max(soonest, begun + first_line), "first_line_timeout")
        # The executor watches its upstream; this is for one that does not.
        return min(silent, Deadline(max(soonest, begun + first_line + limits.idle), "first_line_timeout"))
    if framed:
        return silent
    idle = run.assignment.idle_timeout or limits.idle
    return Deadline(run.heard_at + (limits.silence_after_finish if run.end_mark else idle), "executor_silent")
