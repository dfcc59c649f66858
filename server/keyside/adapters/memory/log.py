"""The chat log in memory: the same contract as in SQL, for tests and for a server that keeps nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from keyside.core.changes import Change, Changes, Entry, Removed, Written
from keyside.core.message import written
from keyside.core.run import BOUND, ENDED, Run, State
from keyside.core.transcript import read, survey, transcribe
from keyside.core.tree import branch, siblings
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Message
from keyside.services.ports import Conflict, Page, View

RunKey = tuple[int, str]


@dataclass
class _Chat:
    user_id: int
    chat: Chat
    hidden: bool
    updated_at: float
    floor: int = 0
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

    async def commit(self, changes: Changes) -> tuple[Entry, ...]:
        """See `ChatLog`."""
        kept = self._chats.get(changes.chat_id)
        if kept is None:
            raise Conflict(f"chat {changes.chat_id} is gone")
        self._check(changes)
        head = len(kept.entries)
        entries = tuple(
            Entry(changes.chat_id, head + offset, changes.at, change)
            for offset, change in enumerate(changes.changes, 1)
        )
        for entry in entries:
            self._apply(kept, entry.change)
        kept.entries.extend(entries)
        if any(not isinstance(change, Written) for change in changes.changes):
            kept.updated_at = changes.at
            kept.chat = kept.chat.model_copy(update={"updated_at": iso(changes.at)})
        return entries

    def _check(self, changes: Changes) -> None:
        """Refuses before anything is changed."""
        expected: dict[RunKey, int] = {}
        versions: dict[RunKey, int] = {}
        for change in changes.changes:
            if isinstance(change, Written):
                key = (change.run.user_id, change.run.id)
                if change.index != expected.get(key, len(self._lines.get(key, ()))):
                    raise Conflict("these lines are not the run's next")
                expected[key] = change.index + len(change.lines)
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
            case Written():
                self._lines.setdefault((change.run.user_id, change.run.id), []).extend(change.lines)
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

    async def delete_chat(self, user_id: int, chat_id: int) -> None:
        """See `ChatLog`."""
        kept = self._chats.get(chat_id)
        if kept is not None and kept.user_id == user_id:
            del self._chats[chat_id]
            self._drop([run for run in self._runs.values() if run.chat_id == chat_id])

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
        bound = {run.message_id: run for run in runs if run.state in BOUND}
        messages = tuple(self._written(kept.messages[id], bound.get(id)) for id in path[-limit:])
        return View(
            self._shown(kept),
            messages,
            tuple(runs),
            siblings(links, path[-limit:]),
            len(path) > limit,
            len(kept.entries),
        )

    def _written(self, message: Message, run: Run | None) -> Message:
        if run is None:
            return message
        return written(message, run, transcribe(self._lines.get((run.user_id, run.id), ())))

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
        return self._runs.get((user_id, run_id))

    async def lines(self, run: Run) -> tuple[str, ...]:
        """See `ChatLog`."""
        return tuple(self._lines.get((run.user_id, run.id), ()))

    async def unfinished(self) -> tuple[Run, ...]:
        """See `ChatLog`."""
        return tuple(
            replace(run, expected=len(lines), mark=survey(map(read, lines)))
            for run in self._open_runs()
            for lines in [self._lines.get((run.user_id, run.id), [])]
        )

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
    return isinstance(change, Written) and change.run.message_id in message_ids
