"""Who can execute what: executors that are here, and those that are known but away."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from keyside.core.placement import Candidate
from keyside.protocol.base import iso
from keyside.protocol.entities import Connection, Executor
from keyside.protocol.errors import KeysideError
from keyside.protocol.wire import ExecutorReady
from keyside.services.connections import Connections, Socket
from keyside.services.ports import Clock, KnownExecutor, Registry

Count = Callable[[str], int]
"""How many runs the executor of a key has in hand."""


@dataclass(frozen=True)
class Present:
    """A framed executor on the socket that announced it."""

    key: str
    socket: Socket
    instance: str
    ready: ExecutorReady
    announced: int = 1
    """How often it announced itself on this socket."""


def executor_key(user_id: int, executor_id: str) -> str:
    """What names an executor in the server: its id is unique for its user only."""
    return f"{user_id}/{executor_id}"


class Presence:
    """The executors, by the user whose they are; those that are shared are there for all users."""

    def __init__(self, connections: Connections, registry: Registry, clock: Clock) -> None:
        self._connections = connections
        self._registry = registry
        self._clock = clock
        self._present: dict[str, Present] = {}
        self._by_session: dict[str, Present] = {}
        self._known: dict[int, dict[str, KnownExecutor]] = {}
        self._shared: dict[str, KnownExecutor] = {}
        """Those of the shared executors that are here."""

    async def start(self) -> None:
        """Loads the executors that announced themselves before."""
        for known in await self._registry.load():
            self._know(executor_key(known.user_id, known.executor_id), known)

    def _know(self, key: str, known: KnownExecutor) -> None:
        self._known.setdefault(known.user_id, {})[key] = known

    async def announce(self, socket: Socket, ready: ExecutorReady) -> tuple[Present, Present | None]:
        """Takes an executor in; returns it and what it takes the place of. Raises `executor_taken` (E12)."""
        key = executor_key(socket.user_id, ready.executor_id)
        secret_hash = hashlib.sha256(ready.secret.encode()).hexdigest()
        known = self._known.get(socket.user_id, {}).get(key)
        if known is not None and not hmac.compare_digest(known.secret_hash, secret_hash):
            raise KeysideError("executor_taken")
        saved = KnownExecutor(
            socket.user_id,
            ready.executor_id,
            secret_hash,
            ready.name,
            socket.kind,
            tuple(_with_last_models(connection, known) for connection in ready.connections),
            ready.max_runs,
            self._clock.now(),
        )
        self._know(key, saved)
        if socket.kind == "shared":
            self._shared[key] = saved
        before = self._present.get(key)
        again = before is not None and before.socket.session_id == socket.session_id
        present = Present(key, socket, ready.instance, ready, before.announced + 1 if before and again else 1)
        if before is not None:
            self._by_session.pop(before.socket.session_id, None)
        self._present[key] = present
        self._by_session[socket.session_id] = present
        await self._registry.save(saved)
        return present, before

    def disconnect(self, session_id: str) -> Present | None:
        """A socket is gone; returns the executor that went with it."""
        present = self._by_session.pop(session_id, None)
        if present is None or self._present.get(present.key) is not present:
            return None
        del self._present[present.key]
        self._shared.pop(present.key, None)
        return present

    def executor_of(self, session_id: str) -> Present | None:
        """The executor that a socket announced."""
        return self._by_session.get(session_id)

    def session_of(self, key: str) -> str | None:
        """The socket on which an executor is reached now."""
        present = self._present.get(key)
        return present.socket.session_id if present else None

    # --- as others see them ----------------------------------------------------------------------

    def candidates(self, user_id: int, count: Count) -> list[Candidate]:
        """Whom the user's runs can be offered to: all known executors, those shared with them, and bare sockets."""
        found = [self._candidate(key, known, user_id, count) for key, known in self._seen_by(user_id).items()]
        bare = [socket for socket in self._connections.of(user_id) if socket.session_id not in self._by_session]
        return found + [_plain(socket, count) for socket in bare]

    def executors(self, user_id: int, count: Count) -> list[Executor]:
        """The user's executors as they are shown, those that are connected first."""
        found = [self._candidate(key, known, user_id, count) for key, known in self._seen_by(user_id).items()]
        found.sort(key=lambda c: (c.session_id is None, -c.last_active_at))
        return [_shown(candidate) for candidate in found]

    def _seen_by(self, user_id: int) -> dict[str, KnownExecutor]:
        return {**self._known.get(user_id, {}), **self._shared}

    def _candidate(self, key: str, known: KnownExecutor, user_id: int, count: Count) -> Candidate:
        return Candidate(
            key=key,
            executor_id=known.executor_id,
            name=known.name,
            kind=known.kind,
            session_id=self.session_of(key),
            connections=known.connections,
            running=count(key),
            max_runs=known.max_runs,
            last_active_at=known.last_active_at,
            own=known.user_id == user_id,
            announced=self._present[key].announced if key in self._present else 0,
        )


def _shown(candidate: Candidate) -> Executor:
    return Executor(
        id=candidate.executor_id,
        name=candidate.name,
        kind=candidate.kind,
        online=candidate.session_id is not None,
        connections=list(candidate.connections),
        max_runs=candidate.max_runs,
        running=candidate.running,
        last_active_at=iso(candidate.last_active_at),
    )


def _with_last_models(connection: Connection, known: KnownExecutor | None) -> Connection:
    """A connection that cannot list its models just now still offers those that it had: a run for one waits (R3)."""
    if connection.models or connection.error is None or known is None:
        return connection
    models = next((last.models for last in known.connections if last.id == connection.id), [])
    return connection.model_copy(update={"models": models})


def _plain(socket: Socket, count: Count) -> Candidate:
    id = socket.session_id
    return Candidate(
        key=id, executor_id=id, name="a program", kind="plain", session_id=id, running=count(id), max_runs=100
    )
