"""What of a chat fits into one answer: how much things weigh, which messages are shown, and where a text is cut."""

from collections.abc import Iterable
from typing import Any

import orjson

from keyside.core.changes import Change, Entry, LinesAdded, Removed
from keyside.protocol.entities import Message
from keyside.protocol.entities import Run as RunView
from keyside.protocol.wire import Snapshot

FIELDS = 500
"""Characters that a message, a run or an event has besides its texts, about."""


def weight(change: Change) -> int:
    """About how many characters a change has. It is for deciding how much to read; what is sent is measured."""
    match change:
        case LinesAdded():
            return FIELDS + sum(map(len, change.frame.lines))
        case Message():
            return FIELDS + _texts(change)
        case Removed(message_ids):
            return FIELDS + sum(map(len, message_ids))
        case _:
            return FIELDS


def _texts(message: Message) -> int:
    calls = sum(FIELDS + len(call.arguments) for call in message.tool_calls)
    citations = sum(len(citation.url) + len(citation.title) for citation in message.citations)
    error = len(message.error.message) if message.error else 0
    return len(message.content) + len(message.reasoning) + calls + sum(map(len, message.images)) + citations + error


def first_of(entries: Iterable[Entry], most: int, *, strict: bool = False) -> tuple[Entry, ...]:
    """As many of the entries as weigh at most so much; one at least, unless this is `strict`."""
    taken: list[Entry] = []
    for entry in entries:
        most -= weight(entry.change)
        if most < 0 and (taken or strict):
            break
        taken.append(entry)
    return tuple(taken)


def json_size(value: Any) -> int:
    """How many bytes something plain has as JSON."""
    return len(orjson.dumps(value))


# --- snapshots ---------------------------------------------------------------------------------------


def fitted(whole: Snapshot, most: int) -> Snapshot:
    """The newest of a snapshot that has at most so many bytes as JSON (V1).

    Each message comes with the ids of its siblings and with its run. Where the head alone is too large its text is
    cut. Other runs of the chat are there as far as there is room.
    """
    room = most - json_size(whole.model_copy(update={"messages": [], "runs": [], "siblings": {}}).model_dump())
    runs = {run.message_id: run for run in whole.runs}
    messages: list[Message] = []
    named: list[RunView] = []
    for message in reversed(whole.messages):
        run = runs.pop(message.id, None)
        beside = _size_beside(message.id, whole.siblings[message.id], run)
        shown = message if messages else cut(message, room - beside - 1)
        room -= beside + json_size(shown.model_dump()) + 1
        if room < 0 and messages:
            break
        messages.append(shown)
        named += [run] if run else []
    for run in reversed(runs.values()):
        room -= _size_of(run)
        if room < 0:
            break
        named.append(run)
    shown_ids = [message.id for message in reversed(messages)]
    kept = {run.id for run in named}
    update = {
        "messages": messages[::-1],
        "runs": [run for run in whole.runs if run.id in kept],
        "siblings": {id: whole.siblings[id] for id in shown_ids},
        "earlier": whole.earlier or len(messages) < len(whole.messages),
    }
    return whole.model_copy(update=update)


def _size_beside(id: str, siblings: list[str], run: RunView | None) -> int:
    return json_size({id: siblings}) + (_size_of(run) if run else 0)


def _size_of(run: RunView) -> int:
    return json_size(run.model_dump()) + 1


def cut(message: Message, most: int) -> Message:
    """The message with at most so many bytes as JSON, and marked `partial` if some of its text is missing.

    Of its content, and then of its reasoning, the end stays, since deltas are added there. Of an error the beginning
    stays. Lists are there if they fit.
    """
    if _fits(message, most):
        return message
    error = message.error and message.error.model_copy(update={"message": message.error.message[:_ERROR]})
    bare = {"content": "", "reasoning": "", "tool_calls": [], "images": [], "citations": [], "partial": True}
    part = message.model_copy(update={**bare, "error": error})
    for name in ("content", "reasoning"):
        room = most - json_size(part.model_dump())
        part = part.model_copy(update={name: _end_of(getattr(message, name), room)})
    for name in ("tool_calls", "citations", "images"):
        more = part.model_copy(update={name: getattr(message, name)})
        part = more if _fits(more, most) else part
    return part


def _fits(message: Message, most: int) -> bool:
    return weight(message) <= most and json_size(message.model_dump()) <= most


_ERROR = 2000
"""Characters that stay of an error where its message must be cut."""


def _end_of(text: str, room: int) -> str:
    """As much of the end of a text as fits, to about a quarter."""
    text = text[-room:] if room > 0 else ""
    while text and json_size(text) - 2 > room:
        text = text[len(text) // 4 + 1 :]
    return text
