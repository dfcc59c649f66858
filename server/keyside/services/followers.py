"""Readers in this process that follow a chat or a run (the HTTP faces)."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

from keyside.core.changes import Entry, LinesAdded, name_of
from keyside.core.run import ENDED, Run, State
from keyside.protocol.entities import Message
from keyside.protocol.errors import KeysideError, failure
from keyside.services.ports import ChatLog, Hub

_MOST_AHEAD = 256 * 1024
"""About how many characters are read from the log before the reader has taken them: there may be many readers."""


class Followers:
    """Follows the log through the hub, and fills gaps from the log."""

    def __init__(self, chat_log: ChatLog, hub: Hub) -> None:
        self._log = chat_log
        self._hub = hub

    async def follow(self, chat_id: int, after: int) -> AsyncGenerator[Entry, None]:
        """The chat's events after `after`, in order, for as long as it is read.

        A run or a message that changed several times before this began comes once, as it is now; lines come all.
        """
        with self._hub.follow(chat_id) as coming:
            async for entry in self._missed(chat_id, after):
                after = entry.seq
                yield entry
            async for entry in self._coming(coming, chat_id, after):
                yield entry

    async def follow_run(self, run: Run, after: int) -> AsyncGenerator[Entry, None]:
        """The events after `after` that are about this run, until it has ended."""
        with self._hub.follow(run.chat_id) as coming:
            # It is looked up only now: what happens after this is among the coming events.
            now = await self._log.run(run.user_id, run.id)
            if now is None:
                yield _deleted(run, after)
                return
            ended = now.state in ENDED
            head = (await self._log.heads([run.chat_id])).get(run.chat_id, 0)
            if ended and (after == head or (after > head and run.state in ENDED)):
                return
            async for entry in self._missed(run.chat_id, after):
                after = entry.seq
                if _is_about(run, entry):
                    yield entry
                if _ends(run, entry):
                    return
            if ended:
                return
            async for entry in self._coming(coming, run.chat_id, after):
                if _is_about(run, entry):
                    yield entry
                if _ends(run, entry):
                    return

    async def _coming(self, coming: AsyncIterator[Entry], chat_id: int, after: int) -> AsyncIterator[Entry]:
        """What comes; where a number is missing in between, the log is read again."""
        async for entry in coming:
            if entry.seq > after + 1:
                async for earlier in self._missed(chat_id, after):
                    after = earlier.seq
                    yield earlier
            elif entry.seq == after + 1:
                after = entry.seq
                yield entry

    async def _missed(self, chat_id: int, after: int) -> AsyncIterator[Entry]:
        """What the log has after `after`, read piece by piece as the reader comes along."""
        while entries := await self._piece(chat_id, after):
            after = entries[-1].seq
            for entry in await self._newest(chat_id, entries):
                yield entry

    async def _piece(self, chat_id: int, after: int) -> tuple[Entry, ...]:
        entries = await self._log.read(chat_id, after=after, most=_MOST_AHEAD)
        if entries is None:  # below the floor, or above the head of a restored backup: all that is kept (V3)
            entries = await self._log.read(chat_id, after=await self._log.floor(chat_id), most=_MOST_AHEAD)
        if entries is None:
            raise KeysideError("not_found", "This chat was deleted.")
        return entries

    async def _newest(self, chat_id: int, entries: tuple[Entry, ...]) -> list[Entry]:
        """The log tells a run or a message as it is now: so each is told once, at its last change."""
        last = {name: entry.seq for entry in entries if (name := name_of(entry.change)) is not None}
        later = await self._log.changed_after(chat_id, entries[-1].seq, last.keys())
        return [
            entry
            for entry in entries
            if (name := name_of(entry.change)) is None or (last[name] == entry.seq and name not in later)
        ]


def _deleted(run: Run, after: int) -> Entry:
    """The end of a run that was deleted with its message or chat, for a reader that came too late to be told of it."""
    ended = replace(run, state=State.ABORTED, failure=failure("deleted"), ended_at=run.since, closed_by="server")
    return Entry(run.chat_id, after + 1, run.since, ended)


def _is_about(run: Run, entry: Entry) -> bool:
    match entry.change:
        case LinesAdded():
            return entry.change.run.key == run.key
        case Run():
            return entry.change.key == run.key
        case Message():
            return entry.change.id == run.message_id
        case _:
            return False


def _ends(run: Run, entry: Entry) -> bool:
    return isinstance(entry.change, Run) and entry.change.key == run.key and entry.change.state in ENDED
