"""Seeded schedules on two logs at once: the SQL log, reopened at any moment, must give the same results as memory."""

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from keyside.adapters.sql import committed
from keyside.adapters.sql.doctor import examine
from keyside.core.changes import Change, Changes, Entry, LinesAdded, Removed
from keyside.core.frames import FrameLines
from keyside.core.inputs import Disconnect, Expire, Finish, Follow, Input, Offer, Resume, Start, Stop, Unfollow
from keyside.core.limits import Deadline
from keyside.core.message import closed
from keyside.core.run import BOUND, ENDED, Run, RunRequest, State
from keyside.core.step import step
from keyside.core.transcript import transcribe
from keyside.core.tree import below
from keyside.services.ports import ChatLog, Conflict
from tests.contracts.logs import (
    ASSIGNMENT,
    LATE,
    LIMITS,
    OWNER,
    MemoryShelf,
    SqlShelf,
    Writer,
    grown,
    make_template,
    stepped,
)
from tests.core.lines import text_line

SEEDS = range(5)
KEPT: list[int] = []
"""Seeds that found something once."""
STEPS = 100


class Twins:
    """Both logs. They get the same commits, in groups, and the same queries."""

    def __init__(self, seed: int, sql: SqlShelf) -> None:
        self.dice = Random(seed)
        self.sql = sql
        self.memory = MemoryShelf()
        self.writers: list[Writer] = []
        self.runs: dict[str, Run] = {}
        self.time = 100.0
        self.comebacks = 0

    @property
    def logs(self) -> tuple[ChatLog, ChatLog]:
        return self.memory.log, self.sql.log

    async def run(self) -> None:
        for _ in range(2):
            await self.new_chat()
        for _ in range(STEPS):
            await self.dice.choices(ACTIONS, WEIGHTS)[0](self)
            if self.dice.random() < 0.4:
                await self.compare()
        await self.sql.reopen()
        await self.compare()

    # --- what can happen

    async def new_chat(self) -> None:
        self.time += 1
        made = [await log.new_chat(OWNER, "", self.time) for log in self.logs]
        assert made[0] == made[1]
        self.writers.append(Writer(self.memory.log, made[0]))

    async def ask(self) -> None:
        writer = self.dice.choice(self.writers)
        id = f"r{len(self.runs)}"
        messages = (await self.memory.log.messages(OWNER, writer.chat.id)).messages
        parent = self.dice.choice([None, *(message.id for message in messages)])
        message = writer.message(f"a-{id}", parent, status="streaming", run_id=id)
        grace = self.dice.choice([None, 5.0])
        until = self.time + self.dice.randrange(200)
        run = self.runs[id] = writer.run(
            id,
            message.id,
            request=RunRequest(model="test/m", caller_grace=grace),
            waits_until=until,
            deadline=Deadline(until, "no_executor"),
        )
        await self.commit((writer, [message, run, writer.headed(message.id)]))

    async def write(self) -> None:
        """Some of the running runs have a frame in the same moment; one of them may be wrong."""
        group: list[tuple[Writer, list[Change]]] = []
        for run in self.living(BOUND):
            if self.dice.random() < 0.9:
                lines = tuple(text_line(f"{run.id}.{run.expected + n} ") for n in range(self.dice.randrange(1, 4)))
                wrong = self.dice.random() < 0.1
                after = grown(run, lines)
                index = run.expected + (self.dice.choice([-1, 1]) if wrong else 0)
                stale = self.dice.random() < 0.05
                told = replace(run, version=run.version - 1) if stale else run
                frame = FrameLines(run.attempt, index, lines)
                group.append((self.writer_of(run), [LinesAdded(told, frame)]))
                wrong = wrong or stale
                if not wrong:
                    self.runs[run.id] = after
        await self.commit(*group)

    async def change(self) -> None:
        """A run goes where it can go from here."""
        alive = [run for run in self.living(set(State)) if not run.final]
        if not alive:
            return
        run = self.dice.choice(alive)
        possible = likely(run)
        input = self.dice.choice(possible)
        after, _ = step(run, input, LATE if isinstance(input, Expire) else self.time, LIMITS)
        if after is run:
            return
        self.comebacks += run.state is State.INTERRUPTED and after.state is State.STREAMING
        changes: list[Change] = [after]
        if after.state in ENDED and run.state not in ENDED:
            changes = await self.ending(run, after)
        self.runs[run.id] = after
        await self.commit((self.writer_of(run), changes))

    async def ending(self, run: Run, after: Run) -> list[Change]:
        message = await self.memory.log.message(OWNER, run.message_id)
        assert message is not None
        draft = transcribe(await self.memory.log.lines(run))
        return [closed(message, after, draft, self.time), after]

    async def remove(self) -> None:
        """A message and all below it, and their runs, which end in the same moment."""
        writer = self.dice.choice(self.writers)
        messages = (await self.memory.log.messages(OWNER, writer.chat.id)).messages
        if not messages:
            return
        gone = below([(m.id, m.parent_id) for m in messages], self.dice.choice(messages).id)
        over = [run for run in self.runs.values() if run.message_id in gone]
        stopped = [stepped(run, Stop(), self.time) for run in over if not run.final]
        for run in over:
            del self.runs[run.id]
            self.runs[f"removed {run.id}"] = run
        await self.commit((writer, [*stopped, Removed(tuple(gone)), writer.headed(None)]))

    async def delete(self) -> None:
        if len(self.writers) > 2:
            writer = self.writers.pop(self.dice.randrange(len(self.writers)))
            await self.commit((writer, [writer.headed(None)]), deletes=True)
            for log in self.logs:
                assert await log.read(writer.chat.id, after=0) is None
            for run in [run for run in self.runs.values() if run.chat_id == writer.chat.id]:
                self.runs.pop(run.id, None)
                self.runs[f"removed {run.id}"] = run

    async def conflict(self) -> None:
        """Commits a stale change among good ones, which must leave nothing."""
        runs = [run for run in self.living(set(State)) if run.version > 0]
        if runs:
            run = self.dice.choice(runs)
            writer = self.writer_of(run)
            await self.commit((writer, [writer.message("never", content="x"), run]))

    async def reopen(self) -> None:
        await self.sql.reopen()

    async def shift(self) -> None:
        for log in self.logs:
            await log.shift_deadlines(7)
        for run in self.living({State.QUEUED, State.INTERRUPTED}):
            stored = await self.memory.log.run(OWNER, run.id)
            assert stored is not None
            self.runs[run.id] = stored

    # --- on both

    def living(self, states: Any) -> list[Run]:
        return [run for id, run in self.runs.items() if not id.startswith("removed") and run.state in states]

    def writer_of(self, run: Run) -> Writer:
        return next(writer for writer in self.writers if writer.chat.id == run.chat_id)

    async def commit(self, *group: tuple[Writer, list[Change]], deletes: bool = False) -> None:
        self.time += 1
        transactions = [Changes(OWNER, writer.chat.id, self.time, tuple(some), deletes) for writer, some in group]
        first, second = [
            await asyncio.gather(*(log.commit(one) for one in transactions), return_exceptions=True)
            for log in self.logs
        ]
        assert [outcome(result) for result in first] == [outcome(result) for result in second]

    async def compare(self) -> None:
        memory, sql = self.logs
        ids = [writer.chat.id for writer in self.writers]
        assert await sql.heads(ids) == await memory.heads(ids)
        assert await sql.chats(OWNER, limit=9) == await memory.chats(OWNER, limit=9)
        assert await sql.left_at_home() == await memory.left_at_home()
        assert await sql.runs_of(ASSIGNMENT.key) == await memory.runs_of(ASSIGNMENT.key)
        for user_id in (OWNER, None):
            queued = [await log.queued(user_id, limit=100) for log in self.logs]
            assert [run for _, run in queued[0]] == [run for _, run in queued[1]]
        assert await sql.due(self.time, limit=9) == await memory.due(self.time, limit=9)
        assert await sql.next_deadline() == await memory.next_deadline()
        id = self.dice.choice(ids)
        assert await sql.runs_in(id) == await memory.runs_in(id)
        assert await sql.changed_at(id) == await memory.changed_at(id)
        assert await sql.floor(id) == await memory.floor(id)
        after = self.dice.randrange((await memory.heads([id]))[id] + 2)
        assert await self.events(sql, id, after) == await self.events(memory, id, after)
        assert await sql.messages(OWNER, id) == await memory.messages(OWNER, id)
        limit = self.dice.randrange(1, 9)
        assert await sql.view(id, limit=limit) == await memory.view(id, limit=limit)
        links = await sql.links(OWNER, id)
        assert links == await memory.links(OWNER, id)
        if links:
            leaf = self.dice.choice(links)[0]
            assert await sql.branch(OWNER, id, leaf) == await memory.branch(OWNER, id, leaf)
        if self.runs:
            run = self.dice.choice(list(self.runs.values()))
            assert await sql.lines(run) == await memory.lines(run)
            assert await sql.run(OWNER, run.id) == await memory.run(OWNER, run.id)
            if run.channel:
                assert await sql.run_on(run.channel) == await memory.run_on(run.channel)

    async def events(self, log: ChatLog, chat_id: int, after: int) -> Any:
        entries = await log.read(chat_id, after=after)
        return entries and [entry.payload for entry in entries]


