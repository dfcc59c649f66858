"""What a user does with chats: make, rename and delete them."""

import logging

from keyside.core.inputs import Stop
from keyside.core.tree import newest_leaf
from keyside.protocol.base import iso
from keyside.protocol.commands import ChatPatch
from keyside.protocol.entities import Chat
from keyside.protocol.errors import KeysideError, failure
from keyside.services.chat_locks import ChatLocks
from keyside.services.notices import ChatDeleted, ChatsChanged, Notices
from keyside.services.ports import ChatLog, Clock, Page, Unavailable
from keyside.services.runs import Runs
from keyside.services.transaction import Part

log = logging.getLogger(__name__)

_EXPIRE_SECONDS = 3600


class Chats:
    """A user's chats. Ids of others are not found."""

    def __init__(self, chat_log: ChatLog, locks: ChatLocks, runs: Runs, clock: Clock, notices: Notices) -> None:
        self._log = chat_log
        self._locks = locks
        self._runs = runs
        self._clock = clock
        self._notices = notices

    async def get(self, user_id: int, chat_id: int) -> Chat:
        """A chat of the user; raises `not_found`."""
        return await self._locks.get(user_id, chat_id)

    async def page(self, user_id: int, *, limit: int, cursor: str | None) -> Page:
        """The user's chats, newest change first; raises `bad_request` for a cursor that no page gave out."""
        try:
            return await self._log.chats(user_id, limit=limit, cursor=cursor)
        except ValueError as error:
            raise KeysideError("bad_request", "This cursor is not one that a list gave out.") from error

    async def create(self, user_id: int, title: str, *, hidden: bool = False) -> Chat:
        """An empty chat; a hidden one is in no list."""
        chat = await self._log.new_chat(user_id, title.strip(), self._clock.now(), hidden=hidden)
        if not hidden:
            self._notices.put(ChatsChanged(user_id))
        return chat

    async def change(self, user_id: int, chat_id: int, patch: ChatPatch) -> Chat:
        """Renames a chat, or shows another of its branches."""
        async with self._locks.alone(user_id, chat_id) as chat:
            changed: dict[str, str] = {}
            if patch.title is not None:
                changed["title"] = patch.title.strip()
            if patch.head_id is not None:
                links = await self._log.links(user_id, chat_id)
                if patch.head_id not in dict(links):
                    raise KeysideError("not_found", f"This chat has no message {patch.head_id!r}.")
                changed["head_id"] = newest_leaf(links, patch.head_id)
            if changed:
                chat = chat.model_copy(update={**changed, "updated_at": iso(self._clock.now())})
                await self._runs.apply_all(Part(user_id, chat_id, changes=(chat,)))
                await self._tell_changed(user_id, chat_id)
        return chat

    async def delete(self, user_id: int, chat_id: int) -> None:
        """Deletes a chat with all that belongs to it, in one transaction; what runs in it is stopped (R9)."""
        async with self._locks.alone(user_id, chat_id):
            hidden = await self._log.is_hidden(chat_id)
            stop = (Stop(failure("deleted")),)
            inputs = {run.key: stop for run in await self._log.runs_in(chat_id)}
            await self._runs.apply_all(Part(user_id, chat_id, inputs, deletes_chat=True))
        self._notices.put(ChatDeleted(chat_id))
        if not hidden:
            self._notices.put(ChatsChanged(user_id))

    async def expire(self, retention: float) -> None:
        """Once an hour, deletes hidden chats that are older than `retention` seconds. It is an endless task."""
        while True:
            try:
                for user_id, chat_id in await self._log.hidden_before(self._clock.now() - retention):
                    await self.delete(user_id, chat_id)
            except (KeysideError, Unavailable) as error:
                log.warning("old calls could not be deleted: %s", error)
            await self._clock.sleep(_EXPIRE_SECONDS)

    async def _tell_changed(self, user_id: int, chat_id: int) -> None:
        if not await self._log.is_hidden(chat_id):
            self._notices.put(ChatsChanged(user_id))
