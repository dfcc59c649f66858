"""Sockets that have chats open: what they get when they open one, and what they are told besides."""

import asyncio
from typing import Any

from keyside.core.fitting import fitted, json_size
from keyside.core.message import written
from keyside.core.run import BOUND
from keyside.protocol import wire
from keyside.protocol.commands import MessageAt
from keyside.protocol.errors import KeysideError
from keyside.services.ports import ChatLog, Clock, Hub, Unavailable, View, chat_room
from keyside.services.runs import Runs

SNAPSHOT_MESSAGES = 200
MOST_EVENTS = 10_000
"""A chat's floor is never further below its head: a viewer that missed more gets a snapshot."""
MOST_OPEN = 1000
"""Chats that a socket can have open at the same time."""
HEADS_SECONDS = 10
_TRIES = 100
"""How often a chat is read again because it changed in the middle of it."""
_AT_ONCE = 8
"""Chats that are read at the same time to be opened: each takes the memory of an answer, whoever asks."""
_ENVELOPE = 200
"""Bytes of an acknowledgement besides its snapshot or its events."""


class Viewers:
    """Opens chats for sockets. `tell_heads` is its endless task."""

    def __init__(self, chat_log: ChatLog, runs: Runs, hub: Hub, clock: Clock) -> None:
        self._log = chat_log
        self._runs = runs
        self._hub = hub
        self._clock = clock
        self._opened: dict[str, set[int]] = {}
        self._reading = asyncio.Semaphore(_AT_ONCE)

    def connect(self, session_id: str) -> None:
        """A socket is here; only such a one can open chats."""
        self._opened.setdefault(session_id, set())

    def gone(self, session_id: str) -> None:
        """The socket went away."""
        self._opened.pop(session_id, None)

    async def open(self, session_id: str, user_id: int, chat_id: int, after: int | None) -> dict[str, Any]:
        """The answer to `chat:open` (V1), as `OpenAck` on the wire. The socket joins before anything is read."""
        if await self._log.chat(user_id, chat_id) is None:
            raise _not_found(chat_id)
        opened = self._opened.get(session_id)
        if opened is not None:  # it may have gone while this waited
            if len(opened) >= MOST_OPEN and chat_id not in opened:
                raise KeysideError("too_many_open", f"This socket has {MOST_OPEN} chats open. Close some of them.")
            opened.add(chat_id)
        await self._hub.join(session_id, chat_room(chat_id))
        async with self._reading:
            return await self._opening(chat_id, after)

    async def _opening(self, chat_id: int, after: int | None) -> dict[str, Any]:
        events = None if after is None else await self._events(chat_id, after)
        if after is not None and events is not None:
            return {"ok": True, "snapshot": None, "events": events, "seq": after + len(events)}
        return await self._snapshot(chat_id)

    async def close(self, session_id: str, chat_id: int) -> None:
        """`chat:close`."""
        self._opened.get(session_id, set()).discard(chat_id)
        await self._hub.leave(session_id, chat_room(chat_id))

    async def tell_heads(self) -> None:
        """Every ten seconds sockets learn where their chats stand (V6)."""
        while True:
            await self._clock.sleep(HEADS_SECONDS)
            wanted = {chat_id for chats in self._opened.values() for chat_id in chats}
            try:
                heads = await self._log.heads(sorted(wanted))
            except Unavailable:
                continue
            gone = wanted - heads.keys()
            for session_id, chats in list(self._opened.items()):
                chats -= gone  # they were deleted
                data = {str(id): heads[id] for id in chats if id in heads}
                if data:
                    self._hub.tell(session_id, wire.ChatsHeads(data=data).model_dump())

    async def message(self, user_id: int, chat_id: int, message_id: str) -> MessageAt:
        """A whole message, with what the run has written that is writing it. Raises `not_found`."""
        for _ in range(_TRIES):
            seq = await self._log.changed_at(chat_id)
            message = await self._log.message(user_id, message_id)
            if message is None or message.chat_id != chat_id:
                raise KeysideError("not_found", f"This chat has no message {message_id!r}.")
            home = self._runs.at_home((user_id, message.run_id)) if message.run_id is not None else None
            if home is not None and home.run.state in BOUND:
                message, seq_of_lines = written(message, home.run, home.transcript.draft), home.seq
            else:
                seq_of_lines = 0
            if await self._log.changed_at(chat_id) == seq:
                return MessageAt(message=message, seq=max(seq, seq_of_lines))
        raise _too_fast()

    # --- what `chat:open` is answered ------------------------------------------------------------

    async def _events(self, chat_id: int, after: int) -> list[dict[str, Any]] | None:
        """The events after `after`; `None` where they are not all there, or too many for one answer (V3)."""
        head = (await self._log.heads([chat_id])).get(chat_id, 0)
        if after < head - MOST_EVENTS:
            return None
        entries = await self._log.read(chat_id, after=after, strict=True)
        if entries is None or after + len(entries) < head:
            return None
        events = [entry.payload for entry in entries]
        size = sum(json_size(event) + 1 for event in events)
        return events if size <= wire.MOST_ANSWER - _ENVELOPE else None

    async def _snapshot(self, chat_id: int) -> dict[str, Any]:
        """The chat as it is stored, with the text that its running messages have by now.

        What is stored and the drafts of running messages are of one moment if nothing but lines was added in between.
        """
        for _ in range(_TRIES):
            stored = await self._log.view(chat_id, limit=SNAPSHOT_MESSAGES)
            if stored is None:
                raise _not_found(chat_id)
            snapshot, seq = self._with_drafts(stored)
            # A run that was being written may have ended since: its lines are in no draft then.
            if not stored.writing or await self._log.changed_at(chat_id) == stored.seq:
                return {"ok": True, "snapshot": snapshot.model_dump(), "events": None, "seq": seq}
        raise _too_fast()

    def _with_drafts(self, stored: View) -> tuple[wire.Snapshot, int]:
        homes = {home.run.message_id: home for home in self._runs.those_at_home(stored.writing)}
        seq = max([stored.seq, *(home.seq for home in homes.values())])
        messages = [
            written(message, homes[message.id].run, homes[message.id].transcript.draft)
            if message.id in homes
            else message
            for message in stored.messages
        ]
        snapshot = wire.Snapshot(
            chat=stored.chat,
            messages=messages,
            runs=list(stored.runs),
            siblings=stored.siblings,
            earlier=stored.earlier,
        )
        return fitted(snapshot, wire.MOST_ANSWER - _ENVELOPE), seq


def _too_fast() -> KeysideError:
    return KeysideError("store_unavailable", "The chat changes faster than it can be read.")


def _not_found(chat_id: int) -> KeysideError:
    return KeysideError("not_found", f"You have no chat {chat_id}.")