def likely(run: Run) -> list[Input]:
    """What can happen to a run; going away and coming back most of all."""
    offer, claim, back = Offer(ASSIGNMENT, f"c-{run.id}"), Start(run.attempt), Resume(run.attempt)
    away, late = Disconnect(run.attempt), Expire()
    table: dict[State, list[Input]] = {
        State.QUEUED: [offer, offer, Follow("c"), Unfollow("c")],
        State.OFFERED: [claim, claim, claim, away],
        State.STREAMING: [away, away, away, away, Finish("stop"), Stop()],
        State.SUSPENDED: [late, late, late, back, Finish("stop")],
        State.INTERRUPTED: [back, back, back, back, back, Stop(), late],
    }
    return table.get(run.state, [])


def outcome(result: Any) -> Any:
    """The numbers and payloads of a commit, or the refusal."""
    if isinstance(result, tuple):
        return [entry.payload for entry in result if isinstance(entry, Entry)]
    assert isinstance(result, Conflict), result
    return "conflict"


ACTIONS = [
    Twins.new_chat,
    Twins.ask,
    Twins.write,
    Twins.change,
    Twins.remove,
    Twins.delete,
    Twins.conflict,
    Twins.reopen,
    Twins.shift,
]
WEIGHTS = [1, 10, 30, 60, 2, 1, 4, 8, 3]


@pytest.mark.rule("D1", "D3", "R4", "R8", "R9", "V2", "V3")
@pytest.mark.parametrize("seed", sorted({*SEEDS, *KEPT}))
async def test_a_log_in_sql_and_one_in_memory_cannot_be_told_apart(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:  # running runs have rows of their own all the time
        monkeypatch.setattr(committed, "MOST_ROWS", 4)
    template = await make_template(tmp_path / "template")
    (tmp_path / "data").mkdir()
    sql = SqlShelf(tmp_path / "data", template)
    await sql.open()
    try:
        await Twins(seed, sql).run()
        assert examine(sql.database).findings == []
    finally:
        await sql.close()
