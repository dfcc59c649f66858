"""Seeded schedules on two logs at once: the SQL log, reopened at any moment, must give the same results as memory."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest

from keyside.core.changes import Change, Changes, Entry, Removed, Written
from keyside.core.inputs import Expire, Finish, Input, Lose, Offer, Return, Start, Stop
from keyside.core.message import closed
from keyside.core.run import BOUND, ENDED, Run, State, step
from keyside.core.transcript import transcribe
from keyside.core.tree import below
from keyside.services.ports import ChatLog, Conflict
from keyside.testing import text_line
from tests.contracts.logs import ASSIGNMENT, OWNER, MemoryShelf, SqlShelf, Writer, grown, make_template

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
        messages = await self.memory.log.messages(OWNER, writer.chat.id)
        parent = self.dice.choice([None, *(message.id for message in messages)])
        message = writer.message(f"a-{id}", parent, status="streaming", run_id=id)
        run = self.runs[id] = writer.run(id, message.id)
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
                group.append((self.writer_of(run), [Written(after, index, lines)]))
                if not wrong:
                    self.runs[run.id] = after
        await self.commit(*group)

    async def change(self) -> None:
        """Takes a run to one of the states that it can reach."""
        alive = [run for run in self.living(set(State)) if is_open(run)]
        if not alive:
            return
        run = self.dice.choice(alive)
        possible = likely(run)
        after, _ = step(run, self.dice.choice(possible), self.time)
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
        messages = await self.memory.log.messages(OWNER, writer.chat.id)
        if not messages:
            return
        gone = below([(m.id, m.parent_id) for m in messages], self.dice.choice(messages).id)
        over = [run for run in self.runs.values() if run.message_id in gone]
        stopped = [step(run, Stop(), self.time)[0] for run in over if is_open(run)]
        for run in over:
            del self.runs[run.id]
            self.runs[f"removed {run.id}"] = run
        await self.commit((writer, [*stopped, Removed(tuple(gone)), writer.headed(None)]))

    async def delete(self) -> None:
        if len(self.writers) > 2:
            writer = self.writers.pop(self.dice.randrange(len(self.writers)))
            for log in self.logs:
                await log.delete_chat(OWNER, writer.chat.id)
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

    # --- on both

    def living(self, states: Any) -> list[Run]:
        return [run for id, run in self.runs.items() if not id.startswith("removed") and run.state in states]

    def writer_of(self, run: Run) -> Writer:
        return next(writer for writer in self.writers if writer.chat.id == run.chat_id)

    async def commit(self, *group: tuple[Writer, list[Change]]) -> None:
        self.time += 1
        transactions = [Changes(OWNER, writer.chat.id, self.time, tuple(changes)) for writer, changes in group]
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
        assert await sql.unfinished() == await memory.unfinished()
        id = self.dice.choice(ids)
        after = self.dice.randrange((await memory.heads([id]))[id] + 2)
        assert await self.events(sql, id, after) == await self.events(memory, id, after)
        assert await sql.messages(OWNER, id) == await memory.messages(OWNER, id)
        limit = self.dice.randrange(1, 9)
        views = [await log.view(id, limit=limit) for log in self.logs]
        assert [shown(view) for view in views[1:]] == [shown(views[0])]
        if self.runs:
            run = self.dice.choice(list(self.runs.values()))
            assert await sql.lines(run) == await memory.lines(run)

    async def events(self, log: ChatLog, chat_id: int, after: int) -> Any:
        entries = await log.read(chat_id, after=after)
        return entries and [entry.payload for entry in entries]


def likely(run: Run) -> list[Input]:
    """The inputs to choose from for a run. Losing its executor and its return are the most likely ones."""
    offer, claim, back = Offer(ASSIGNMENT, f"c{run.attempt}"), Start(run.attempt), Return(run.attempt)
    away, late = Lose(), Expire("executor_lost")
    table: dict[State, list[Input]] = {
        State.QUEUED: [offer],
        State.OFFERED: [claim, claim, claim, away],
        State.STREAMING: [away, away, away, away, Finish("stop"), Stop()],
        State.SUSPENDED: [late, late, late, back, Finish("stop")],
        State.INTERRUPTED: [back, back, back, back, back, Stop(), late],
    }
    return table.get(run.state, [])


def is_open(run: Run) -> bool:
    return run.state not in ENDED or (run.state is State.INTERRUPTED and run.closed_by is None)


def outcome(result: Any) -> Any:
    """The numbers and payloads of a commit, or the refusal."""
    if isinstance(result, tuple):
        return [entry.payload for entry in result if isinstance(entry, Entry)]
    assert isinstance(result, Conflict), result
    return "conflict"


def shown(view: Any) -> Any:
    """A snapshot. Of running runs only their rows are told: how far they are stands in the text."""
    runs = {(run.id, run.state, run.version) for run in view.runs}
    return view.chat, view.messages, runs, view.siblings, view.earlier, view.seq


ACTIONS = [
    Twins.new_chat,
    Twins.ask,
    Twins.write,
    Twins.change,
    Twins.remove,
    Twins.delete,
    Twins.conflict,
    Twins.reopen,
]
WEIGHTS = [1, 10, 30, 60, 2, 1, 4, 8]


@pytest.mark.rule("D1", "D3", "R4", "R8", "R9", "V2", "V3")
@pytest.mark.parametrize("seed", sorted({*SEEDS, *KEPT}))
async def test_a_log_in_sql_and_one_in_memory_cannot_be_told_apart(seed: int, tmp_path: Path) -> None:
    template = await make_template(tmp_path / "template")
    (tmp_path / "data").mkdir()
    sql = SqlShelf(tmp_path / "data", template)
    await sql.open()
    try:
        await Twins(seed, sql).run()
    finally:
        await sql.close()
