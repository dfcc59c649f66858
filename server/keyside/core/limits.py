"""How long each state of a run may take."""

from dataclasses import dataclass

from keyside.core.run import Run, State


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds (E3, E8, R3, R4)."""

    callback: float = 10.0
    first_line: float = 180.0
    idle: float = 120.0
    run: float = 3600.0
    resume_grace: float = 60.0
    queue: float = 24 * 3600.0
    late_resume: float = 24 * 3600.0
    silence_after_finish: float = 2.0


AGAIN = 10.0
"""Seconds, times the attempts so far."""


def next_try(run: Run) -> float:
    """When a run that waits is offered again to those that did not take it: who was asleep may be awake (R3)."""
    return run.since + AGAIN * run.attempt


def expiry(run: Run, limits: Limits) -> tuple[float, str] | None:
    """When the run's present state must have changed, and the error if it has not; `None`: never."""
    match run.state:
        case State.QUEUED:
            return run.created_at + min(limits.queue, run.ask.wait_seconds or limits.queue), "no_executor"
        case State.OFFERED:  # so long until the callback, and so long again until the claim
            return max(run.since, run.heard_at) + limits.callback, "callback_timeout"
        case State.SUSPENDED:  # a server that takes the run over counts from then on
            return max(run.since, run.heard_at) + limits.resume_grace, "executor_lost"
        case State.INTERRUPTED:
            return (run.since + limits.late_resume, "executor_lost") if run.closed_by is None else None
        case State.STREAMING:
            return min(_streaming_limits(run, limits))
        case _:
            return None


def _streaming_limits(run: Run, limits: Limits) -> list[tuple[float, str]]:
    assert run.started_at is not None
    assert run.assignment is not None
    found = [(run.started_at + limits.run, "run_timeout")]
    if run.expected == 0:
        found.append((run.started_at + limits.first_line, "first_line_timeout"))
    if run.assignment.framed:
        found.append((run.heard_at + limits.idle, "executor_silent"))
    elif run.expected:
        silence = limits.silence_after_finish if run.mark else limits.idle
        found.append((run.heard_at + silence, "executor_silent"))
    return found
