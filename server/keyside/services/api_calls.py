"""Calls by programs that wait for the answer: begin a run, follow it, stop it when its caller has gone.

No face is known here: a face decodes a request, and encodes what a call yields.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from keyside.core.changes import LinesAdded
from keyside.core.inputs import Follow, Unfollow
from keyside.core.reading import Delta, chunk_of
from keyside.core.run import ENDED, Run
from keyside.core.step import Refused
from keyside.protocol.commands import NewRun
from keyside.protocol.errors import KeysideError
from keyside.services.chats import Chats
from keyside.services.followers import Followers
from keyside.services.ports import ChatLog, Clock, Ids
from keyside.services.requests import Caller, RunRequests, is_the_same
from keyside.services.runs import Runs

KEY_SECONDS = 24 * 3600
"""How long an idempotency key stands for its call (R6)."""
KEY_GRACE = 30.0
"""Seconds that a keyed call goes on without a caller: the caller may be about to ask again (R9)."""


@dataclass(frozen=True)
class Chunk:
    """One line of the answer: the upstream's object, and what it adds to the message."""

    body: Mapping[str, Any]
    delta: Delta


@dataclass(frozen=True)
class Ended:
    """The answer is over, and stored. `run.state` and `run.failure` say how it ended."""

    run: Run


class ApiCall:
    """One call that was begun. It yields chunks, and at last how it ended."""

    def __init__(self, run: Run, events: AsyncGenerator["Chunk | Ended", None]) -> None:
        self.run = run
        self.ended = False
        """Whether the end was read."""
        self._events = events

    async def __aiter__(self) -> AsyncIterator["Chunk | Ended"]:
        async for event in self._events:
            self.ended = isinstance(event, Ended)
            yield event


class ApiCalls:
    """Every call is a run in a chat: one that is named, or a hidden one that expires."""

    def __init__(
        self,
        chat_log: ChatLog,
        chats: Chats,
        requests: RunRequests,
        runs: Runs,
        followers: Followers,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._log = chat_log
        self._chats = chats
        self._requests = requests
        self._runs = runs
        self._followers = followers
        self._clock = clock
        self._ids = ids
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def open(
        self, user_id: int, chat_id: int | None, new: NewRun, *, key: str | None = None, wait_seconds: float = 0
    ) -> AsyncIterator[ApiCall]:
        """A call for as long as the context lasts. Its caller has gone when that is left before the end (R9).

        The same `key` again follows the run that there is; with another body it raises `conflict`. Raises also what
        `RunRequests.start` raises.
        """
        caller = Caller(self._ids.new(), wait_seconds, 0 if key is None else KEY_GRACE)
        run, after = await self._begin(user_id, chat_id, new, caller, key)
        async with aclosing(self._events(run, after)) as events:
            call = ApiCall(run, events)
            try:
                yield call
            finally:
                if not call.ended:
                    await self._leave(run, caller)

    async def _events(self, run: Run, after: int) -> AsyncGenerator[Chunk | Ended, None]:
        async with aclosing(self._followers.follow_run(run, after)) as entries:
            async for entry in entries:
                change = entry.change
                if isinstance(change, LinesAdded):
                    for chunk in _chunks(change):
                        yield chunk
                elif isinstance(change, Run) and change.state in ENDED:
                    yield Ended(change)
                    return

    async def _leave(self, run: Run, caller: Caller) -> None:
        """The caller follows no longer. A run that has ended does not mind."""
        # It may be deleted; or the store is away, and the next start of the server makes up for it.
        with suppress(Refused, KeysideError):
            await self._runs.apply(run.key, Unfollow(caller.id))

    # --- beginning -------------------------------------------------------------------------------

    async def _begin(
        self, user_id: int, chat_id: int | None, new: NewRun, caller: Caller, key: str | None
    ) -> tuple[Run, int]:
        """The call's run, and the number of the chat's event after which it began."""
        if key is None:
            return await self._start(user_id, chat_id, new, caller)
        lock = self._locks.setdefault((user_id, key), asyncio.Lock())
        async with lock:
            run_id, known = await self._keyed_run(user_id, key)
            if known is None:
                return await self._start(user_id, chat_id, new.model_copy(update={"run_id": run_id}), caller)
            if not is_the_same(known, new):
                raise KeysideError("conflict", "This Idempotency-Key was used for another request.")
            return await self._runs.apply(known.key, Follow(caller.id)), 0

    async def _keyed_run(self, user_id: int, key: str) -> tuple[str, Run | None]:
        """The run id that stands for the key now, and the run if there is one. Its ids are numbered as they are used.

        Raises `conflict` where the run was deleted.
        """
        prefix = f"key-{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:40]}-"
        last = await self._log.last_number(user_id, prefix)
        if last is None:
            return f"{prefix}0", None
        run_id = f"{prefix}{last}"
        run = await self._runs.run((user_id, run_id))
        if run is not None and not self._is_free_again(run):
            return run_id, run
        removed = await self._log.removed_run(user_id, run_id) if run is None else None
        if removed is not None and not (removed.unanswered or self._is_old(removed.created_at)):
            raise KeysideError("conflict", "The call with this Idempotency-Key was deleted.")
        return f"{prefix}{last + 1}", None

    def _is_free_again(self, run: Run) -> bool:
        """Whether the key may stand for another run: this one is old, or nobody got anything of it."""
        return self._is_old(run.created_at) or (run.final and run.unanswered)

    def _is_old(self, created_at: float) -> bool:
        return created_at <= self._clock.now() - KEY_SECONDS

    async def _start(self, user_id: int, chat_id: int | None, new: NewRun, caller: Caller) -> tuple[Run, int]:
        hidden = chat_id is None
        if chat_id is None:
            chat_id = (await self._chats.create(user_id, "", hidden=True)).id
        try:
            after = (await self._log.heads([chat_id])).get(chat_id, 0)
            started = await self._requests.start(user_id, chat_id, new, caller=caller)
        except KeysideError:
            if hidden:
                await self._chats.delete(user_id, chat_id)  # a refused request leaves nothing behind
            raise
        return await self._requests.get(user_id, started.run.id), after


def _chunks(added: LinesAdded) -> list[Chunk]:
    found = []
    for line, reading in zip(added.frame.lines, added.frame.readings, strict=True):
        body = chunk_of(line) if isinstance(reading, Delta) else None
        if body is not None and isinstance(reading, Delta):
            found.append(Chunk(body, reading))
    return found
