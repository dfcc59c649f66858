"""Examines a database: no event is missing in any chat, and every finished answer matches its stored lines."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlmodel import Session, col, select

from keyside.adapters.sql.database import Database
from keyside.adapters.sql.journal import unpack_records
from keyside.adapters.sql.rows import message_of, run_of
from keyside.adapters.sql.tables import ChatRow, EventRow, JournalRow, LinesRow, MessageRow, RunRow
from keyside.adapters.sql.tail import StoredFrame, unpack
from keyside.core.message import written
from keyside.core.run import BOUND, ENDED, Run, RunKey
from keyside.core.transcript import transcribe


@dataclass
class Report:
    """How many chats, runs and lines were examined, and every finding as a sentence."""

    chats: int = 0
    runs: int = 0
    lines: int = 0
    findings: list[str] = field(default_factory=list)


def examine(database: Database) -> Report:
    """Examines the whole database as it is at one moment. A server may be running."""
    report = Report()
    with database.read() as session:
        report.findings += _sqlite(session)
        journal = _journal(session)
        for chat in session.exec(select(ChatRow)):
            report.chats += 1
            report.findings += _chat(session, chat, journal, report)
    return report


def _sqlite(session: Session) -> Iterator[str]:
    for (answer,) in session.connection().execute(text("PRAGMA integrity_check")):
        if answer != "ok":
            yield f"SQLite finds: {answer}"
    for table, *_ in session.connection().execute(text("PRAGMA foreign_key_check")):
        yield f"A row of {table} refers to something that is gone."


def _journal(session: Session) -> dict[RunKey, list[StoredFrame]]:
    found: dict[RunKey, list[StoredFrame]] = {}
    for row in session.exec(select(JournalRow).order_by(col(JournalRow.id))):
        for key, _, frame in unpack_records(row.body):
            found.setdefault(key, []).append(frame)
    return found


def _chat(session: Session, chat: ChatRow, journal: dict[RunKey, list[StoredFrame]], report: Report) -> Iterator[str]:
    seqs = list(session.exec(select(EventRow.seq).where(EventRow.chat_id == chat.id)))
    head = chat.seq
    for row in session.exec(select(RunRow).where(RunRow.chat_id == chat.id)):
        run = run_of(row)
        frames = _frames(session, row, run, journal)
        report.runs += 1
        report.lines += sum(len(frame.lines) for frame in frames)
        seqs += [frame.seq for frame in frames]
        head = max([head, *(frame.seq for frame in frames)])
        yield from _run(session, chat, run, frames)
    yield from _numbers(chat, seqs, head)
    yield from _tree(session, chat)


def _frames(session: Session, row: RunRow, run: Run, journal: dict[RunKey, list[StoredFrame]]) -> list[StoredFrame]:
    """A running run may have its first frames in its row, and the rest in the journal, which may have both."""
    kept = session.get(LinesRow, row.n)
    frames = unpack(kept.body) if kept else []
    if run.state in BOUND:
        known = frames[-1].seq if frames else 0
        frames += [frame for frame in journal.get(run.key, ()) if frame.seq > known]
    return frames


def _numbers(chat: ChatRow, seqs: list[int], head: int) -> Iterator[str]:
    readable = sorted(seq for seq in seqs if seq > chat.floor)
    if readable != list(range(chat.floor + 1, head + 1)):
        missing = sorted(set(range(chat.floor + 1, head + 1)) - set(readable))
        double = sorted({seq for seq in readable if readable.count(seq) > 1})
        yield f"Chat {chat.id}: of events {chat.floor + 1} to {head}, {missing[:5]} are missing, {double[:5]} double."


def _run(session: Session, chat: ChatRow, run: Run, frames: list[StoredFrame]) -> Iterator[str]:
    expected = 0
    for frame in frames:
        if frame.index != expected:
            yield f"Run {run.id}: line {expected} is missing, the next that is stored is {frame.index}."
        expected = frame.index + len(frame.lines)
    if run.state in ENDED:
        yield from _text(session, chat, run, frames)


def _text(session: Session, chat: ChatRow, run: Run, frames: list[StoredFrame]) -> Iterator[str]:
    query = select(MessageRow).where(MessageRow.user_id == run.user_id, MessageRow.id == run.message_id)
    row = session.exec(query).first()
    if row is None:
        yield f"Run {run.id}: its message is gone."
        return
    message = message_of(row)
    if message.run_id != run.id or _edited(session, chat, run):
        return
    made = written(message, run, transcribe(line for frame in frames for line in frame.lines))
    for name in ("content", "reasoning", "tool_calls"):
        if getattr(made, name) != getattr(message, name):
            yield f"Run {run.id}: the {name} of its message is not what its lines make."


def _edited(session: Session, chat: ChatRow, run: Run) -> bool:
    """Whether the message was corrected after the run's end, which is allowed."""
    mine = EventRow.chat_id == chat.id
    ends = select(EventRow.seq).where(mine, EventRow.kind == "run", EventRow.ref == run.id)
    end = max(session.exec(ends), default=0)
    later = select(EventRow.seq).where(mine, EventRow.ref == run.message_id, EventRow.seq > end)
    return session.exec(later).first() is not None


def _tree(session: Session, chat: ChatRow) -> Iterator[str]:
    rows = session.exec(select(MessageRow.id, MessageRow.parent_id).where(MessageRow.chat_id == chat.id))
    parents = dict(rows.all())
    for id, parent in parents.items():
        if parent is not None and parent not in parents:
            yield f"Chat {chat.id}: the parent of message {id} is gone."
    if chat.head_id is not None and chat.head_id not in parents:
        yield f"Chat {chat.id}: its head {chat.head_id} is gone."
