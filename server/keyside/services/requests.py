"""What a user does with runs: ask for an answer, look at it, and stop it."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace

from keyside.core.changes import Change, view
from keyside.core.deadline import deadline_of, waits_until
from keyside.core.inputs import Close, Stop
from keyside.core.limits import ID_SECONDS, Limits
from keyside.core.run import Run, RunRequest
from keyside.core.step import Refused
from keyside.protocol.commands import NewRun, Started
from keyside.protocol.entities import Chat, Message
from keyside.protocol.entities import Run as RunView
from keyside.protocol.errors import KeysideError
from keyside.services.chat_locks import ChatLocks
from keyside.services.dispatcher import Dispatcher
from keyside.services.messages import Messages
from keyside.services.ports import ChatLog, Clock, Ids
from keyside.services.request_body import RequestBody
from keyside.services.runs import Runs
from keyside.services.transaction import Part


@dataclass(frozen=True)
class Caller:
    """A program that waits for the answer. `id` is unique in the server; times are in seconds."""

    id: str
    wait_seconds: float = 0
    """How long it waits for a device that can answer."""
    grace: float = 0
    """How long the run goes on when the caller has gone and no other follows it (R9)."""


_FORM = "2:"
"""Begins the fingerprints of today; those without it were made by older servers, of other fields."""


def fingerprint_of(new: NewRun) -> str:
    """A hash of what is asked for. Hints are no part of it."""
    update = {"run_id": None, "prefer_executor_id": None}
    return _FORM + hashlib.sha256(new.model_copy(update=update).model_dump_json().encode()).hexdigest()


def is_the_same(known: Run, new: NewRun) -> bool:
    """Whether a run was asked for with the same body: with another one its id is a conflict (R6)."""
    fingerprint = known.request.fingerprint
    if fingerprint.startswith(_FORM):
        return fingerprint == fingerprint_of(new)
    old = new.model_copy(update={"run_id": None}).model_dump_json(exclude={"first_line_timeout", "idle_timeout"})
    return fingerprint == hashlib.sha256(old.encode()).hexdigest()


class RunRequests:
    """Runs of a user. Ids of others are not found."""

    def __init__(
        self,
        chat_log: ChatLog,
        locks: ChatLocks,
        messages: Messages,
        runs: Runs,
        dispatcher: Dispatcher,
        body: RequestBody,
        clock: Clock,
        ids: Ids,
        limits: Limits,
    ) -> None:
        self._log = chat_log
        self._locks = locks
        self._messages = messages
        self._runs = runs
        self._dispatcher = dispatcher
        self._body = body
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._closing = False

    def close(self) -> None:
        """The server is about to end: it takes no new run."""
        self._closing = True

    async def get(self, user_id: int, run_id: str) -> Run:
        """A run of the user, as it stands now; raises `not_found`."""
        run = await self._runs.run((user_id, run_id))
        if run is None:
            raise KeysideError("not_found", f"You have no run {run_id!r}.")
        return run

    async def stop(self, user_id: int, run_id: str) -> RunView:
        """Ends a run with what is stored (R5); stopping again changes nothing."""
        run = await self.get(user_id, run_id)
        with suppress(Refused):  # it was deleted just now
            run = await self._runs.apply(run.key, Stop())
        return view(run)

    async def start(self, user_id: int, chat_id: int, new: NewRun, *, caller: Caller | None = None) -> Started:
        """Asks for an answer. The same `run_id` again returns the run that there is (R6).

        Raises `conflict` if that run was removed: who repeats a request that was not answered does not pay twice;
        `too_large` or `bad_request` for one that no executor could be sent.
        """
        if self._closing:
            raise KeysideError("shutting_down")
        async with self._locks.alone(user_id, chat_id) as chat:
            known = await self._runs.run((user_id, new.run_id)) if new.run_id is not None else None
            if known is not None:
                return await self._again(known, chat_id, new)
            if new.run_id is not None:
                await self._refuse_deleted(user_id, new.run_id)
            return await self._start(user_id, chat, new, caller)

    async def _refuse_deleted(self, user_id: int, run_id: str) -> None:
        removed = await self._log.removed_run(user_id, run_id)
        if removed is not None and removed.created_at > self._clock.now() - ID_SECONDS:
            raise _was_deleted(run_id)

    async def _start(self, user_id: int, chat: Chat, new: NewRun, caller: Caller | None) -> Started:
        run_id = new.run_id or self._ids.new()
        user_message, assistant = await self._turn(user_id, chat, new)
        hidden = await self._log.is_hidden(chat.id)
        run = self._run(run_id, user_id, assistant, new, _request(new, caller, hidden))
        if caller is not None:
            run = replace(run, callers=frozenset({caller.id}))
        self._dispatcher.check(run)
        await self._body.check(run, user_message)
        await self._close_superseded(user_id, chat, new, user_message, assistant)
        begun = {"status": "streaming", "error": None, "run_id": run_id, "model": new.model, "provider": new.provider}
        assistant = assistant.model_copy(update=begun)
        changes: list[Change] = [assistant, run, self._messages.headed(chat, assistant, user_message, new.model)]
        if user_message is not None and new.mode == "reply":
            changes.insert(0, user_message)
        await self._runs.apply_all(Part(user_id, chat.id, changes=tuple(changes)))
        return Started(run=view(run), user_message=user_message, assistant_message=assistant)

    def _run(self, run_id: str, user_id: int, message: Message, new: NewRun, request: RunRequest) -> Run:
        now = self._clock.now()
        run = Run(
            id=run_id,
            user_id=user_id,
            chat_id=message.chat_id,
            message_id=message.id,
            request=request,
            created_at=now,
            waits_until=waits_until(request, now, self._limits),
            prefix=message if new.mode == "continue" else None,
            since=now,
        )
        return replace(run, deadline=deadline_of(run, self._limits))

    async def _turn(self, user_id: int, chat: Chat, new: NewRun) -> tuple[Message | None, Message]:
        """The user's message and the assistant's that a run is about, made or found."""
        if new.mode == "reply":
            if new.message is None:
                raise KeysideError("bad_request", "A reply needs a `message`.")
            parent_id = await self._messages.parent(user_id, chat, new)
            user_message = self._messages.make(chat.id, "user", new.message.content, parent_id, new.message.id)
            await self._messages.refuse_taken(user_id, user_message.id)
            return user_message, self._messages.make(chat.id, "assistant", "", user_message.id)
        if new.message is not None:
            raise KeysideError("bad_request", f"`{new.mode}` takes no `message`.")
        at = await self._messages.find(user_id, chat.id, new.parent_id or chat.head_id or "")
        if at.status == "streaming":
            raise KeysideError("message_running")
        if new.mode == "regenerate":
            asked = await self._asked(user_id, chat, at)
            return asked, self._messages.make(chat.id, "assistant", "", asked.id)
        if at.role != "assistant":
            raise KeysideError("bad_request", "Only an answer can be continued: `parent_id` must be one.")
        return None, at

    async def _asked(self, user_id: int, chat: Chat, at: Message) -> Message:
        """The user's message that gets another answer: `at` itself, or the one that `at` answers."""
        if at.role == "assistant" and at.parent_id is not None:
            at = await self._messages.find(user_id, chat.id, at.parent_id)
        if at.role != "user":
            raise KeysideError("bad_request", "Only an answer to a message of the user can be made again.")
        return at

    async def _close_superseded(
        self, user_id: int, chat: Chat, new: NewRun, asked: Message | None, assistant: Message
    ) -> None:
        """Interrupted runs that the user goes on without are final now (R4)."""
        if new.mode == "continue":
            await self._messages.close_interrupted(user_id, assistant)
        elif new.mode == "regenerate" and asked is not None:
            answers = [id for id, parent in await self._log.links(user_id, chat.id) if parent == asked.id]
            for run in await self._log.runs_in(chat.id, answers):
                with suppress(Refused):
                    await self._runs.apply(run.key, Close())

    async def _again(self, known: Run, chat_id: int, new: NewRun) -> Started:
        if known.chat_id != chat_id or not is_the_same(known, new):
            raise KeysideError("conflict", f"There is another run with the id {known.id!r}.")
        assistant = await self._log.message(known.user_id, known.message_id)
        if assistant is None:
            raise _was_deleted(known.id)
        parent = await self._log.message(known.user_id, assistant.parent_id) if assistant.parent_id else None
        return Started(run=view(known), user_message=parent, assistant_message=assistant)


def _was_deleted(run_id: str) -> KeysideError:
    return KeysideError("conflict", f"The run {run_id!r} was deleted. To ask again, use another id.")


def _request(new: NewRun, caller: Caller | None, hidden: bool) -> RunRequest:
    return RunRequest(
        model=new.model,
        provider=new.provider,
        params=new.params,
        session_id=new.session_id,
        executor_id=new.executor_id,
        prefer_executor_id=new.prefer_executor_id,
        waits=caller is None or caller.wait_seconds > 0,
        wait_seconds=caller.wait_seconds if caller else None,
        caller_grace=caller.grace if caller else None,
        first_line_timeout=new.first_line_timeout,
        idle_timeout=new.idle_timeout,
        hidden=hidden,
        fingerprint=fingerprint_of(new),
    )
