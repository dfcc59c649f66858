"""What one commit changes in a chat, and the numbered events that it becomes."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from keyside.core.frames import FrameLines, Once
from keyside.core.reading import Delta
from keyside.core.run import Run
from keyside.core.transcript import merge
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Message, RunExecutor
from keyside.protocol.entities import Run as RunView


@dataclass(frozen=True)
class LinesAdded:
    """New lines of a run: what a `delta` event is made of."""

    run: Run
    frame: FrameLines

    @Once
    def delta(self) -> Delta:
        """What the lines add to the message."""
        found = [reading for reading in self.frame.readings if isinstance(reading, Delta)]
        return found[0] if len(found) == 1 else merge(found)


@dataclass(frozen=True)
class Removed:
    """Messages that are gone, and their runs with them."""

    message_ids: tuple[str, ...]


Change = LinesAdded | Message | Removed | Run | Chat
"""One change; each becomes one event. A message, run or chat stands as it is after the change."""


Name = tuple[Literal["message", "run"], str]
"""What names a message or a run of a chat: its kind and its id."""


def name_of(change: Change) -> Name | None:
    """The name of a message or a run; anything else has none."""
    match change:
        case Message():
            return "message", change.id
        case Run():
            return "run", change.id
        case _:
            return None


class Changes(NamedTuple):
    """One transaction: changes of one chat, in order, all or none."""

    user_id: int
    chat_id: int
    at: float
    changes: tuple[Change, ...]
    deletes_chat: bool = False
    """Whether the chat itself goes with this, after the changes."""


@dataclass(frozen=True)
class Entry:
    """A numbered change: one event of the chat's log."""

    chat_id: int
    seq: int
    at: float
    change: Change

    @Once
    def payload(self) -> dict[str, Any]:
        """The event as viewers get it: a `ChatEvent` of the wire (V2)."""
        head = {"chat_id": self.chat_id, "seq": self.seq, "at": iso(self.at)}
        match self.change:
            case LinesAdded():
                return head | _delta(self.change)
            case Message() as message:
                return head | {"kind": "message", "message": message.model_dump()}
            case Removed(message_ids):
                return head | {"kind": "removed", "message_ids": list(message_ids)}
            case Run() as run:
                return head | {"kind": "run", "run": view(run).model_dump()}
            case Chat() as chat:
                return head | {"kind": "chat", "chat": chat.model_dump()}


def _delta(added: LinesAdded) -> dict[str, Any]:
    """A delta event without what was not added: it is made for every frame, so no model is built for it."""
    delta = added.delta
    found: dict[str, Any] = {"kind": "delta", "run_id": added.run.id, "message_id": added.run.message_id}
    if delta.content:
        found["content"] = delta.content
    if delta.reasoning:
        found["reasoning"] = delta.reasoning
    if delta.tool_calls:
        found["tool_calls"] = [call.model_dump() for call in delta.tool_calls]
    if delta.images:
        found["images"] = list(delta.images)
    if delta.citations:
        found["citations"] = [citation.model_dump() for citation in delta.citations]
    return found


def view(run: Run) -> RunView:
    """A run as it is shown."""
    assignment = run.assignment
    return RunView(
        id=run.id,
        chat_id=run.chat_id,
        message_id=run.message_id,
        state=run.state.value,
        attempt=run.attempt,
        model=run.request.model,
        provider=(assignment.provider if assignment else None) or run.request.provider,
        executor=RunExecutor(id=assignment.executor_id, name=assignment.name, kind=assignment.kind)
        if assignment
        else None,
        error=run.failure,
        finish_reason=run.finish_reason,
        created_at=iso(run.created_at),
        started_at=iso(run.started_at) if run.started_at is not None else None,
        ended_at=iso(run.ended_at) if run.ended_at is not None else None,
    )
