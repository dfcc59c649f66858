"""One transaction of runs: what happens to them, stepped and not committed yet."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from keyside.core.changes import Change, Changes, LinesAdded, Removed
from keyside.core.frames import FrameLines
from keyside.core.inputs import Cancel, CloseMessage, Effect, Input, ReopenMessage
from keyside.core.limits import Limits
from keyside.core.message import closed, written
from keyside.core.run import Run, RunKey
from keyside.core.step import step
from keyside.core.transcript import merge
from keyside.protocol.entities import Message
from keyside.services.residency import Residency


class Part(NamedTuple):
    """What a transaction does in one chat: inputs for some of its runs, and changes besides."""

    user_id: int
    chat_id: int
    inputs: Mapping[RunKey, Sequence[Input]] = MappingProxyType({})
    changes: tuple[Change, ...] = ()
    deletes_chat: bool = False


class Stepped(NamedTuple):
    """A run after its inputs, not committed yet."""

    residency: Residency
    after: Run
    changes: tuple[Change, ...]
    cancels: tuple[Cancel, ...]


def step_run(residency: Residency, part: Part, now: float, limits: Limits) -> Stepped:
    """The run after the inputs that the part has for it. Raises `Refused` where one of them is illegal."""
    before = run = residency.run
    effects: list[Effect] = []
    for input in part.inputs[residency.key]:
        run, more = step(run, input, now, limits)
        effects += more
    added = [LinesAdded(before, effect) for effect in effects if isinstance(effect, FrameLines)]
    if run.version == before.version:  # as with nearly all frames
        return Stepped(residency, run, tuple(added), ())
    if run.version > before.version + 1:
        run = replace(run, version=before.version + 1)
    changes: list[Change] = [*added]
    message = _message(residency, run, added, effects, now)
    if message is not None and not _removes(part, message.id):
        changes.append(message)
    changes.append(run)
    return Stepped(residency, run, tuple(changes), tuple(effect for effect in effects if isinstance(effect, Cancel)))


def changes_of(part: Part, stepped: Sequence[Stepped], now: float) -> Changes | None:
    """What the part stores, the changes of its runs first, as they were stepped; `None`: nothing."""
    changes = stepped[0].changes if len(stepped) == 1 else tuple(change for one in stepped for change in one.changes)
    changes += part.changes
    if not changes and not part.deletes_chat:
        return None
    return Changes(part.user_id, part.chat_id, now, changes, part.deletes_chat)


def parts_by_chat(runs: Iterable[Run], inputs: Sequence[Input]) -> list[Part]:
    """One part for each chat of the runs, with the same inputs for all of them."""
    parts: dict[int, Part] = {}
    for run in runs:
        part = parts.get(run.chat_id) or Part(run.user_id, run.chat_id)
        parts[run.chat_id] = part._replace(inputs={**part.inputs, run.key: inputs})
    return list(parts.values())


def _message(
    residency: Residency, run: Run, added: Sequence[LinesAdded], effects: Iterable[Effect], now: float
) -> Message | None:
    """The run's message, where the change writes it."""
    kinds = {type(effect) for effect in effects}
    if residency.message is None or not kinds & {CloseMessage, ReopenMessage}:
        return None
    draft = merge([residency.transcript.draft, *(lines.delta for lines in added)])
    if CloseMessage in kinds:
        return closed(residency.message, run, draft, now)
    return written(residency.message, run, draft).model_copy(update={"status": "streaming", "error": None})


def _removes(part: Part, message_id: str) -> bool:
    removed = (change.message_ids for change in part.changes if isinstance(change, Removed))
    return part.deletes_chat or any(message_id in ids for ids in removed)
