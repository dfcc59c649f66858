"""Any schedule of faults: the run ends once, was started once, and has every line of the upstream."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from keyside.core.frames import FrameLines
from keyside.core.inputs import (
    Answered,
    CloseMessage,
    Decline,
    Disconnect,
    Expire,
    Finish,
    Input,
    Offer,
    Recover,
    ReopenMessage,
    Resume,
    Start,
)
from keyside.core.run import BOUND, ENDED, Run, State
from keyside.core.step import Refused, step
from keyside.core.transcript import transcribe
from tests.core.lines import DONE, text_line
from tests.core.runs import ASSIGNMENT, BUSY, LIMITS, OTHER, queued

FAIR_ROUNDS = 12


@dataclass(frozen=True)
class Frame:
    """What an executor sends: a claim is a frame without lines."""

    attempt: int
    index: int
    lines: tuple[str, ...] = ()
    done: bool = False


@dataclass(frozen=True)
class Answer:
    """What the server acknowledges, or refuses with a code."""

    attempt: int
    expected: int | None
    code: str | None = None


@dataclass
class Attempt:
    """An executor's own record of one attempt: it keeps what is not acknowledged, and asks upstream once."""

    number: int
    upstream: tuple[str, ...]
    claimed: bool = False
    asked: int = 0
    received: int = 0
    """Lines that the upstream has delivered."""
    acknowledged: int = 0
    sent: int = 0
    over: bool = False
    ended_by_others: bool = False

    def claim(self) -> Frame:
        return Frame(self.number, 0)

    def next_frame(self, most: int) -> Frame | None:
        """The next lines to send, or the end; `None` where there is nothing new to say."""
        if not self.claimed:
            return self.claim()
        lines = self.upstream[self.sent : min(self.received, self.sent + most)]
        done = self.sent + len(lines) == len(self.upstream) == self.received
        if not lines and not done:
            return None
        frame = Frame(self.number, self.sent, lines, done)
        self.sent += len(lines)
        return frame

    def go_on_from(self, expected: int) -> None:
        """What was acknowledged is forgotten, so an older answer cannot bring it back."""
        self.sent = max(expected, self.acknowledged)

    def hear(self, answer: Answer) -> None:
        if answer.code in ("stale_attempt", "run_ended"):
            self.over = True
            self.ended_by_others = answer.code == "run_ended"
        elif answer.code == "gap":
            assert answer.expected is not None
            self.go_on_from(answer.expected)
        elif answer.code is None:
            assert answer.expected is not None
            if not self.claimed:
                self.claimed = True
                self.asked += 1
            self.acknowledged = max(self.acknowledged, answer.expected)
            self.sent = max(self.sent, self.acknowledged)


@dataclass
class Server:
    """The service's part: inputs through `step`, effects into a store."""

    run: Run
    lines: list[str] = field(default_factory=list)
    written: int = 0
    """How often the message was closed, less how often it was opened again."""
    starts: int = 0
    now: float = 1000.0

    def apply(self, input: Input) -> None:
        self.now += 1
        before = self.run
        after, effects = step(before, input, self.now, LIMITS)
        for effect in effects:
            if isinstance(effect, FrameLines):
                assert effect.index == len(self.lines)
                self.lines += effect.lines
            self.written += isinstance(effect, CloseMessage) - isinstance(effect, ReopenMessage)
        self.starts += before.state is State.OFFERED and after.state is State.STREAMING
        self.run = after
        assert after.expected == len(self.lines)
        assert self.written == (after.state in ENDED)

    def let_time_pass(self) -> None:
        """Until the present limit is over."""
        assert self.run.deadline is not None
        self.now = max(self.now, self.run.deadline.at)
        self.apply(Expire())

    def hear(self, frame: Frame) -> Answer:
        try:
            self.apply(self.meaning(frame))
        except Refused as refused:
            return Answer(frame.attempt, refused.expected, refused.code)
        return Answer(frame.attempt, self.run.expected)

    def meaning(self, frame: Frame) -> Input:
        lines = FrameLines(frame.attempt, frame.index, frame.lines)
        if frame.done:
            return Finish("stop", lines)
        claims = self.run.state is State.OFFERED and frame == Frame(frame.attempt, 0)
        return Start(frame.attempt) if claims else lines


