"""The chat log in memory: the same contract as in SQL, for tests and for a server that keeps nothing."""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from keyside.adapters.cursors import chat_cursor, chat_position, message_position
from keyside.adapters.memory.proposal import Proposal
from keyside.core.changes import Change, Changes, Entry, LinesAdded, Name, Removed, name_of, view
from keyside.core.deadline import shifted
from keyside.core.fitting import cut, first_of, weight
from keyside.core.frames import EndMark
from keyside.core.limits import ID_SECONDS
from keyside.core.run import AT_HOME, BOUND, ENDED, Run, RunKey, State
from keyside.core.tree import Link, branch, siblings
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Message
from keyside.services.ports import (
    MOST_PAGE,
    MOST_READ,
    MOST_RUNS,
    Conflict,
    Page,
    Piece,
    RemovedRun,
    Stored,
    View,
)


@dataclass
class _Chat:
    user_id: int
    chat: Chat
    hidden: bool
    updated_at: float
    floor: int = 0
    changed_at: int = 0
    messages: dict[str, Message] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """The position of each message, for cursors."""
    entries: list[Entry] = field(default_factory=list)

    @property
    def links(self) -> tuple[Link, ...]:
        return tuple((message.id, message.parent_id) for message in self.messages.values())


@dataclass
class _Lines:
    lines: list[str] = field(default_factory=list)
    end_mark: EndMark | None = None


