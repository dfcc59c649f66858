"""Chooses an executor for a run (R2, R3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from keyside.core.assignment import Assignment
from keyside.core.run import RunRequest
from keyside.protocol.entities import Connection, ExecutorKind


@dataclass(frozen=True)
class Candidate:
    """An executor that is connected now, or a known one that is away."""

    key: str
    executor_id: str
    name: str
    kind: ExecutorKind
    session_id: str | None
    """The socket; `None` while it is away."""
    connections: Sequence[Connection] = ()
    running: int = 0
    max_runs: int = 1
    last_active_at: float = 0.0
    own: bool = True
    """Whether it is the caller's own, not one shared with them."""

    announced: int = 0
    """How often it announced itself: after each time it is worth another try."""

    @property
    def announcement(self) -> str:
        """Names its last announcement: what a run remembers as tried."""
        return f"{self.key}@{self.session_id}#{self.announced}"


@dataclass(frozen=True)
class Wait:
    """Nobody can run it now, but a known executor could."""


@dataclass(frozen=True)
class Nobody:
    """Nobody can run it: the run fails with this code."""

    code: str


def choose(request: RunRequest, candidates: Sequence[Candidate], tried: frozenset[str]) -> Assignment | Wait | Nobody:
    """The executor to offer the run to, each tried once; else whether to wait, or why not to."""
    if request.session_id is not None:
        return _named_session(request, candidates, tried)
    known = [c for c in candidates if c.kind != "plain" and request.executor_id in (None, c.executor_id)]
    if request.executor_id is not None and any(c.own for c in known):
        known = [c for c in known if c.own]  # a shared one can have the same id, and a named one never falls back
    offers = [(c, found) for c in known if (found := find_model(request, c.connections))]
    if not offers:
        return Nobody("model_not_found")
    untried = [(c, found) for c, found in offers if c.session_id is not None and c.announcement not in tried]
    free = [(c, found) for c, found in untried if c.running < c.max_runs]
    if free:
        candidate, (connection, model) = min(free, key=lambda offer: _rank(request, offer[0]))
        return _assignment(request, candidate, model, connection)
    away = any(c.session_id is None for c, _ in offers)
    return Wait() if untried or (request.waits and away) else Nobody("no_executor")


def _rank(request: RunRequest, candidate: Candidate) -> tuple[bool, bool, int, float]:
    preferred = candidate.executor_id == request.prefer_executor_id
    return (not candidate.own, not preferred, candidate.running, -candidate.last_active_at)


def _named_session(
    request: RunRequest, candidates: Iterable[Candidate], tried: frozenset[str]
) -> Assignment | Wait | Nobody:
    """A named session takes the model as given, and never falls back."""
    for candidate in candidates:
        if candidate.session_id == request.session_id and candidate.announcement not in tried:
            if candidate.running >= candidate.max_runs:
                return Wait()
            found = find_model(request, candidate.connections)
            return _assignment(request, candidate, found[1] if found else request.model, found[0] if found else None)
    return Nobody("session_gone")


def _assignment(request: RunRequest, candidate: Candidate, model: str, connection: Connection | None) -> Assignment:
    assert candidate.session_id is not None
    return Assignment(
        key=candidate.key,
        executor_id=candidate.executor_id,
        name=candidate.name,
        kind=candidate.kind,
        session_id=candidate.session_id,
        model=model,
        provider=connection.provider if connection else None,
        connection_id=connection.id if connection else None,
        announcement=candidate.announcement,
        first_line_timeout=request.first_line_timeout or (connection.first_line_timeout if connection else None),
        idle_timeout=request.idle_timeout or (connection.idle_timeout if connection else None),
    )


def find_model(request: RunRequest, connections: Iterable[Connection]) -> tuple[Connection, str] | None:
    """The connection that offers the model, and the model's id there; `provider/id` wins over a bare id."""
    bare: tuple[Connection, str] | None = None
    for connection in connections:
        if request.provider not in (None, connection.provider):
            continue
        for model in connection.models:
            if f"{connection.provider}/{model.id}" == request.model:
                return connection, model.id
            if model.id == request.model and bare is None:
                bare = connection, model.id
    return bare