class World:
    """One run, two executors that live through everything, and a link that loses, doubles and reorders."""

    def __init__(self, upstream: tuple[str, ...]) -> None:
        self.upstream = upstream
        self.server = Server(queued())
        self.to_server: list[Frame] = []
        self.to_executor: list[Answer] = []
        self.attempts: dict[int, Attempt] = {}
        self.online = [True, True]
        self.assignments = [ASSIGNMENT, OTHER]
        self.pending: int | None = None
        """The offer that waits for its executor's callback."""
        self.not_waited_for = False
        """The finish reason was stored, and the executor stayed away too long (E7)."""

    @property
    def run(self) -> Run:
        return self.server.run

    def holder(self) -> int:
        """Which executor the present attempt is with."""
        return 1 if self.run.assignment == OTHER else 0

    # --- what can happen, at any moment; a number chooses among what there is

    def begin(self) -> None:
        """Straight on to where the upstream is being read."""
        self.offer(0)
        self.accept(0)
        self.deliver_frame(0)
        self.deliver_answer(0)
        self.upstream_speaks(3)

    def offer(self, n: int) -> None:
        if self.run.state is State.QUEUED and self.online[n % 2]:
            self.server.apply(Offer(self.assignments[n % 2], f"c{self.run.attempt + 1}"))
            self.pending = self.run.attempt

    def accept(self, _n: int) -> None:
        """The executor says yes and claims; the offer may have been taken back in the meantime."""
        if self.pending is not None:
            self.server.apply(Answered(self.pending))
            made = self.attempts[self.pending] = Attempt(self.pending, self.upstream)
            self.to_server.append(made.claim())
            self.pending = None

    def decline(self, _n: int) -> None:
        """The executor says no, which counts only as long as the offer stands."""
        if self.pending is not None:
            self.server.apply(Decline(self.pending, BUSY))
            self.pending = None

    def callback_timeout(self, _n: int) -> None:
        """The server gives up on the offer, while the executor may still claim it."""
        if self.run.state is State.OFFERED:
            self.server.let_time_pass()

    def upstream_speaks(self, n: int) -> None:
        for attempt in self.attempts.values():
            if attempt.claimed:
                attempt.received = min(len(self.upstream), attempt.received + 1 + n)

    def send(self, n: int) -> None:
        """Pipelined: nobody waits for an acknowledgement."""
        for attempt in self.attempts.values():
            frame = None if attempt.over else attempt.next_frame(1 + n)
            if frame is not None:
                self.to_server.append(frame)

    def resend(self, n: int) -> None:
        """No acknowledgement came: again from the last one, in frames of another size, so that they overlap."""
        for attempt in self.attempts.values():
            attempt.go_on_from(attempt.acknowledged)
        self.send(n)

    def deliver_frame(self, n: int) -> None:
        if self.to_server:
            self.arrive(self.to_server.pop(n % len(self.to_server)))

    def repeat_frame(self, n: int) -> None:
        if self.to_server:
            self.arrive(self.to_server[n % len(self.to_server)])

    def arrive(self, frame: Frame) -> None:
        """E1: frames of the present attempt count only while its executor has announced itself."""
        if frame.attempt == self.run.attempt and not self.online[self.holder()]:
            self.to_executor.append(Answer(frame.attempt, None, "not_ready"))
        else:
            self.to_executor.append(self.server.hear(frame))

    def lose_frame(self, n: int) -> None:
        if self.to_server:
            self.to_server.pop(n % len(self.to_server))

    def deliver_answer(self, n: int) -> None:
        if self.to_executor:
            answer = self.to_executor.pop(n % len(self.to_executor))
            self.attempts[answer.attempt].hear(answer)

    def lose_answer(self, n: int) -> None:
        if self.to_executor:
            self.to_executor.pop(n % len(self.to_executor))

    def go_away(self, n: int) -> None:
        """The holder's socket breaks; what is in flight may still arrive."""
        away = n % 2
        self.online[away] = False
        if away == self.holder():
            self.server.apply(Disconnect(self.run.attempt))

    def restart(self, _n: int) -> None:
        """The server's process is killed; the next one takes over what was at home in it."""
        self.online = [False, False]
        self.server.apply(Recover())

    def grace_is_over(self, _n: int) -> None:
        if self.run.state is State.SUSPENDED:
            self.server.let_time_pass()
            self.not_waited_for = self.is_done()

    def come_back(self, n: int) -> None:
        """The executor announces itself with what it holds, and goes on from what it is told."""
        back = n % 2
        self.online[back] = True
        attempt = self.attempts.get(self.run.attempt)
        if back != self.holder() or attempt is None or attempt.over:
            return
        if self.run.state is State.OFFERED:
            return
        try:
            self.server.apply(Resume(attempt.number))
        except Refused:
            attempt.over = True
        else:
            if attempt.claimed:  # else it claims again, and asks upstream when that is acknowledged
                attempt.hear(Answer(attempt.number, self.run.expected))
                attempt.go_on_from(self.run.expected)

    # --- and in the end everything gets through

    def finish(self) -> None:
        for _ in range(FAIR_ROUNDS):
            if self.settled():
                return
            for who in (0, 1):
                self.come_back(who)
            self.offer(0)
            self.accept(0)
            self.upstream_speaks(len(self.upstream))
            self.resend(len(self.upstream))
            while self.to_server:
                self.deliver_frame(0)
            while self.to_executor:
                self.deliver_answer(0)

    def is_done(self) -> bool:
        return self.run.state is State.DONE

    def settled(self) -> bool:
        """The run is done, and its executor may forget it: all is acknowledged, or it was told to drop it."""
        attempt = self.attempts.get(self.run.attempt)
        free = attempt is not None and (attempt.over or attempt.acknowledged == len(self.upstream))
        return self.is_done() and free


