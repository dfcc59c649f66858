"""Sockets that have chats open: what they get when they open one, and what they are told besides."""

from typing import Any

from keyside.core.changes import view
from keyside.core.message import written
from keyside.core.run import BOUND
from keyside.protocol import wire
from keyside.protocol.errors import KeysideError
from keyside.services.ports import ChatLog, Clock, Hub, Unavailable, View, chat_room
from keyside.services.runs import Runs

SNAPSHOT_MESSAGES = 200
MOST_EVENTS = 10_000
"""A chat's floor is never further below its head: a viewer that missed more gets a snapshot."""
HEADS_SECONDS = 10
_TRIES = 100
"""How often a chat is read again because it changed in the middle of it."""


class Viewers:
    """Opens chats for sockets. `tell_heads` is its endless task."""

    def __init__(self, chat_log: ChatLog, runs: Runs, hub: Hub, clock: Clock) -> None:
        self._log = chat_log
        self._runs = runs
        self._hub = hub
        self._clock = clock
        self._opened: dict[str, set[int]] = {}

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
        await self._hub.join(session_id, chat_room(chat_id))
        opened = self._opened.get(session_id)
        if opened is not None:  # it may have gone while this waited
            opened.add(chat_id)
        if after is not None:
            head = (await self._log.heads([chat_id])).get(chat_id, 0)
            entries = await self._log.read(chat_id, after=after) if after >= head - MOST_EVENTS else None
            if entries is not None:
                events = [entry.payload for entry in entries]
                return {"ok": True, "snapshot": None, "events": events, "seq": after + len(entries)}
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
            for session_id, chats in list(self._opened.items()):
                data = {str(id): heads[id] for id in chats if id in heads}
                if data:
                    self._hub.tell(session_id, wire.ChatsHeads(data=data).model_dump())

    # --- snapshots -------------------------------------------------------------------------------

    async def _snapshot(self, chat_id: int) -> dict[str, Any]:
        """The chat as it is stored, with the text that its running messages have by now.

        What is stored and the drafts of running messages are of one moment if nothing but lines was added in between.
        """
        for _ in range(_TRIES):
            stored = await self._log.view(chat_id, limit=SNAPSHOT_MESSAGES)
            if stored is None:
                raise _not_found(chat_id)
            snapshot, seq = self._with_drafts(stored)
            written = any(run.state in BOUND for run in stored.runs)
            # A run that was being written may have ended since: its lines are in no draft then.
            if not written or await self._log.changed_at(chat_id) == stored.seq:
                return {"ok": True, "snapshot": snapshot.model_dump(), "events": None, "seq": seq}
        raise KeysideError("store_unavailable", "The chat changes faster than it can be read.")

    def _with_drafts(self, stored: View) -> tuple[wire.Snapshot, int]:
        bound = [run for run in stored.runs if run.state in BOUND]
        homes = {home.run.message_id: home for home in self._runs.in_chat(bound)}
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
            runs=[view(run) for run in stored.runs],
            siblings=stored.siblings,
            earlier=stored.earlier,
        )
        return snapshot, seq


def _not_found(chat_id: int) -> KeysideError:
    return KeysideError("not_found", f"You have no chat {chat_id}.")
