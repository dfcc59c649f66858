"""Who is connected, and who can execute what: executors that are here, and those that are known but away."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from keyside.core.placement import Candidate
from keyside.protocol.base import iso
from keyside.protocol.entities import Connection, Executor, ExecutorKind, ModelChoice
from keyside.protocol.errors import KeysideError
from keyside.protocol.wire import ExecutorReady
from keyside.services.ports import Clock, KnownExecutor, Registry


@dataclass(frozen=True)
class Socket:
    """A connected socket. What it is comes from how it signed in, never from its payload (E12)."""

    session_id: str
    user_id: int
    kind: ExecutorKind
    scopes: frozenset[str]
    credential_id: str | None = None


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
    """An executor's name in the server: its id is unique per user only."""
    return f"{user_id}/{executor_id}"


class Presence:
    """All sockets, and the executors among them."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._sockets: dict[str, Socket] = {}
        self._present: dict[str, Present] = {}
        self._by_session: dict[str, Present] = {}
        self._known: dict[str, KnownExecutor] = {}

    async def start(self) -> None:
        """Loads the executors that announced themselves before."""
        for known in await self._registry.load():
            self._known[executor_key(known.user_id, known.executor_id)] = known

    # --- sockets ---------------------------------------------------------------------------------

    def connect(self, socket: Socket) -> None:
        """A socket is here."""
        self._sockets[socket.session_id] = socket

    def socket(self, session_id: str) -> Socket | None:
        """A socket that is here."""
        return self._sockets.get(session_id)

    def credentials(self) -> set[str]:
        """What the connected sockets signed in with."""
        return {socket.credential_id for socket in self._sockets.values() if socket.credential_id is not None}

    def sessions_by(self, credential_id: str) -> list[str]:
        """The sockets that signed in with a credential."""
        return [id for id, socket in self._sockets.items() if socket.credential_id == credential_id]

    def disconnect(self, session_id: str) -> Present | None:
        """A socket is gone; returns the executor that went with it."""
        self._sockets.pop(session_id, None)
        present = self._by_session.pop(session_id, None)
        if present is None or self._present.get(present.key) is not present:
            return None
        del self._present[present.key]
        return present

    # --- executors -------------------------------------------------------------------------------

    async def announce(self, socket: Socket, ready: ExecutorReady) -> tuple[Present, Present | None]:
        """Takes an executor in; returns it and what it takes the place of. Raises `executor_taken` (E12)."""
        key = executor_key(socket.user_id, ready.executor_id)
        secret_hash = hashlib.sha256(ready.secret.encode()).hexdigest()
        known = self._known.get(key)
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
        self._known[key] = saved
        before = self._present.get(key)
        again = before is not None and before.socket.session_id == socket.session_id
        present = Present(key, socket, ready.instance, ready, before.announced + 1 if before and again else 1)
        if before is not None:
            self._by_session.pop(before.socket.session_id, None)
        self._present[key] = present
        self._by_session[socket.session_id] = present
        await self._registry.save(saved)
        return present, before

    def executor_of(self, session_id: str) -> Present | None:
        """The executor that a socket announced."""
        return self._by_session.get(session_id)

    def session_of(self, key: str) -> str | None:
        """The socket on which an executor is reached now."""
        present = self._present.get(key)
        return present.socket.session_id if present else None

    def candidates(self, user_id: int, running: Callable[[str], int]) -> list[Candidate]:
        """Whom the user's runs can be offered to: all known executors, those shared with them, and bare sockets."""
        found = [
            self._candidate(key, known, user_id, running)
            for key, known in self._known.items()
            if known.user_id == user_id or (known.kind == "shared" and key in self._present)
        ]
        bare = (socket for id, socket in self._sockets.items() if id not in self._by_session)
        return found + [_plain(socket) for socket in bare if socket.user_id == user_id]

    def _candidate(self, key: str, known: KnownExecutor, user_id: int, running: Callable[[str], int]) -> Candidate:
        return Candidate(
            key=key,
            executor_id=known.executor_id,
            name=known.name,
            kind=known.kind,
            session_id=self.session_of(key),
            connections=known.connections,
            running=running(key),
            max_runs=known.max_runs,
            last_active_at=known.last_active_at,
            own=known.user_id == user_id,
            announced=self._present[key].announced if key in self._present else 0,
        )

    def executors(self, user_id: int, running: Callable[[str], int]) -> list[Executor]:
        """The user's executors as they are shown, those that are connected first."""
        candidates = [c for c in self.candidates(user_id, running) if c.kind != "plain"]
        candidates.sort(key=lambda c: (c.session_id is None, -c.last_active_at))
        return [self.shown(c) for c in candidates]

    def shown(self, candidate: Candidate) -> Executor:
        """An executor as it is shown."""
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


def _plain(socket: Socket) -> Candidate:
    id = socket.session_id
    return Candidate(key=id, executor_id=id, name="a program", kind="plain", session_id=id, max_runs=100)


def models(executors: list[Executor]) -> list[ModelChoice]:
    """All models of the executors, once each, those that can run now first."""
    found: dict[str, ModelChoice] = {}
    for executor in executors:
        for connection in executor.connections:
            for model in connection.models:
                id = f"{connection.provider}/{model.id}"
                known = found.get(id)
                found[id] = ModelChoice(
                    id=id,
                    model=model.id,
                    provider=connection.provider,
                    name=model.name or model.id,
                    online=executor.online or (known is not None and known.online),
                    executors=[*(known.executors if known else []), executor.id],
                )
    return sorted(found.values(), key=lambda choice: not choice.online)
