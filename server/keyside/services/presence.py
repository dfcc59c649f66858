"""Who can execute what: executors that are here, and those that are known but away."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from keyside.core.placement import Candidate
from keyside.protocol.base import iso
from keyside.protocol.entities import Connection, Executor
from keyside.protocol.errors import KeysideError
from keyside.protocol.wire import MAX_ANNOUNCEMENT, MAX_MODELS, ExecutorReady
from keyside.services.account_store import User
from keyside.services.connections import Connections, Socket
from keyside.services.ports import Clock, KnownExecutor, Registry

Count = Callable[[str], int]
"""How many runs the executor of a key has in hand."""
MAX_EXECUTORS = 250
MAX_USER_MODELS = 20_000
"""How many executors of one user are known, and how many models they have in all (E1)."""
_CONNECTIONS = TypeAdapter(tuple[Connection, ...])
_SAVE_SECONDS = 3600.0
"""An announcement that says nothing new is stored only so long after the last one that was."""


@dataclass(frozen=True)
class Present:
    """A framed executor on the socket that announced it."""

    key: str
    socket: Socket
    instance: str
    ready: ExecutorReady
    known: KnownExecutor
    announced: int = 1
    """How often it announced itself on this socket."""


@dataclass(frozen=True)
class Announced:
    """An executor that was taken in, what it takes the place of, and those that were forgotten to make room for it."""

    present: Present
    before: Present | None
    forgotten: tuple[KnownExecutor, ...]


def executor_key(user_id: int, executor_id: str) -> str:
    """What names an executor in the server: its id is unique for its user only."""
    return f"{user_id}/{executor_id}"


class Presence:
    """The executors, by the user whose they are. Those that are shared are there for the owner of the server, too."""

    def __init__(
        self, connections: Connections, registry: Registry, clock: Clock, owner: Callable[[], Awaitable[User]]
    ) -> None:
        self._connections = connections
        self._registry = registry
        self._clock = clock
        self._owner = owner
        self._owner_id: int | None = None
        self._present: dict[str, Present] = {}
        self._by_session: dict[str, Present] = {}
        self._known: dict[int, dict[str, KnownExecutor]] = {}
        self._shared: dict[str, KnownExecutor] = {}
        """Those of the shared executors that are here."""
        self._saved_at: dict[str, float] = {}
        """When what is known of an executor was stored; without an entry it may not be."""

    async def start(self) -> None:
        """Loads the executors that announced themselves before."""
        self._owner_id = (await self._owner()).id
        for known in await self._registry.load():
            self._know(known)
            self._saved_at[_key_of(known)] = known.last_active_at

    def _know(self, known: KnownExecutor) -> None:
        self._known.setdefault(known.user_id, {})[_key_of(known)] = known

    async def announce(self, socket: Socket, ready: ExecutorReady, count: Count) -> Announced:
        """Takes an executor in. Raises `executor_taken` (E12), `too_large` or `too_many_executors` (E1)."""
        _check_size(ready.connections)
        key = executor_key(socket.user_id, ready.executor_id)
        secret_hash = hashlib.sha256(ready.secret.encode()).hexdigest()
        known = self._known.get(socket.user_id, {}).get(key)
        if known is not None and not hmac.compare_digest(known.secret_hash, secret_hash):
            raise KeysideError("executor_taken")
        new = KnownExecutor(
            socket.user_id,
            ready.executor_id,
            secret_hash,
            ready.name,
            socket.kind,
            _with_last_models(ready.connections, known),
            ready.max_runs,
            self._clock.now(),
        )
        forgotten = self._make_room(new, count)
        before = self._present.get(key)
        present = self._appear(socket, ready, new, before)
        await self._remove(forgotten)
        await self._save(known, new)
        return Announced(present, before, forgotten)

    def _appear(self, socket: Socket, ready: ExecutorReady, known: KnownExecutor, before: Present | None) -> Present:
        self._know(known)
        key = _key_of(known)
        if socket.kind == "shared":
            self._shared[key] = known
        again = before is not None and before.socket.session_id == socket.session_id
        present = Present(key, socket, ready.instance, ready, known, before.announced + 1 if before and again else 1)
        if before is not None:
            self._by_session.pop(before.socket.session_id, None)
        self._present[key] = present
        self._by_session[socket.session_id] = present
        return present

    # --- what is stored --------------------------------------------------------------------------

    async def _save(self, before: KnownExecutor | None, now: KnownExecutor) -> None:
        """Stores an announcement, unless the same is stored already but for the time."""
        key, at = _key_of(now), now.last_active_at
        same = before is not None and replace(before, last_active_at=at) == now
        if same and key in self._saved_at and at - self._saved_at[key] < _SAVE_SECONDS:
            return
        try:
            await self._registry.save(now)
        except BaseException:
            self._saved_at.pop(key, None)
            raise
        self._saved_at[key] = at

    def _make_room(self, new: KnownExecutor, count: Count) -> tuple[KnownExecutor, ...]:
        """Those that must be forgotten: they are away, the longest first, and those without runs before the others."""
        others = {key: one for key, one in self._known.get(new.user_id, {}).items() if key != _key_of(new)}
        away = [(key, one) for key, one in others.items() if key not in self._present]
        away.sort(key=lambda pair: (count(pair[0]) > 0, pair[1].last_active_at))
        models = _models_of(new.connections) + sum(_models_of(one.connections) for one in others.values())
        forgotten: list[KnownExecutor] = []
        for _, one in away:
            too_many = len(others) - len(forgotten) >= MAX_EXECUTORS
            if too_many or (models > MAX_USER_MODELS and _models_of(one.connections)):
                forgotten.append(one)
                models -= _models_of(one.connections)
        if len(others) - len(forgotten) >= MAX_EXECUTORS or models > MAX_USER_MODELS:
            raise KeysideError("too_many_executors")
        return tuple(forgotten)

    async def forget(self, user_id: int, executor_id: str) -> KnownExecutor:
        """Forgets an executor that is away; raises `not_found`, or `conflict` for one that is connected."""
        key = executor_key(user_id, executor_id)
        known = self._known.get(user_id, {}).get(key)
        if known is None:
            raise KeysideError("not_found", f"You have no device {executor_id!r}.")
        if key in self._present:
            raise KeysideError("conflict", "This device is connected. Only one that is away can be forgotten.")
        await self._remove((known,))
        return known

    async def _remove(self, some: tuple[KnownExecutor, ...]) -> None:
        """From now on they are not known. One that announces itself meanwhile is known anew, and stored after this."""
        for known in some:
            self._known[known.user_id].pop(_key_of(known), None)
            self._saved_at.pop(_key_of(known), None)
        for known in some:
            try:
                await self._registry.forget(known.user_id, known.executor_id)
            except BaseException:  # its row is still there
                self._known.setdefault(known.user_id, {}).setdefault(_key_of(known), known)
                raise

    # --- who is here -----------------------------------------------------------------------------

    def disconnect(self, session_id: str) -> Present | None:
        """A socket is gone; returns the executor that went with it."""
        present = self._by_session.pop(session_id, None)
        if present is None or self._present.get(present.key) is not present:
            return None
        del self._present[present.key]
        self._shared.pop(present.key, None)
        self._know(replace(present.known, last_active_at=self._clock.now()))
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

    def shown(self, present: Present, count: Count) -> Executor:
        """One that announced itself, as its user sees it."""
        return _shown(self._candidate(present.key, present.known, present.known.user_id, count))

    def _seen_by(self, user_id: int) -> dict[str, KnownExecutor]:
        """The user's own. The owner of the server sees the shared ones of all users besides (E12)."""
        return {**self._known.get(user_id, {}), **(self._shared if user_id == self._owner_id else {})}

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


