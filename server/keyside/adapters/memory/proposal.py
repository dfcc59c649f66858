"""Looks whether a transaction can be stored, before anything of it is."""

from collections.abc import Callable
from dataclasses import dataclass, field

from keyside.core.changes import Changes, LinesAdded
from keyside.core.run import BOUND, ENDED, Run, RunKey
from keyside.protocol.entities import Message
from keyside.services.ports import Conflict


@dataclass
class Proposal:
    """One transaction on top of what is stored; `check` is called with each of its parts, in order."""

    owner_of: Callable[[int], int | None]
    run_of: Callable[[RunKey], Run | None]
    expected_of: Callable[[RunKey], int]
    place_of: Callable[[tuple[int, str]], int | None]
    """The chat of a message."""
    _expected: dict[RunKey, int] = field(default_factory=dict)
    _runs: dict[RunKey, Run] = field(default_factory=dict)
    _places: dict[tuple[int, str], int] = field(default_factory=dict)
    _gone: set[int] = field(default_factory=set)

    def check(self, changes: Changes) -> None:
        """Raises `Conflict` where the changes were not made from what is stored."""
        owner = self.owner_of(changes.chat_id)
        if owner is None or changes.chat_id in self._gone or (changes.deletes_chat and owner != changes.user_id):
            raise Conflict(f"chat {changes.chat_id} is gone")
        for change in changes.changes:
            if isinstance(change, LinesAdded):
                self._check_lines(change, changes)
            elif isinstance(change, Run):
                self._check_run(change)
            elif isinstance(change, Message):
                place = (changes.user_id, change.id)
                if self._places.get(place, self.place_of(place)) not in (None, changes.chat_id):
                    raise Conflict(f"message {change.id} is in another chat")
                self._places[place] = changes.chat_id
        self._check_states(changes)
        if changes.deletes_chat:
            self._gone.add(changes.chat_id)

    def _check_lines(self, added: LinesAdded, changes: Changes) -> None:
        """A run whose row changes in the same transaction may stand here as it is before or after."""
        run, frame, key = added.run, added.frame, added.run.key
        stored = self._now(key)
        if stored is None or (key in self._runs and stored.state not in BOUND):
            raise Conflict(f"run {run.id} takes no lines")
        versions = {change.version for change in changes.changes if isinstance(change, Run) and change.key == key}
        if run.version not in {stored.version, *versions}:
            raise Conflict(f"run {run.id} is at version {stored.version}")
        if frame.index != self._expected.get(key, self.expected_of(key)):
            raise Conflict("these lines are not the run's next")
        self._expected[key] = frame.index + len(frame.lines)

    def _check_states(self, changes: Changes) -> None:
        """Lines are those of a run that runs before or after the transaction."""
        for change in changes.changes:
            if isinstance(change, LinesAdded):
                before, after = self.run_of(change.run.key), self._now(change.run.key)
                ran = before is not None and before.state in BOUND
                changed = self._runs.get(change.run.key)
                if not ran and (after is None or changed is None or changed.state not in BOUND | ENDED):
                    raise Conflict(f"run {change.run.id} takes no lines")

    def _check_run(self, run: Run) -> None:
        stored = self._now(run.key)
        version = stored.version if stored else -1
        if run.version != version + 1:
            raise Conflict(f"run {run.id} is at version {version}")
        self._runs[run.key] = run

    def _now(self, key: RunKey) -> Run | None:
        return self._runs.get(key) or self.run_of(key)
