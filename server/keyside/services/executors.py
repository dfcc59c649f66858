"""What executors say: they announce themselves, claim runs, send frames, and go away."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from keyside.core.inputs import Expire, Fail, Finish, Input, Lines, Lose, Return, Start, Stop
from keyside.core.run import BOUND, Refused, Run, State
from keyside.core.transcript import read_piece
from keyside.protocol import wire
from keyside.protocol.entities import Executor
from keyside.protocol.errors import KeysideError, failure
from keyside.services.inbox import Inbox
from keyside.services.orchestrator import Live, Orchestrator
from keyside.services.ports import ChatLog
from keyside.services.presence import Presence, Present, Socket


class Executors:
    """The executors' side of a run. `on_replaced` is called with the socket that a newer instance took over from."""

    def __init__(self, orchestrator: Orchestrator, presence: Presence, chat_log: ChatLog) -> None:
        self._orchestrator = orchestrator
        self._presence = presence
        self._log = chat_log
        self._inboxes: dict[str, Inbox] = {}
        self.on_replaced: Callable[[str], None] = lambda session_id: None
        self.on_change: Callable[[int], None] = lambda user_id: None

    async def start(self) -> None:
        """Takes over what the last process left (R8): bound runs wait for their executor, offers for their claim."""
        for run in await self._log.unfinished():
            live = self._orchestrator.adopt(run)
            if run.state in (State.OFFERED, State.SUSPENDED):
                self._orchestrator.begin_anew(live)
            if run.ask.caller:
                await self._orchestrator.feed(live.key, Stop())  # the program that called is gone
            elif run.state in BOUND and run.assignment and not run.assignment.framed:
                await self._orchestrator.feed(live.key, *_lost(run))
            elif run.state is State.STREAMING:
                await self._orchestrator.feed(live.key, Lose())

    # --- announcing ------------------------------------------------------------------------------

    async def ready(self, session_id: str, ready: wire.ExecutorReady) -> wire.ReadyAck:
        """`executor:ready`: announces, updates and resumes (E1)."""
        socket = self._presence.socket(session_id)
        if socket is None:
            raise KeysideError("not_ready")
        present, before = await self._presence.announce(socket, ready)
        if before is not None and before.instance != present.instance:
            self.on_replaced(before.socket.session_id)
        verdicts = await self._resume(present)
        self.on_change(socket.user_id)
        return wire.ReadyAck(executor=self._shown(present), runs=verdicts)

    def _shown(self, present: Present) -> Executor:
        socket = present.socket
        executors = self._presence.executors(socket.user_id, lambda key: len(self._of(key)))
        return next(e for e in executors if e.id == present.ready.executor_id)

    def _of(self, key: str) -> list[Live]:
        """The runs that are with an executor."""
        return [live for live in self._orchestrator.live() if live.run.assignment and live.run.assignment.key == key]

    async def _resume(self, present: Present) -> list[wire.Verdict]:
        """What becomes of each run that it holds; what it should hold and does not is lost.

        A run that was offered on this very socket is not: its offer and the list of what is held crossed each other.
        """
        held = {(hold.run_id, hold.attempt) for hold in present.ready.holds}
        verdicts = {hold: wire.Verdict(run_id=hold[0], attempt=hold[1], verdict="drop") for hold in held}
        for live in self._of(present.key):
            run = live.run
            if (run.id, run.attempt) in held:
                verdicts[run.id, run.attempt] = await self._continue(live, present)
            elif run.assignment and run.assignment.session_id != present.socket.session_id:
                await self._orchestrator.feed(live.key, *_lost(run))
        return list(verdicts.values())

    async def _continue(self, live: Live, present: Present) -> wire.Verdict:
        run = live.run
        back = Return(run.attempt)

        def if_still_here(_: Run) -> Input | None:
            """The socket may have gone since it announced: nobody would notice again that the executor is away."""
            return back if self._presence.session_of(present.key) == present.socket.session_id else None

        if run.state is not State.OFFERED:
            try:
                run = await self._orchestrator.feed(live.key, if_still_here)
            except Refused:
                return wire.Verdict(run_id=run.id, attempt=run.attempt, verdict="drop")
        return wire.Verdict(run_id=run.id, attempt=run.attempt, verdict="continue", expected=run.expected)

    async def gone(self, session_id: str) -> None:
        """A socket went away: what it was running is suspended, offered anew, or, if it was plain, interrupted."""
        socket = self._presence.socket(session_id)
        present = self._presence.disconnect(session_id)
        if present is not None:
            for live in self._of(present.key):
                await self._orchestrator.feed(live.key, _if_here)
        for live in self._of(session_id):
            await self._catch_up(live)
        if socket is not None and present is not None:
            self.on_change(socket.user_id)

    async def reconcile(self) -> None:
        """Stores what could not be stored while the store was away: plain lines, and that executors went (D4)."""
        for live in self._orchestrator.live():
            assignment = live.run.assignment
            if assignment is None or live.run.state not in (State.OFFERED, State.STREAMING):
                continue
            if assignment.framed and self._presence.session_of(assignment.key) is None:
                await self._orchestrator.feed(live.key, _if_here)
            elif not assignment.framed:
                await self._catch_up(live)

    async def _catch_up(self, live: Live) -> None:
        """Stores what a plain executor has sent, and after it that it went, if it did."""
        with suppress(Refused):  # it has ended meanwhile
            await self._store_inbox(live)
        if live.run.assignment and self._presence.socket(live.run.assignment.session_id) is None:
            await self._orchestrator.feed(live.key, *_lost(live.run))

    # --- frames ----------------------------------------------------------------------------------

    async def frame(self, session_id: str, channel: str, payload: object) -> wire.FrameAck | wire.Refusal | wire.Ack:
        """Something on a channel: a frame, or what a plain executor sends. Raises `KeysideError` or `Refused`."""
        live = self._orchestrator.by_channel(channel)
        socket = self._presence.socket(session_id)
        if live is None or socket is None:
            raise KeysideError("unknown_event", f"The server does not know the event {channel[:100]!r}.")
        assignment = live.run.assignment
        if assignment is not None and not assignment.framed:
            return await self._plain(live, session_id, payload)
        frame = wire.Frame.model_validate(payload)
        if frame.attempt == live.run.attempt:
            self._check_sender(live.run, socket)
        return await self._framed(live, frame)

    def _check_sender(self, run: Run, socket: Socket) -> None:
        """E11: only the socket that announced the executor may send."""
        assignment = run.assignment
        assert assignment is not None
        present = self._presence.executor_of(socket.session_id)
        if present is not None and present.key == assignment.key:
            return
        here = self._presence.session_of(assignment.key) is not None
        raise KeysideError("not_yours" if present is not None or here else "not_ready")

    async def _framed(self, live: Live, frame: wire.Frame) -> wire.FrameAck | wire.Refusal:
        long = _too_long(frame.lines)
        if long is not None:
            broken = failure("line_too_long")
            lines = tuple(frame.lines[:long])
            piece = read_piece(frame.attempt, frame.index, lines)
            run = await self._orchestrator.feed(live.key, Fail(broken, piece))
            return wire.Refusal(error=broken, expected=run.expected)
        if _exceeds(frame.lines, wire.MAX_FRAME):
            raise KeysideError("too_large", "A frame holds at most 2 MiB.")
        run = await self._orchestrator.feed_here(live.key, lambda run: _input_of(run, frame))
        return wire.FrameAck(expected=run.expected)

    # --- plain executors -------------------------------------------------------------------------

    async def _plain(self, live: Live, session_id: str, payload: object) -> wire.Ack:
        """Bare lines count in the order in which they arrive (E6): so nothing is awaited before they are queued."""
        run = live.run
        if run.assignment is None or run.assignment.session_id != session_id:
            raise KeysideError("not_yours")
        inbox = self._inboxes.setdefault(run.channel or "", Inbox(run.expected))
        if isinstance(payload, str):
            inbox.put(payload)
        elif isinstance(payload, dict) and payload.get("done") is True:
            inbox.end()
        else:
            raise KeysideError("bad_request", "A plain executor sends lines as strings, and {done: true} at the end.")
        await self._store_inbox(live)
        return wire.Ack()

    async def answered(self, live: Live, channel: str, lines: Sequence[str]) -> None:
        """A plain executor's whole answer, as lines. An answer to an earlier offer changes nothing (C8)."""
        if live.run.channel != channel:
            return
        inbox = self._inboxes.setdefault(channel, Inbox(live.run.expected))
        inbox.keep(lines)
        inbox.end()
        await self._store_inbox(live)

    async def _store_inbox(self, live: Live) -> None:
        """Stores what a plain executor has sent; where that fails, it is tried again when the store is back."""
        inbox = self._inboxes.get(live.run.channel or "")
        if inbox is None:
            return
        try:
            await self._orchestrator.feed(live.key, inbox.take)
        finally:
            if live.run.state not in BOUND:
                self._inboxes.pop(live.run.channel or "", None)