class MemoryChatLog:
    """`ChatLog` on dictionaries. What is submitted is stored at once; nothing is ever unavailable."""

    def __init__(self) -> None:
        self._chats: dict[int, _Chat] = {}
        self._runs: dict[RunKey, Run] = {}
        self._positions: dict[RunKey, int] = {}
        self._lines: dict[RunKey, _Lines] = {}
        self._places: dict[tuple[int, str], int] = {}
        """The chat of each message."""
        self._removed_runs: dict[RunKey, RemovedRun] = {}
        self._last_chat_id = 0
        self._counter = itertools.count(1)

    # --- writing ---------------------------------------------------------------------------------

    async def new_chat(self, user_id: int, title: str, at: float, *, hidden: bool = False) -> Chat:
        """See `ChatLog`."""
        self._last_chat_id += 1
        chat = Chat(
            id=self._last_chat_id, title=title, head_id=None, model=None, created_at=iso(at), updated_at=iso(at)
        )
        self._chats[chat.id] = _Chat(user_id, chat, hidden, at)
        return chat

    def submit(self, changes: Sequence[Changes], stored: Stored) -> None:
        """See `ChatLog`. It calls `stored` before it returns."""
        try:
            entries = self._store(changes)
        except Conflict as conflict:
            stored(conflict)
        else:
            stored(entries)

    async def commit(self, *changes: Changes) -> tuple[Entry, ...]:
        """See `ChatLog`."""
        return self._store(changes)

    def _store(self, transaction: Sequence[Changes]) -> tuple[Entry, ...]:
        proposal = Proposal(
            owner_of=lambda id: self._chats[id].user_id if id in self._chats else None,
            run_of=self._runs.get,
            expected_of=lambda key: len(self._lines[key].lines) if key in self._lines else 0,
            place_of=self._places.get,
        )
        for changes in transaction:
            proposal.check(changes)
        entries: list[Entry] = []
        for changes in transaction:
            entries += self._apply(changes)
        return tuple(entries)

    def _apply(self, changes: Changes) -> list[Entry]:
        kept = self._chats[changes.chat_id]
        first = len(kept.entries) + 1
        entries = [Entry(changes.chat_id, seq, changes.at, change) for seq, change in enumerate(changes.changes, first)]
        for entry in entries:
            self._take(kept, entry.change, entry.at)
        kept.entries.extend(entries)
        others = [entry.seq for entry in entries if not isinstance(entry.change, LinesAdded)]
        if others:
            kept.changed_at = others[-1]
            kept.updated_at = changes.at
            kept.chat = kept.chat.model_copy(update={"updated_at": iso(changes.at)})
        if changes.deletes_chat:
            self._forget(changes.chat_id, changes.at)
        return entries

    def _take(self, kept: _Chat, change: Change, at: float) -> None:
        match change:
            case LinesAdded(run, frame):
                written = self._lines.setdefault(run.key, _Lines())
                written.lines.extend(frame.lines)
                mark = frame.end_mark
                written.end_mark = written.end_mark.then(mark) if written.end_mark else mark
            case Message():
                kept.messages[change.id] = change
                kept.numbers.setdefault(change.id, next(self._counter))
                self._places[kept.user_id, change.id] = kept.chat.id
            case Removed(message_ids):
                self._remove(kept, message_ids, at)
            case Run():
                self._runs[change.key] = change
                if change.key not in self._positions:
                    self._positions[change.key] = next(self._counter)
            case Chat():
                kept.chat = change

    def _remove(self, kept: _Chat, message_ids: Sequence[str], at: float) -> None:
        for id in message_ids:
            kept.messages.pop(id, None)
            kept.numbers.pop(id, None)
            self._places.pop((kept.user_id, id), None)
        lines = ((entry.seq, entry.change) for entry in kept.entries if isinstance(entry.change, LinesAdded))
        kept.floor = max([kept.floor, *(seq for seq, added in lines if added.run.message_id in message_ids)])
        mine = (run for run in self._runs.values() if run.user_id == kept.user_id)
        self._drop([run for run in mine if run.message_id in message_ids], at)

    def _forget(self, chat_id: int, at: float) -> None:
        kept = self._chats.pop(chat_id)
        for id in kept.messages:
            self._places.pop((kept.user_id, id), None)
        self._drop([run for run in self._runs.values() if run.chat_id == chat_id], at)

    def _drop(self, runs: Sequence[Run], at: float) -> None:
        self._removed_runs |= {run.key: RemovedRun(run.created_at, run.unanswered) for run in runs}
        for key in [key for key, removed in self._removed_runs.items() if removed.created_at <= at - ID_SECONDS]:
            del self._removed_runs[key]
        for run in runs:
            for kept in (self._runs, self._positions, self._lines):
                kept.pop(run.key, None)

    async def shift_deadlines(self, seconds: float) -> None:
        """See `ChatLog`."""
        for run in list(self._runs.values()):
            if run.state is State.QUEUED or run.can_return:
                self._runs[run.key] = shifted(run, seconds)

    async def probe(self, at: float) -> None:
        """See `ChatLog`."""

    # --- events ----------------------------------------------------------------------------------

    async def read(
        self, chat_id: int, *, after: int, most: int = MOST_READ, strict: bool = False
    ) -> tuple[Entry, ...] | None:
        """See `ChatLog`."""
        kept = self._chats.get(chat_id)
        if kept is None or not kept.floor <= after <= len(kept.entries):
            return None
        behind = itertools.islice(kept.entries, after, None)
        entries = (replace(entry, change=self._now(kept, entry.change)) for entry in behind)
        return first_of(entries, most, strict=strict)

    async def changed_after(self, chat_id: int, seq: int, names: Collection[Name]) -> frozenset[Name]:
        """See `ChatLog`."""
        entries = self._chats[chat_id].entries if chat_id in self._chats else []
        found = {name_of(entry.change) for entry in itertools.islice(entries, seq, None)}
        return frozenset(name for name in names if name in found)

    def _now(self, kept: _Chat, change: Change) -> Change:
        match change:
            case Message():
                return kept.messages.get(change.id) or Removed((change.id,))
            case Run():
                return self._runs.get(change.key) or Removed(())
            case Chat():
                return self._shown(kept)
            case _:
                return change

    async def changed_at(self, chat_id: int) -> int:
        """See `ChatLog`."""
        return self._chats[chat_id].changed_at if chat_id in self._chats else 0

    async def heads(self, chat_ids: Sequence[int]) -> dict[int, int]:
        """See `ChatLog`."""
        return {id: len(self._chats[id].entries) for id in chat_ids if id in self._chats}

    async def floor(self, chat_id: int) -> int:
        """See `ChatLog`."""
        return self._chats[chat_id].floor if chat_id in self._chats else 0

    # --- chats and messages ----------------------------------------------------------------------

    async def view(self, chat_id: int, *, limit: int, most: int = MOST_READ) -> View | None:
        """See `ChatLog`."""
        kept = self._chats.get(chat_id)
        if kept is None:
            return None
        path = branch(kept.links, kept.chat.head_id)[-limit:]
        messages = _fitting((kept.messages[id] for id in reversed(path)), most)[::-1]
        if len(messages) == 1:
            messages = [cut(messages[0], most)]
        ids = [message.id for message in messages]
        runs = await self.runs_in(chat_id)
        return View(
            chat=self._shown(kept),
            messages=tuple(messages),
            runs=tuple(map(view, _shown_runs(runs, ids))),
            writing=tuple(run.key for run in runs if run.state in BOUND),
            siblings=siblings(kept.links, ids),
            earlier=bool(messages) and messages[0].parent_id is not None,
            seq=kept.changed_at,
        )

    def _shown(self, kept: _Chat) -> Chat:
        runs = (run for run in self._runs.values() if run.chat_id == kept.chat.id)
        return kept.chat.model_copy(update={"running": any(run.state not in ENDED for run in runs)})

    def _of(self, user_id: int, chat_id: int) -> _Chat | None:
        kept = self._chats.get(chat_id)
        return kept if kept and kept.user_id == user_id else None

    async def chat(self, user_id: int, chat_id: int) -> Chat | None:
        """See `ChatLog`."""
        kept = self._of(user_id, chat_id)
        return self._shown(kept) if kept else None

    async def is_hidden(self, chat_id: int) -> bool:
        """See `ChatLog`."""
        return chat_id in self._chats and self._chats[chat_id].hidden

    async def chats(self, user_id: int, *, limit: int, cursor: str | None = None) -> Page:
        """See `ChatLog`."""
        shown = [kept for kept in self._chats.values() if kept.user_id == user_id and not kept.hidden]
        shown.sort(key=lambda kept: (kept.updated_at, kept.chat.id), reverse=True)
        if cursor is not None:
            before = chat_position(cursor)
            shown = [kept for kept in shown if (kept.updated_at, kept.chat.id) < before]
        page = shown[:limit]
        more = chat_cursor(page[-1].updated_at, page[-1].chat.id) if len(shown) > limit else None
        return Page(tuple(self._shown(kept) for kept in page), more)

    async def hidden_before(self, at: float) -> tuple[tuple[int, int], ...]:
        """See `ChatLog`."""
        return tuple((c.user_id, id) for id, c in self._chats.items() if c.hidden and c.updated_at < at)

    async def messages(self, user_id: int, chat_id: int, *, cursor: str | None = None, most: int = MOST_PAGE) -> Piece:
        """See `ChatLog`."""
        kept = self._of(user_id, chat_id)
        return _piece(kept, list(kept.messages), cursor, most) if kept else Piece((), None)

    async def branch(
        self, user_id: int, chat_id: int, leaf_id: str, *, cursor: str | None = None, most: int = MOST_PAGE
    ) -> Piece:
        """See `ChatLog`."""
        kept = self._of(user_id, chat_id)
        return _piece(kept, branch(kept.links, leaf_id), cursor, most) if kept else Piece((), None)

    async def links(self, user_id: int, chat_id: int) -> tuple[Link, ...]:
        """See `ChatLog`."""
        kept = self._of(user_id, chat_id)
        return kept.links if kept else ()

    async def message(self, user_id: int, message_id: str) -> Message | None:
        """See `ChatLog`."""
        place = self._places.get((user_id, message_id))
        return None if place is None else self._chats[place].messages.get(message_id)

    # --- runs ------------------------------------------------------------------------------------

    def _all(self, wanted: Callable[[Run], bool]) -> Iterator[Run]:
        """Runs with their lines counted, oldest first."""
        return (self._counted(run) for run in self._runs.values() if wanted(run))

    def _counted(self, run: Run) -> Run:
        written = self._lines.get(run.key)
        if written is None or run.state not in BOUND:
            return run
        return replace(run, expected=len(written.lines), end_mark=written.end_mark)

    async def run(self, user_id: int, run_id: str) -> Run | None:
        """See `ChatLog`."""
        run = self._runs.get((user_id, run_id))
        return self._counted(run) if run else None

    async def removed_run(self, user_id: int, run_id: str) -> RemovedRun | None:
        """See `ChatLog`."""
        return self._removed_runs.get((user_id, run_id))

    async def last_number(self, user_id: int, prefix: str) -> int | None:
        """See `ChatLog`."""
        mine = (id for user, id in (*self._runs, *self._removed_runs) if user == user_id and id.startswith(prefix))
        behind = (id.removeprefix(prefix) for id in mine)
        return max((int(number) for number in behind if number.isdecimal()), default=None)

    async def run_on(self, channel: str) -> Run | None:
        """See `ChatLog`."""
        return next(self._all(lambda run: run.channel == channel), None)

    async def runs_in(self, chat_id: int, message_ids: Collection[str] | None = None) -> tuple[Run, ...]:
        """See `ChatLog`."""
        return tuple(
            run
            for run in self._all(lambda run: run.chat_id == chat_id and not run.final)
            if message_ids is None or run.message_id in message_ids
        )

    async def runs_of(self, executor: str) -> tuple[Run, ...]:
        """See `ChatLog`."""
        return tuple(
            self._all(lambda run: not run.final and run.assignment is not None and run.assignment.key == executor)
        )

    async def queued(self, user_id: int | None, *, after: int = 0, limit: int = 100) -> tuple[tuple[int, Run], ...]:
        """See `ChatLog`."""
        mine = self._all(lambda run: run.state is State.QUEUED and user_id in (None, run.user_id))
        behind = ((self._positions[run.key], run) for run in mine if self._positions[run.key] > after)
        return tuple(itertools.islice(behind, limit))

    async def due(self, now: float, *, limit: int = 100) -> tuple[Run, ...]:
        """See `ChatLog`."""
        return tuple(run for at, run in self._deadlines() if at <= now)[:limit]

    async def next_deadline(self) -> float | None:
        """See `ChatLog`."""
        return next((at for at, _ in self._deadlines() if at < float("inf")), None)

    def _deadlines(self) -> list[tuple[float, Run]]:
        waiting = self._all(lambda run: run.state is State.QUEUED or run.can_return)
        return sorted(((run.deadline.at, run) for run in waiting if run.deadline), key=lambda found: found[0])

    async def left_at_home(self) -> tuple[Run, ...]:
        """See `ChatLog`."""
        return tuple(self._all(lambda run: run.state in AT_HOME or (run.state is State.QUEUED and bool(run.callers))))

    async def lines(self, run: Run) -> tuple[str, ...]:
        """See `ChatLog`."""
        return tuple(self._lines[run.key].lines) if run.key in self._lines else ()


def _fitting(messages: Iterable[Message], most: int) -> list[Message]:
    """As many of the messages, in this order, as weigh at most so much; one at least."""
    taken: list[Message] = []
    for message in messages:
        most -= weight(message)
        if most < 0 and taken:
            break
        taken.append(message)
    return taken


def _piece(kept: _Chat, ids: Sequence[str], cursor: str | None, most: int) -> Piece:
    """The first of these messages behind the cursor, which is the position of a message."""
    after = message_position(cursor)
    behind = [id for id in ids if kept.numbers[id] > after]
    taken = _fitting((kept.messages[id] for id in behind), most)
    return Piece(tuple(taken), str(kept.numbers[taken[-1].id]) if len(taken) < len(behind) else None)


def _shown_runs(runs: Sequence[Run], message_ids: Sequence[str]) -> list[Run]:
    """Those of the messages, and the newest."""
    newest = runs[-MOST_RUNS:]
    return [run for run in runs if run in newest or run.message_id in message_ids]
