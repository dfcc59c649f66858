"""The chat log in memory: the same contract as in SQL, for tests and for a server that keeps nothing."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from keyside.core.changes import Change, Changes, Entry, LinesAdded, Removed
from keyside.core.deadline import shifted
from keyside.core.frames import end_mark_of
from keyside.core.reading import read
from keyside.core.run import AT_HOME, BOUND, ENDED, Run, RunKey, State
from keyside.core.tree import Link, branch, siblings
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Message
from keyside.services.ports import Conflict, Page, Stored, View


@dataclass
class _Chat:
    user_id: int
    chat: Chat
    hidden: bool
    updated_at: float
    floor: int = 0
    changed_at: int = 0
    messages: dict[str, Message] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


class MemoryChatLog:
    """`ChatLog` on dictionaries. A commit is done when it returns; nothing is ever unavailable."""

    def __init__(self) -> None:
        self._chats: dict[int, _Chat] = {}
        self._runs: dict[RunKey, Run] = {}
        self._lines: dict[RunKey, list[str]] = {}
        self._last_chat_id = 0

    async def new_chat(self, user_id: int, title: str, at: float, *, hidden: bool = False) -> Chat:
        """See `ChatLog`."""
        self._last_chat_id += 1
        chat = Chat(
            id=self._last_chat_id, title=title, head_id=None, model=None, created_at=iso(at), updated_at=iso(at)
        )
        self._chats[chat.id] = _Chat(user_id, chat, hidden, at)
        return chat

    def submit(self, changes: Sequence[Changes], stored: Stored) -> None:
        """See `ChatLog`."""
        try:
            for one in changes:
                self._check(one)
        except Conflict as error:
            stored(error)
            return
        stored(tuple(entry for one in changes for entry in self._take(one)))

    async def commit(self, *changes: Changes) -> tuple[Entry, ...]:
        """See `ChatLog`."""
        done: asyncio.Future[tuple[Entry, ...]] = asyncio.get_running_loop().create_future()

        def stored(result: tuple[Entry, ...] | Exception) -> None:
            done.set_exception(result) if isinstance(result, Exception) else done.set_result(result)

        self.submit(changes, stored)
        return await done

    def _take(self, changes: Changes) -> tuple[Entry, ...]:
        kept = self._chats[changes.chat_id]
        head = len(kept.entries)
        entries = tuple(
            Entry(changes.chat_id, head + offset, changes.at, change)
            for offset, change in enumerate(changes.changes, 1)
        )
        for entry in entries:
            self._apply(kept, entry.change)
        kept.entries.extend(entries)
        if any(not isinstance(change, LinesAdded) for change in changes.changes):
            kept.changed_at = len(kept.entries) - next(
                i for i, c in enumerate(reversed(changes.changes)) if not isinstance(c, LinesAdded)
            )
            kept.updated_at = changes.at
            kept.chat = kept.chat.model_copy(update={"updated_at": iso(changes.at)})
        if changes.deletes_chat:
            del self._chats[changes.chat_id]
            self._drop([run for run in self._runs.values() if run.chat_id == changes.chat_id])
        return entries

    def _check(self, changes: Changes) -> None:
        """Refuses before anything is changed."""
        kept = self._chats.get(changes.chat_id)
        if kept is None:
            raise Conflict(f"chat {changes.chat_id} is gone")
        expected: dict[RunKey, int] = {}
        versions: dict[RunKey, int] = {}
        for change in changes.changes:
            if isinstance(change, LinesAdded):
                key = change.run.key
                known = self._runs.get(key)
                if known is None or known.version != change.run.version:
                    raise Conflict(f"run {change.run.id} has changed")
                if change.frame.index != expected.get(key, len(self._lines.get(key, ()))):
                    raise Conflict("these lines are not the run's next")
                expected[key] = change.frame.index + len(change.frame.lines)
            elif isinstance(change, Run):
                key = (change.user_id, change.id)
                stored = versions.get(key, self._runs[key].version if key in self._runs else -1)
                if change.version != stored + 1:
                    raise Conflict(f"run {change.id} is at version {stored}")
                versions[key] = change.version
            elif isinstance(change, Message):
                self._check_message(changes, change)

    def _check_message(self, changes: Changes, message: Message) -> None:
        for id, kept in self._chats.items():
            if id != changes.chat_id and kept.user_id == changes.user_id and message.id in kept.messages:
                raise Conflict(f"message {message.id} is in another chat")

    def _apply(self, kept: _Chat, change: Change) -> None:
        match change:
            case LinesAdded():
                self._lines.setdefault((change.run.user_id, change.run.id), []).extend(change.frame.lines)
            case Message():
                kept.messages[change.id] = change
            case Removed(message_ids):
                for id in message_ids:
                    kept.messages.pop(id, None)
                lost = (e.seq for e in kept.entries if _is_of(e.change, message_ids))
                kept.floor = max([kept.floor, *lost])
                mine = (run for run in self._runs.values() if run.user_id == kept.user_id)
                self._drop([run for run in mine if run.message_id in message_ids])
            case Run():
                self._runs[change.user_id, change.id] = change
            case Chat():
                kept.chat = change

    def _drop(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._runs.pop((run.user_id, run.id), None)
            self._lines.pop((run.user_id, run.id), None)

    async def read(self, chat_id: int, *, after: int) -> tuple[Entry, ...] | None:
        """See `ChatLog`."""
        kept = self._chats.get(chat_id)
        if kept is None or not kept.floor <= after <= len(kept.entries):
            return None
        return tuple(replace(entry, change=self._now(kept, entry.change)) for entry in kept.entries[after:])

    def _now(self, kept: _Chat, change: Change) -> Change:
        match change:
            case Message():
                return kept.messages.get(change.id) or Removed((change.id,))
            case Run():
                return self._runs.get((change.user_id, change.id)) or Removed(())
            case Chat():
                return self._shown(kept)
            case _:
                return change

    async def view(self, chat_id: int, *, limit: int) -> View | None:
        """See `ChatLog`."""
        kept = self._chats.get(chat_id)
        if kept is None:
            return None
        links = [(message.id, message.parent_id) for message in kept.messages.values()]
        path = branch(links, kept.chat.head_id)
        runs = [run for run in self._open_runs() if run.chat_id == chat_id]
        messages = tuple(kept.messages[id] for id in path[-limit:])
        return View(
            self._shown(kept),
            messages,
            tuple(runs),
            siblings(links, path[-limit:]),
            len(path) > limit,
            kept.changed_at,
        )

    async def changed_at(self, chat_id: int) -> int:
        """See `ChatLog`."""
        return self._chats[chat_id].changed_at if chat_id in self._chats else 0

    async def is_hidden(self, chat_id: int) -> bool:
        """See `ChatLog`."""
        return chat_id in self._chats and self._chats[chat_id].hidden

    async def links(self, user_id: int, chat_id: int) -> tuple[Link, ...]:
        """See `ChatLog`."""
        return tuple((message.id, message.parent_id) for message in await self.messages(user_id, chat_id))

    async def branch(self, user_id: int, chat_id: int, leaf_id: str) -> tuple[Message, ...]:
        """See `ChatLog`."""
        found = {message.id: message for message in await self.messages(user_id, chat_id)}
        return tuple(found[id] for id in branch([(m.id, m.parent_id) for m in found.values()], leaf_id))

    async def run_on(self, channel: str) -> Run | None:
        """See `ChatLog`."""
        return next((self._counted(run) for run in self._runs.values() if run.channel == channel), None)

    async def runs_in(self, chat_id: int, message_ids: Collection[str] | None = None) -> tuple[Run, ...]:
        """See `ChatLog`."""
        mine = (run for run in self._open_runs() if run.chat_id == chat_id)
        return tuple(self._counted(run) for run in mine if message_ids is None or run.message_id in message_ids)

    async def runs_of(self, executor: str) -> tuple[Run, ...]:
        """See `ChatLog`."""
        return tuple(self._counted(r) for r in self._open_runs() if r.assignment and r.assignment.key == executor)

    async def queued(self, user_id: int | None, *, after: int = 0, limit: int = 100) -> tuple[tuple[int, Run], ...]:
        """See `ChatLog`."""
        numbered = enumerate(self._runs.values(), 1)
        mine = [(n, r) for n, r in numbered if r.state is State.QUEUED and user_id in (None, r.user_id) and n > after]
        return tuple(mine[:limit])

    async def due(self, now: float, *, limit: int = 100) -> tuple[Run, ...]:
        """See `ChatLog`."""
        over = [run for run in self._elsewhere() if run.deadline is not None and run.deadline.at <= now]
        return tuple(sorted(over, key=lambda run: run.deadline.at if run.deadline else 0)[:limit])

    async def next_deadline(self) -> float | None:
        """See `ChatLog`."""
        return min((run.deadline.at for run in self._elsewhere() if run.deadline is not None), default=None)

    async def shift_deadlines(self, seconds: float) -> None:
        """See `ChatLog`."""
        for run in list(self._elsewhere()):
            self._runs[run.key] = shifted(run, seconds)

    async def left_at_home(self) -> tuple[Run, ...]:
        """See `ChatLog`."""
        found = (
            run for run in self._runs.values() if run.state in AT_HOME or (run.state is State.QUEUED and run.callers)
        )
        return tuple(map(self._counted, found))

    def _elsewhere(self) -> list[Run]:
        return [run for run in self._open_runs() if run.state not in AT_HOME]

    def _counted(self, run: Run) -> Run:
        """How far a run got stands in its lines: they don't touch its row."""
        if run.state not in BOUND:
            return run
        lines = self._lines.get(run.key, [])
        return replace(run, expected=len(lines), end_mark=end_mark_of(map(read, lines)))

    def _shown(self, kept: _Chat) -> Chat:
        runs = (run for run in self._runs.values() if run.chat_id == kept.chat.id)
        return kept.chat.model_copy(update={"running": any(run.state not in ENDED for run in runs)})

    def _open_runs(self) -> list[Run]:
        return [
            run
            for run in self._runs.values()
            if run.state not in ENDED or (run.state is State.INTERRUPTED and run.closed_by is None)
        ]

    async def chat(self, user_id: int, chat_id: int) -> Chat | None:
        """See `ChatLog`."""
        kept = self._chats.get(chat_id)
        return self._shown(kept) if kept and kept.user_id == user_id else None

    async def chats(self, user_id: int, *, limit: int, cursor: str | None = None) -> Page:
        """See `ChatLog`."""
        shown = [kept for kept in self._chats.values() if kept.user_id == user_id and not kept.hidden]
        shown.sort(key=lambda kept: (kept.updated_at, kept.chat.id), reverse=True)
        if cursor is not None:
            at, _, id = cursor.partition(":")
            before = (float(at), int(id))
            shown = [kept for kept in shown if (kept.updated_at, kept.chat.id) < before]
        page = shown[:limit]
        more = f"{page[-1].updated_at!r}:{page[-1].chat.id}" if len(shown) > limit else None
        return Page(tuple(self._shown(kept) for kept in page), more)

    async def messages(self, user_id: int, chat_id: int) -> tuple[Message, ...]:
        """See `ChatLog`."""
        kept = self._chats.get(chat_id)
        return tuple(kept.messages.values()) if kept and kept.user_id == user_id else ()

    async def message(self, user_id: int, message_id: str) -> Message | None:
        """See `ChatLog`."""
        found = (kept.messages.get(message_id) for kept in self._chats.values() if kept.user_id == user_id)
        return next((message for message in found if message), None)

    async def run(self, user_id: int, run_id: str) -> Run | None:
        """See `ChatLog`."""
        run = self._runs.get((user_id, run_id))
        return self._counted(run) if run else None

    async def lines(self, run: Run) -> tuple[str, ...]:
        """See `ChatLog`."""
        return tuple(self._lines.get((run.user_id, run.id), ()))

    async def probe(self, at: float) -> None:
        """See `ChatLog`."""

    async def hidden_before(self, at: float) -> tuple[tuple[int, int], ...]:
        """See `ChatLog`."""
        return tuple((c.user_id, id) for id, c in self._chats.items() if c.hidden and c.updated_at < at)

    async def heads(self, chat_ids: Sequence[int]) -> dict[int, int]:
        """See `ChatLog`."""
        return {id: len(self._chats[id].entries) for id in chat_ids if id in self._chats}

    async def floor(self, chat_id: int) -> int:
        """See `ChatLog`."""
        return self._chats[chat_id].floor if chat_id in self._chats else 0


def _is_of(change: Change, message_ids: Sequence[str]) -> bool:
    return isinstance(change, LinesAdded) and change.run.message_id in message_ids
