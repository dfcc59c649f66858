"""What a user does with the messages of a chat: read, add, correct and remove them."""

import asyncio
from contextlib import suppress

from keyside.core.changes import Change, Removed
from keyside.core.inputs import Close, Stop
from keyside.core.step import Refused
from keyside.core.tree import below, newest_leaf
from keyside.protocol.base import iso
from keyside.protocol.commands import NewMessage, NewRun
from keyside.protocol.entities import Chat, Message, Role
from keyside.protocol.errors import KeysideError, failure
from keyside.services.chat_locks import ChatLocks
from keyside.services.notices import ChatsChanged, Notices
from keyside.services.ports import ChatLog, Clock, Ids, Piece
from keyside.services.runs import Runs
from keyside.services.transaction import Part

_TITLE = 60
"""Characters of the first message that become the title of a chat without one."""
_AT_ONCE = 4
"""Pages that are read at the same time: each takes memory, and time of the event loop, whoever asks."""


class Messages:
    """A chat's tree of messages."""

    def __init__(
        self, chat_log: ChatLog, locks: ChatLocks, runs: Runs, clock: Clock, ids: Ids, notices: Notices
    ) -> None:
        self._log = chat_log
        self._locks = locks
        self._runs = runs
        self._clock = clock
        self._ids = ids
        self._notices = notices
        self._reading = asyncio.Semaphore(_AT_ONCE)

    async def page(self, user_id: int, chat_id: int, *, branch: str | None = None, cursor: str | None = None) -> Piece:
        """The messages of a chat, oldest first; with `branch`, the line that ends in that message.

        A page has about `MOST_PAGE` characters. Raises `bad_request` for a cursor that no page gave out.
        """
        async with self._reading:
            await self._locks.get(user_id, chat_id)
            try:
                if branch is None:
                    return await self._log.messages(user_id, chat_id, cursor=cursor)
                await self.find(user_id, chat_id, branch)
                return await self._log.branch(user_id, chat_id, branch, cursor=cursor)
            except ValueError as error:
                raise KeysideError("bad_request", "This cursor is not one that a list gave out.") from error

    async def add(self, user_id: int, chat_id: int, new: NewMessage) -> Message:
        """Stores one message below `parent_id` (the head, if left out) and runs nothing."""
        async with self._locks.alone(user_id, chat_id) as chat:
            parent_id = await self.parent(user_id, chat, new)
            message = self.make(chat_id, new.role, new.content, parent_id, new.id)
            message = message.model_copy(update={"status": new.status})
            await self.refuse_taken(user_id, message.id)
            changes = (message, self.headed(chat, message, None))
            await self._runs.apply_all(Part(user_id, chat_id, changes=changes))
        await self._tell_changed(user_id, chat_id)
        return message

    async def edit(self, user_id: int, chat_id: int, message_id: str, content: str) -> Message:
        """Corrects a message in place."""
        async with self._locks.alone(user_id, chat_id):
            message = await self.find(user_id, chat_id, message_id)
            if message.status == "streaming":
                raise KeysideError("message_running")
            await self.close_interrupted(user_id, message)
            update = {"content": content, "updated_at": iso(self._clock.now())}
            message = message.model_copy(update=update)
            await self._runs.apply_all(Part(user_id, chat_id, changes=(message,)))
        return message

    async def remove(self, user_id: int, chat_id: int, message_id: str) -> None:
        """Removes a message and what follows it; what runs there is stopped in the same transaction (R9)."""
        async with self._locks.alone(user_id, chat_id) as chat:
            await self.find(user_id, chat_id, message_id)
            links = await self._log.links(user_id, chat_id)
            gone = below(links, message_id)
            stop = (Stop(failure("deleted")),)
            inputs = {run.key: stop for run in await self._log.runs_in(chat_id, gone)}
            changes: tuple[Change, ...] = (Removed(tuple(gone)), _new_head(chat, links, gone, message_id))
            await self._runs.apply_all(Part(user_id, chat_id, inputs, changes))
        await self._tell_changed(user_id, chat_id)

    # --- for whoever holds the chat's lock -------------------------------------------------------

    async def find(self, user_id: int, chat_id: int, message_id: str) -> Message:
        """A message of the chat; raises `not_found`."""
        message = await self._log.message(user_id, message_id)
        if message is None or message.chat_id != chat_id:
            raise KeysideError("not_found", f"This chat has no message {message_id!r}.")
        return message

    async def parent(self, user_id: int, chat: Chat, new: NewMessage | NewRun) -> str | None:
        """Where a new message goes; nothing is added below one that is still being written.

        Left out, `parent_id` is the head; `null` begins another branch at the root.
        """
        wanted = new.parent_id if "parent_id" in new.model_fields_set else chat.head_id
        if wanted is None:
            return None
        parent = await self.find(user_id, chat.id, wanted)
        if parent.status == "streaming":
            raise KeysideError("message_running")
        return parent.id

    async def refuse_taken(self, user_id: int, message_id: str) -> None:
        """Raises `conflict` where the user has a message of this id."""
        if await self._log.message(user_id, message_id) is not None:
            raise KeysideError("conflict", f"There is a message with the id {message_id!r} already.")

    async def close_interrupted(self, user_id: int, message: Message) -> None:
        """An interrupted run is final as soon as the user goes on without it (R4)."""
        if message.status == "interrupted" and message.run_id is not None:
            with suppress(Refused):  # the message has no run any more
                await self._runs.apply((user_id, message.run_id), Close())

    def make(self, chat_id: int, role: Role, content: str, parent_id: str | None, id: str | None = None) -> Message:
        """A new message, not stored yet."""
        at = iso(self._clock.now())
        return Message(
            id=id or self._ids.new(),
            chat_id=chat_id,
            parent_id=parent_id,
            role=role,
            content=content,
            status="sent",
            created_at=at,
            updated_at=at,
        )

    def headed(self, chat: Chat, head: Message, first: Message | None, model: str | None = None) -> Chat:
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

    async def _tell_changed(self, user_id: int, chat_id: int) -> None:
        if not await self._log.is_hidden(chat_id):
            self._notices.put(ChatsChanged(user_id))


def _new_head(chat: Chat, links: tuple[tuple[str, str | None], ...], gone: list[str], top: str) -> Chat:
    """The chat with another head, where its own is removed: the newest message below the parent of what is removed."""
    if chat.head_id not in gone:
        return chat
    removed = set(gone)
    left = [link for link in links if link[0] not in removed]
    parent = dict(links)[top]
    head_id = newest_leaf(left, parent) if parent else (newest_leaf(left, left[0][0]) if left else None)
    return chat.model_copy(update={"head_id": head_id})