def _too_long(lines: Sequence[str]) -> int | None:
    """The position of the first line that has too many bytes."""
    if not _exceeds(lines, wire.MAX_LINE):
        return None
    return next((at for at, line in enumerate(lines) if _exceeds([line], wire.MAX_LINE)), None)


def _exceeds(lines: Sequence[str], limit: int) -> bool:
    """Whether the lines have more bytes of UTF-8; they are counted only where it can matter."""
    if sum(map(len, lines)) * 4 <= limit:
        return False
    return sum(len(line.encode(errors="replace")) for line in lines) > limit


def _input_of(run: Run, frame: wire.Frame) -> Input:
    """What a frame says to its run."""
    lines = tuple(frame.lines)
    piece = read_piece(frame.attempt, frame.index, lines)
    if not frame.done:
        claims = run.state is State.OFFERED and not lines and frame.index == 0
        return Start(frame.attempt) if claims else Lines(piece)
    reason = frame.finish.reason if frame.finish else "stop"
    error = frame.finish.error if frame.finish else None
    if reason == "aborted":
        return Stop(piece=piece)
    if reason == "truncated":
        return Fail(error or failure("upstream_truncated"), piece)
    if reason == "error":
        return Fail(error or failure("upstream_error"), piece)
    return Finish(reason, piece)


def _if_here(run: Run) -> Input | None:
    """The executor went: its claims and offers are lost for now."""
    return Lose() if run.state in (State.OFFERED, State.STREAMING) else None


def _lost(run: Run) -> list[Callable[[Run], Input | None]]:
    """The executor has forgotten the run, or cannot come back to it: it is lost at once (E1).

    A later attempt, offered while this waited for its turn, is not.
    """

    def this(now: Run) -> Input | None:
        return _if_here(now) if now.attempt == run.attempt else None

    return [this, lambda now: Expire("executor_lost") if now.state is State.SUSPENDED else None]
