"""What a viewer missed: the events after a number, or a snapshot; and following a chat inside this process."""

from collections.abc import AsyncGenerator
from typing import Any

from keyside.core.changes import Entry, Written, view
from keyside.core.run import ENDED, Run
from keyside.protocol import wire
from keyside.protocol.entities import Message
from keyside.protocol.errors import KeysideError
from keyside.services.ports import ChatLog, Clock, Hub, Unavailable, chat_room

SNAPSHOT_MESSAGES = 200
MOST_EVENTS = 10_000
"""A chat's floor is never further below its head: a viewer that missed more gets a snapshot."""
HEADS_SECONDS = 10


class Catchup:
    """Reads for viewers."""

    def __init__(self, chat_log: ChatLog, hub: Hub, clock: Clock) -> None:
        self._log = chat_log
        self._hub = hub
        self._clock = clock
        self._opened: dict[str, set[int]] = {}

    async def open(self, session_id: str, user_id: int, chat_id: int, after: int | None) -> dict[str, Any]:
        """The answer to `chat:open` (V1), as `OpenAck` on the wire. The socket joins before anything is read."""
        await self._owned(user_id, chat_id)
        await self._hub.join(session_id, chat_room(chat_id))
        self._opened.setdefault(session_id, set()).add(chat_id)
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

    def gone(self, session_id: str) -> None:
        """The socket went away."""
        self._opened.pop(session_id, None)

    def ended(self, chat_id: int, seq: int) -> None:
        """A run ended: viewers learn where the chat stands, in case they missed the last event (V6)."""
        message = wire.ChatsHeads(data={str(chat_id): seq})
        self._hub.tell(chat_room(chat_id), message.model_dump())

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

    async def _owned(self, user_id: int, chat_id: int) -> None:
        if await self._log.chat(user_id, chat_id) is None:
            raise KeysideError("not_found", f"You have no chat {chat_id}.")

    async def _snapshot(self, chat_id: int) -> dict[str, Any]:
        found = await self._log.view(chat_id, limit=SNAPSHOT_MESSAGES)
        if found is None:
            raise KeysideError("not_found", f"You have no chat {chat_id}.")
        snapshot = wire.Snapshot(
            chat=found.chat,
            messages=list(found.messages),
            runs=[view(run) for run in found.runs],
            siblings=found.siblings,
            earlier=found.earlier,
        )
        return {"ok": True, "snapshot": snapshot.model_dump(), "events": None, "seq": found.seq}

    async def follow(self, chat_id: int, after: int) -> AsyncGenerator[Entry, None]:
        """The events after `after`, in order, for as long as it is read.

        Of what was missed, a run or a message is told once, as it is now; lines are told one and all.
        """
        with self._hub.follow(chat_id) as coming:
            for entry in await self._missed(chat_id, after):
                after = entry.seq
                yield entry
            async for entry in coming:
                if entry.seq > after + 1:
                    for missed in await self._missed(chat_id, after):
                        after = missed.seq
                        yield missed
                elif entry.seq == after + 1:
                    after = entry.seq
                    yield entry

    async def follow_run(self, run: Run, after: int) -> AsyncGenerator[Entry, None]:
        """The events after `after` that are about this run, until it has ended."""
        head = (await self._log.heads([run.chat_id])).get(run.chat_id, 0)
        ended = run.state in ENDED
        if ended and after >= head:
            return
        async for entry in self.follow(run.chat_id, after):
            if _is_about(run, entry):
                yield entry
            # What lies before the head is told as it is now, so only what comes after can be the end itself.
            ends = isinstance(entry.change, Run) and entry.change.id == run.id and entry.change.state in ENDED
            if (ended and entry.seq >= head) or (ends and entry.seq > head):
                return

    async def _missed(self, chat_id: int, after: int) -> tuple[Entry, ...]:
        entries = await self._log.read(chat_id, after=after)
        if entries is None:  # below the floor, or above the head of a restored backup: all that is kept (V3)
            entries = await self._log.read(chat_id, after=await self._log.floor(chat_id))
        if entries is None:
            raise KeysideError("not_found", "This chat was deleted.")
        return _newest(entries)


def _newest(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The log tells a run or a message as it is now: so each is told once, at its last change."""
    last = {_named(entry): entry.seq for entry in entries}
    return tuple(entry for entry in entries if isinstance(entry.change, Written) or last[_named(entry)] == entry.seq)


def _named(entry: Entry) -> tuple[str, str]:
    change = entry.change
    return type(change).__name__, change.id if isinstance(change, Run | Message) else str(entry.seq)


def _is_about(run: Run, entry: Entry) -> bool:
    match entry.change:
        case Written():
            return entry.change.run.id == run.id
        case Run():
            return entry.change.id == run.id
        case Message():
            return entry.change.id == run.message_id
        case _:
            return False
