"""Lets one at a time change the messages of a chat."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from keyside.protocol.entities import Chat
from keyside.protocol.errors import KeysideError
from keyside.services.ports import ChatLog


class ChatLocks:
    """A lock for each chat that somebody changes now. Chats of others are not found."""

    def __init__(self, chat_log: ChatLog) -> None:
        self._log = chat_log
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def get(self, user_id: int, chat_id: int) -> Chat:
        """A chat of the user; raises `not_found`."""
        chat = await self._log.chat(user_id, chat_id)
        if chat is None:
            raise KeysideError("not_found", f"You have no chat {chat_id}.")
        return chat

    @asynccontextmanager
    async def alone(self, user_id: int, chat_id: int) -> AsyncIterator[Chat]:
        """The chat, while nobody else changes its messages."""
        lock = self._locks.setdefault(chat_id, asyncio.Lock())
        async with lock:
            yield await self.get(user_id, chat_id)
