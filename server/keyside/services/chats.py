"""What a user does with chats: make, rename and delete them, edit messages, ask for answers, stop them."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from keyside.core.changes import Change, Removed, view
from keyside.core.inputs import Cancel, Stop
from keyside.core.run import ENDED, Ask, Refused, Run, State, step
from keyside.core.tree import below, newest_leaf
from keyside.protocol.base import iso
from keyside.protocol.commands import ChatPatch, NewMessage, NewRun, Started, UserTurn
from keyside.protocol.entities import Chat, Message
from keyside.protocol.entities import Run as RunView
from keyside.protocol.errors import KeysideError, failure
from keyside.services.dispatcher import Dispatcher
from keyside.services.orchestrator import Orchestrator
from keyside.services.ports import ChatLog, Clock, Ids, Unavailable

log = logging.getLogger(__name__)

_TITLE = 60
"""Characters of the first message that become the title of a chat without one."""


@dataclass(frozen=True)
class Caller:
    """A program that waits on the line for the answer, and how long for a device that can give it."""

    wait_seconds: float = 0


def fingerprint_of(new: NewRun) -> str:
    """A hash of what was asked for: the same id with another one is a conflict (R6)."""
    return hashlib.sha256(new.model_copy(update={"run_id": None}).model_dump_json().encode()).hexdigest()


class Chats:
    """A user's chats. Ids of others are not found. `on_gone` is called when a chat was deleted."""

    def __init__(
        self, chat_log: ChatLog, orchestrator: Orchestrator, dispatcher: Dispatcher, clock: Clock, ids: Ids
    ) -> None:
        self._log = chat_log
        self._orchestrator = orchestrator
        self._dispatcher = dispatcher
        self._clock = clock
        self._ids = ids
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self.closing = False
        """The server is about to end: it takes no new run."""
        self.on_gone: Callable[[int], None] = lambda chat_id: None
        self.on_change: Callable[[int], None] = lambda user_id: None

    @asynccontextmanager
    async def _alone(self, user_id: int, chat_id: int) -> AsyncIterator[Chat]:
        """The chat, while nobody else changes its messages."""
        lock = self._locks.setdefault(chat_id, asyncio.Lock())
        async with lock:
            yield await self.get(user_id, chat_id)

    # --- chats -----------------------------------------------------------------------------------

    async def get(self, user_id: int, chat_id: int) -> Chat:
        """A chat of the user."""
        chat = await self._log.chat(user_id, chat_id)
        if chat is None:
            raise KeysideError("not_found", f"You have no chat {chat_id}.")
        return chat

    async def create(self, user_id: int, title: str, *, hidden: bool = False) -> Chat:
        """An empty chat."""
        chat = await self._log.new_chat(user_id, title.strip(), self._clock.now(), hidden=hidden)
        self.on_change(user_id)
        return chat

    async def change(self, user_id: int, chat_id: int, patch: ChatPatch) -> Chat:
        """Renames a chat, or shows another of its branches."""
        async with self._alone(user_id, chat_id) as chat:
            changed: dict[str, str] = {}
            if patch.title is not None:
                changed["title"] = patch.title.strip()
            if patch.head_id is not None:
                links = [(m.id, m.parent_id) for m in await self._log.messages(user_id, chat_id)]
                if patch.head_id not in dict(links):
                    raise KeysideError("not_found", f"This chat has no message {patch.head_id!r}.")
                changed["head_id"] = newest_leaf(links, patch.head_id)
            if changed:
                chat = chat.model_copy(update={**changed, "updated_at": iso(self._clock.now())})
                await self._orchestrator.store(user_id, chat_id, [chat])
        self.on_change(user_id)
        return chat

    async def delete(self, user_id: int, chat_id: int) -> None:
        """Deletes a chat with all that belongs to it; what runs in it is ended first (R9)."""
        async with self._alone(user_id, chat_id):
            messages = await self._log.messages(user_id, chat_id)
            await self._remove(user_id, chat_id, [message.id for message in messages], None)
            await self._log.delete_chat(user_id, chat_id)
        self.on_gone(chat_id)
        self.on_change(user_id)

    async def expire(self, retention: float) -> None:
        """Once an hour, deletes hidden chats that are older than `retention` seconds."""
        while True:
            try:
                for user_id, chat_id in await self._log.hidden_before(self._clock.now() - retention):
                    await self.delete(user_id, chat_id)
            except (KeysideError, Unavailable) as error:
                log.warning("old calls could not be deleted: %s", error)
            await self._clock.sleep(3600)

    # --- messages --------------------------------------------------------------------------------

    async def add(self, user_id: int, chat_id: int, new: NewMessage) -> Message:
        """Stores one message below `parent_id` (the head, if left out) and runs nothing."""
        async with self._alone(user_id, chat_id) as chat:
            parent_id = await self._parent(user_id, chat, new)
            message = self._message(chat_id, new.role, new.content, parent_id, new.id)
            message = message.model_copy(update={"status": new.status})
            await self._refuse_taken(user_id, message.id)
            await self._orchestrator.store(user_id, chat_id, [message, self._headed(chat, message, None)])
        self.on_change(user_id)
        return message

    async def edit(self, user_id: int, chat_id: int, message_id: str, content: str) -> Message:
        """Corrects a message in place."""
        async with self._alone(user_id, chat_id):
            message = await self._of_chat(user_id, chat_id, message_id)
            if message.status == "streaming":
                raise KeysideError("message_running")
            await self._close_interrupted(user_id, message)
            update = {"content": content, "updated_at": iso(self._clock.now())}
            message = message.model_copy(update=update)
            await self._orchestrator.store(user_id, chat_id, [message])
        return message

    async def remove(self, user_id: int, chat_id: int, message_id: str) -> None:
        """Removes a message and what follows it; what runs there is ended in the same transaction (R9)."""
        async with self._alone(user_id, chat_id) as chat:
            await self._of_chat(user_id, chat_id, message_id)
            messages = await self._log.messages(user_id, chat_id)
            links = [(message.id, message.parent_id) for message in messages]
            gone = below(links, message_id)
            head = chat
            if chat.head_id in gone:
                left = [link for link in links if link[0] not in gone]
                parent = dict(links)[message_id]
                head_id = newest_leaf(left, parent) if parent else (newest_leaf(left, left[0][0]) if left else None)
                head = chat.model_copy(update={"head_id": head_id})
            await self._remove(user_id, chat_id, gone, head)
        self.on_change(user_id)

    async def _remove(self, user_id: int, chat_id: int, message_ids: list[str], head: Chat | None) -> None:
        """Ends every run of these messages and removes them, in one transaction."""
        gone = set(message_ids)
        lives = [
            live for live in self._orchestrator.live() if live.run.chat_id == chat_id and live.run.message_id in gone
        ]
        for live in lives:
            await live.lock.acquire()
        try:
            now = self._clock.now()
            stopped = [(live, *step(live.run, Stop(failure("deleted")), now)) for live in lives if _goes_on(live.run)]
            changes: list[Change] = [run for _, run, _ in stopped]
            changes += [Removed(tuple(message_ids)), *([head] if head else [])]
            await self._orchestrator.store(user_id, chat_id, changes)
            for live, run, _ in stopped:
                live.run = run
        finally:
            for live in lives:
                live.lock.release()
        self._orchestrator.retire(lives)
        for _, _, effects in stopped:
            for effect in effects:
                if isinstance(effect, Cancel):
                    self._orchestrator.on_recall(effect)

    # --- runs ------------------------------------------------------------------------------------

    async def run(self, user_id: int, run_id: str) -> Run:
        """A run of the user, as it stands now."""
        live = self._orchestrator.get((user_id, run_id))
        run = live.run if live else await self._log.run(user_id, run_id)
        if run is None:
            raise KeysideError("not_found", f"You have no run {run_id!r}.")
        return run

    async def stop(self, user_id: int, run_id: str) -> RunView:
        """Ends a run with what is stored (R5); stopping again changes nothing."""
        run = await self.run(user_id, run_id)
        if _goes_on(run):
            try:
                run = await self._orchestrator.feed((user_id, run_id), Stop())
            except Refused:
                run = await self.run(user_id, run_id)  # it ended by itself just now
        return view(run)

    async def start(self, user_id: int, chat_id: int, new: NewRun, *, caller: Caller | None = None) -> Started:
        """Asks for an answer. The same `run_id` again returns the run that there is (R6)."""
        if self.closing:
            raise KeysideError("shutting_down")
        fingerprint = fingerprint_of(new)
        async with self._alone(user_id, chat_id) as chat:
            if new.run_id is not None:
                known = await self._log.run(user_id, new.run_id)
                if known is not None:
                    return await self._again(known, chat_id, fingerprint)
            started = await self._start(user_id, chat, new, caller)
        self.on_change(user_id)
        self._dispatcher.wake()
        return started

    async def _start(self, user_id: int, chat: Chat, new: NewRun, caller: Caller | None) -> Started:
        run_id = new.run_id or self._ids.new()
        user_message, assistant = await self._turn(user_id, chat, new, run_id)
        now = self._clock.now()
        run = Run(
            id=run_id,
            user_id=user_id,
            chat_id=chat.id,
            message_id=assistant.id,
            ask=_ask(new, caller),
            created_at=now,
            prefix=assistant if new.mode == "continue" else None,
            since=now,
        )
        self._dispatcher.check(run)
        assistant = assistant.model_copy(
            update={
                "status": "streaming",
                "error": None,
                "run_id": run_id,
                "model": new.model,
                "provider": new.provider,
            }
        )
        changes: list[Change] = [assistant, run, self._headed(chat, assistant, user_message, new.model)]
        if user_message is not None and new.mode == "reply":
            changes.insert(0, user_message)
        await self._orchestrator.store(user_id, chat.id, changes)
        self._orchestrator.adopt(run)
        return Started(run=view(run), user_message=user_message, assistant_message=assistant)

    async def _turn(self, user_id: int, chat: Chat, new: NewRun, run_id: str) -> tuple[Message | None, Message]:
        """The user's message and the assistant's that a run is about, made or found."""
        if new.mode == "reply":
            if new.message is None:
                raise KeysideError("bad_request", "A reply needs a `message`.")
            parent_id = await self._parent(user_id, chat, new)
            user_message = await self._user_message(user_id, chat, new.message, parent_id)
            return user_message, self._message(chat.id, "assistant", "", user_message.id)
        if new.message is not None:
            raise KeysideError("bad_request", f"`{new.mode}` takes no `message`.")
        at = await self._of_chat(user_id, chat.id, new.parent_id or chat.head_id or "")
        if at.status == "streaming":
            raise KeysideError("message_running")
        if new.mode == "regenerate":
            return await self._answered(user_id, chat, at)
        if at.role != "assistant":
            raise KeysideError("bad_request", "Only an answer can be continued: `parent_id` must be one.")
        await self._close_interrupted(user_id, at)
        return None, at

    async def _answered(self, user_id: int, chat: Chat, at: Message) -> tuple[Message, Message]:
        """The user's message that gets another answer: itself, or the one that `at` answers."""
        if at.role == "assistant" and at.parent_id is not None:
            at = await self._of_chat(user_id, chat.id, at.parent_id)
        if at.role != "user":
            raise KeysideError("bad_request", "Only an answer to a message of the user can be made again.")
        for message in await self._log.messages(user_id, chat.id):
            if message.parent_id == at.id:
                await self._close_interrupted(user_id, message)
        return at, self._message(chat.id, "assistant", "", at.id)

    async def _close_interrupted(self, user_id: int, message: Message) -> None:
        """An interrupted run is final as soon as the user goes on without it (R4)."""
        live = self._orchestrator.get((user_id, message.run_id or ""))
        if live is not None:
            await self._orchestrator.feed(live.key, _close)

    async def _again(self, known: Run, chat_id: int, fingerprint: str) -> Started:
        if known.chat_id != chat_id or known.ask.fingerprint != fingerprint:
            raise KeysideError("conflict", f"There is another run with the id {known.id!r}.")
        live = self._orchestrator.get((known.user_id, known.id))
        assistant = await self._log.message(known.user_id, known.message_id)
        if assistant is None:
            raise KeysideError("conflict", f"The run {known.id!r} was deleted.")
        parent = await self._log.message(known.user_id, assistant.parent_id) if assistant.parent_id else None
        return Started(run=view(live.run if live else known), user_message=parent, assistant_message=assistant)

    # --- messages of a run -----------------------------------------------------------------------

    async def _user_message(self, user_id: int, chat: Chat, turn: UserTurn, parent_id: str | None) -> Message:
        message = self._message(chat.id, "user", turn.content, parent_id, turn.id)
        await self._refuse_taken(user_id, message.id)
        return message

    async def _refuse_taken(self, user_id: int, message_id: str) -> None:
        if await self._log.message(user_id, message_id) is not None:
            raise KeysideError("conflict", f"There is a message with the id {message_id!r} already.")

    async def _of_chat(self, user_id: int, chat_id: int, message_id: str) -> Message:
        message = await self._log.message(user_id, message_id)
        if message is None or message.chat_id != chat_id:
            raise KeysideError("not_found", f"This chat has no message {message_id!r}.")
        return message

    async def _parent(self, user_id: int, chat: Chat, new: NewMessage | NewRun) -> str | None:
        """Where a new message goes; nothing is added below one that is still being written.

        Left out, `parent_id` is the head; `null` begins another branch at the root.
        """
        wanted = new.parent_id if "parent_id" in new.model_fields_set else chat.head_id
        if wanted is None:
            return None
        parent = await self._of_chat(user_id, chat.id, wanted)
        if parent.status == "streaming":
            raise KeysideError("message_running")
        return parent.id

    def _message(self, chat_id: int, role: str, content: str, parent_id: str | None, id: str | None = None) -> Message:
        at = iso(self._clock.now())
        return Message.model_validate(
            {
                "id": id or self._ids.new(),
                "chat_id": chat_id,
                "parent_id": parent_id,
                "role": role,
                "content": content,
                "status": "sent",
                "created_at": at,
                "updated_at": at,
            }
        )

    def _headed(self, chat: Chat, head: Message, first: Message | None, model: str | None = None) -> Chat:
        """The chat with its head at a new message, and titled by its first one."""
        named = first or (head if head.role == "user" else None)
        title = chat.title or (" ".join(named.content.split())[:_TITLE] if named else "")
        update = {
            "head_id": head.id,
            "title": title,
            "model": model or chat.model,
            "running": model is not None or chat.running,
            "updated_at": iso(self._clock.now()),
        }
        return chat.model_copy(update=update)


def _ask(new: NewRun, caller: Caller | None) -> Ask:
    return Ask(
        model=new.model,
        provider=new.provider,
        params=new.params,
        session_id=new.session_id,
        executor_id=new.executor_id,
        prefer_executor_id=new.prefer_executor_id,
        waits=caller is None or caller.wait_seconds > 0,
        wait_seconds=caller.wait_seconds if caller else None,
        caller=caller is not None,
        fingerprint=fingerprint_of(new),
    )


def _close(run: Run) -> Stop | None:
    return Stop() if run.state is State.INTERRUPTED and _goes_on(run) else None


def _goes_on(run: Run) -> bool:
    """Whether the run has not ended for good."""
    return run.state not in ENDED or (run.state is State.INTERRUPTED and run.closed_by is None)
