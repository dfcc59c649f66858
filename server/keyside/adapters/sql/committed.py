"""What the writer knows of the log as it is committed: heads, tails of running runs, and where the journal begins."""

from collections.abc import Iterable

from sqlmodel import Session, col, select

from keyside.adapters.sql import run_read
from keyside.adapters.sql.batch import Batch
from keyside.adapters.sql.journal import unpack_records
from keyside.adapters.sql.log_read import load_ended_frames, load_heads
from keyside.adapters.sql.tables import JournalRow
from keyside.adapters.sql.tail import Tail, mark_of
from keyside.core.run import BOUND, Run, RunKey

MOST_ROWS = 20_000
"""Rows of the journal that may be held back by a run before its lines so far become a row of their own."""


class Committed:
    """The log's state in memory. It changes in the event loop only, when a group has landed."""

    def __init__(self) -> None:
        self.heads: dict[int, int] = {}
        """The newest event of each chat that a run is writing in: the chat's row does not know it. No other is kept."""
        self.tails: dict[RunKey, Tail] = {}
        self._chat_of: dict[RunKey, int] = {}
        self._writing: dict[int, int] = {}
        """How many runs write in a chat."""
        self._oldest: int | None = None
        """The first row of the journal that is still there, as far as is known."""
        self._newest = 0

    def take(self, batch: Batch, journal_id: int | None) -> None:
        """Takes over what a batch has stored."""
        for key, opened in batch.opened.items():
            self._open(key, opened, batch.runs[key].chat_id)
        for key, added in batch.frames.items():
            tail = self.tails.get(key)
            if tail is not None:
                for frame, end_mark in added:
                    tail.append(frame, end_mark)
                if tail.journal_id is None:
                    tail.journal_id = journal_id
        for key in batch.settled:
            self.tails[key].journal_id = None
        self._take_runs(batch)
        self._take_heads(batch)
        if journal_id is not None:
            self._newest = journal_id
            self._oldest = self._oldest or journal_id
        if batch.journal_from is not None:
            self._oldest = batch.journal_from if batch.journal_from <= self._newest else None

    def _take_runs(self, batch: Batch) -> None:
        for key, run in batch.runs.items():
            if run.state in BOUND:
                self.tails[key].version = run.version
            else:
                self._close(key)
        for key in batch.gone:
            self._close(key)

    def _take_heads(self, batch: Batch) -> None:
        for chat_id, head in batch.heads.items():
            if chat_id in self._writing:
                self.heads[chat_id] = head
            else:
                self.heads.pop(chat_id, None)

    def _open(self, key: RunKey, tail: Tail, chat_id: int) -> None:
        self._close(key)
        self.tails[key] = tail
        self._chat_of[key] = chat_id
        self._writing[chat_id] = self._writing.get(chat_id, 0) + 1

    def _close(self, key: RunKey) -> None:
        if self.tails.pop(key, None) is None:
            return
        chat_id = self._chat_of.pop(key)
        self._writing[chat_id] -= 1
        if not self._writing[chat_id]:
            del self._writing[chat_id]
            self.heads.pop(chat_id, None)

    # --- the journal -----------------------------------------------------------------------------

    @property
    def is_long(self) -> bool:
        """Whether the journal has too many rows: some runs hold them back."""
        return self._oldest is not None and self._newest - self._oldest >= MOST_ROWS

    def held_back(self) -> list[RunKey]:
        """The runs that need the older half of a journal that is too long."""
        middle = self._newest - MOST_ROWS // 2
        return [key for key, tail in self.tails.items() if tail.journal_id is not None and tail.journal_id < middle]

    def needed_from(self, without: Iterable[RunKey], journal_id: int | None) -> int | None:
        """The first row that is needed when these runs need none any more; `None`: nothing can be deleted.

        `journal_id` is a row that has just been written.
        """
        if self._oldest is None:
            return None
        passed_over = set(without)
        after = self._newest + 1 if journal_id is None else journal_id
        needed = min(
            (tail.journal_id for key, tail in self.tails.items() if tail.journal_id and key not in passed_over),
            default=after,
        )
        return needed if needed > self._oldest else None

    # --- the beginning ---------------------------------------------------------------------------

    def recover(self, session: Session) -> None:
        """Loads what the last process left running."""
        running = {run.key: run for run in run_read.load_held(session) if run.state in BOUND}
        for key, run in running.items():
            self._open(key, Tail(run.version, load_ended_frames(session, run)), run.chat_id)
        for row in session.exec(select(JournalRow).order_by(col(JournalRow.id)).execution_options(yield_per=500)):
            self._recover_row(row)
        for key, run in running.items():
            self._recover_head(run, self.tails[key])
        self.heads |= {
            chat_id: max(seq, self.heads[chat_id]) for chat_id, seq in load_heads(session, list(self.heads)).items()
        }

    def _recover_row(self, row: JournalRow) -> None:
        assert row.id is not None
        self._newest = row.id
        self._oldest = self._oldest or row.id
        for key, _, frame in unpack_records(row.body):
            tail = self.tails.get(key)
            # What was written as the run's own row is passed over.
            if tail is not None and frame.index >= tail.expected:
                tail.append(frame, None)
                if tail.journal_id is None:
                    tail.journal_id = row.id

    def _recover_head(self, run: Run, tail: Tail) -> None:
        tail.end_mark = mark_of(tail.frames())
        self.heads[run.chat_id] = max(self.heads.get(run.chat_id, 0), tail.seq)