Action = Callable[[World, int], None]
ACTIONS: list[Action] = [
    World.offer,
    World.accept,
    World.decline,
    World.callback_timeout,
    World.upstream_speaks,
    World.send,
    World.resend,
    World.deliver_frame,
    World.deliver_frame,
    World.deliver_frame,
    World.repeat_frame,
    World.lose_frame,
    World.deliver_answer,
    World.deliver_answer,
    World.lose_answer,
    World.go_away,
    World.restart,
    World.come_back,
    World.grace_is_over,
]

texts = st.text(st.sampled_from('ab \n"\\</think>語🙂é'), max_size=6)
schedules = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7)), min_size=10, max_size=80)


@pytest.mark.rule("D2", "E3", "E4", "E5", "E7", "R1", "R4")
@settings(max_examples=200)
@given(words=st.lists(texts, min_size=1, max_size=12), begun=st.booleans(), schedule=schedules, ends=st.booleans())
def test_whatever_happens_on_the_way_the_run_ends_once_with_every_line_of_one_upstream_call(
    words: list[str], begun: bool, schedule: list[tuple[Action, int]], ends: bool
) -> None:
    lines = [*map(text_line, words), text_line("", finish_reason="stop")]
    upstream = (*lines, DONE) if ends else tuple(lines)
    world = World(upstream)
    if begun:
        world.begin()
    for action, n in schedule:
        action(world, n)
        assert world.run.state in BOUND | ENDED or not world.server.starts
        assert tuple(world.server.lines) == upstream[: len(world.server.lines)]
    event(f"in mid-schedule it was {world.run.state}")
    world.finish()
    assert world.settled(), world.run
    assert tuple(world.server.lines) == (tuple(lines) if world.not_waited_for else upstream)
    assert transcribe(world.server.lines).content == "".join(words)
    assert world.run.finish_reason == "stop"
    assert world.not_waited_for or not any(attempt.ended_by_others for attempt in world.attempts.values())
    assert world.server.starts == 1
    assert sum(attempt.asked for attempt in world.attempts.values()) == 1
    assert world.server.written == 1