def _with_last_models(connections: Sequence[Connection], known: KnownExecutor | None) -> tuple[Connection, ...]:
    """Connections that cannot list their models just now still offer those that they had: a run for one waits (R3).

    That is only so if with these models the announcement is not larger than one may be.
    """
    last = {one.id: one.models for one in known.connections} if known is not None else {}
    found = tuple(
        one if one.models or one.error is None else one.model_copy(update={"models": last.get(one.id, [])})
        for one in connections
    )
    try:
        _check_size(found)
    except KeysideError:
        return tuple(connections)
    return found


def _check_size(connections: Sequence[Connection]) -> None:
    """Raises `too_large` for connections that are more than an announcement may have."""
    if _models_of(connections) > MAX_MODELS:
        raise KeysideError("too_large", f"An announcement has at most {MAX_MODELS} models in all its connections.")
    if len(_CONNECTIONS.dump_json(tuple(connections))) > MAX_ANNOUNCEMENT:
        raise KeysideError("too_large", "The connections of an announcement are at most 1 MiB as JSON.")


def _models_of(connections: Iterable[Connection]) -> int:
    return sum(len(connection.models) for connection in connections)


def _key_of(known: KnownExecutor) -> str:
    return executor_key(known.user_id, known.executor_id)


def _plain(socket: Socket, count: Count) -> Candidate:
    id = socket.session_id
    return Candidate(
        key=id, executor_id=id, name="a program", kind="plain", session_id=id, running=count(id), max_runs=100
    )
