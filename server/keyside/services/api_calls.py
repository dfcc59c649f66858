"""Calls by programs that wait on the line for the answer (the OpenAI face)."""

import asyncio
import hashlib

from keyside.core.run import Run
from keyside.protocol.commands import NewRun
from keyside.protocol.errors import KeysideError
from keyside.services.chats import Caller, Chats, fingerprint_of
from keyside.services.ports import ChatLog, Clock

KEY_SECONDS = 24 * 3600
"""How long an idempotency key stands for its call (R6)."""


class ApiCalls:
    """Every call is a run in a chat: one that is named, or a hidden one that expires."""

    def __init__(self, chat_log: ChatLog, chats: Chats, clock: Clock) -> None:
        self._log = chat_log
        self._chats = chats
        self._clock = clock
        self._keyed = asyncio.Lock()

    async def call(
        self, user_id: int, chat_id: int | None, new: NewRun, *, key: str | None = None, wait_seconds: float = 0
    ) -> Run:
        """Asks for an answer. The same `key` again returns the run that there is, with another body a conflict."""
        caller = Caller(wait_seconds)
        if key is None:
            return await self._begin(user_id, chat_id, new, caller)
        async with self._keyed:
            run_id, known = await self._keyed_run(user_id, key)
            if known is None:
                return await self._begin(user_id, chat_id, new.model_copy(update={"run_id": run_id}), caller)
            if known.ask.fingerprint != fingerprint_of(new):
                raise KeysideError("conflict", "This Idempotency-Key was used for another request.")
            return await self._chats.run(user_id, known.id)

    async def _keyed_run(self, user_id: int, key: str) -> tuple[str, Run | None]:
        """The run id that stands for the key now, and the run if there is one."""
        digest = hashlib.sha256(key.encode()).hexdigest()[:40]
        for times in range(1000):
            run_id = f"key-{digest}-{times}"
            known = await self._log.run(user_id, run_id)
            if known is None or known.created_at > self._clock.now() - KEY_SECONDS:
                return run_id, known
        raise KeysideError("conflict", "This Idempotency-Key was used too often.")

    async def _begin(self, user_id: int, chat_id: int | None, new: NewRun, caller: Caller) -> Run:
        hidden = chat_id is None
        if chat_id is None:
            chat_id = (await self._chats.create(user_id, "", hidden=True)).id
        try:
            started = await self._chats.start(user_id, chat_id, new, caller=caller)
        except KeysideError:
            if hidden:
                await self._chats.delete(user_id, chat_id)  # a refused request leaves nothing behind
            raise
        return await self._chats.run(user_id, started.run.id)
