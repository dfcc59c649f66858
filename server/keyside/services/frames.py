"""What comes on the channel of an attempt: frames, and what plain executors send (E5, E6)."""

import re
from collections.abc import Callable, Sequence

from keyside.core.frames import FrameLines
from keyside.core.inputs import Fail, Finish, Input, Stop
from keyside.core.limits import Limits
from keyside.core.run import Run, channel_of
from keyside.core.step import Refused, step
from keyside.protocol import wire
from keyside.protocol.errors import KeysideError, failure
from keyside.services.connections import Socket
from keyside.services.plain import PlainExecutors
from keyside.services.ports import ChatLog, Clock
from keyside.services.presence import Presence
from keyside.services.runs import Runs

_CHANNEL = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[0-9]{1,9})?")
"""The form of all names of channels; another one is not looked up."""

Done = Callable[[Run | Exception], None]
Reply = wire.FrameAck | wire.Refusal | wire.Ack


class Frames:
    """The executors' side of a stream. Every method raises `KeysideError`, or `Refused` with what the run waits for."""

    def __init__(
        self, runs: Runs, presence: Presence, plain: PlainExecutors, chat_log: ChatLog, clock: Clock, limits: Limits
    ) -> None:
        self._runs = runs
        self._presence = presence
        self._plain = plain
        self._log = chat_log
        self._clock = clock
        self._limits = limits

    def is_from_its_executor(self, socket: Socket, channel: str) -> bool:
        """Whether a run is at home here that travels on the channel, and the socket is its executor's."""
        residency = self._runs.on_channel(channel)
        if residency is None or residency.run.assignment is None:
            return False
        assignment = residency.run.assignment
        present = self._presence.executor_of(socket.session_id)
        return assignment.session_id == socket.session_id or (present is not None and present.key == assignment.key)

    def receive_now(self, socket: Socket, channel: str, payload: object, done: Done) -> bool:
        """Takes a frame at once, without a task, if its run is at home here and its executor is framed.

        Calls `done` with the run as it is stored, or with an exception that `receive` would raise. Returns `False`, and
        has done nothing, if `receive` must take it.
        """
        residency = self._runs.on_channel(channel)
        if residency is None or residency.run.assignment is None or not residency.run.assignment.framed:
            return False
        frame = wire.Frame.model_validate(payload)
        self._admit(residency.run, socket, channel, frame)
        input = _input_of(frame)
        if _is_too_long(input):
            return False
        self._runs.apply_now(residency, (input,), done)
        return True

    async def receive(self, socket: Socket, channel: str, payload: object) -> Reply:
        """Something on a channel, from a socket that may be anybody's."""
        residency = self._runs.on_channel(channel)
        if residency is None:
            return await self._receive_late(socket, channel, payload)
        run = residency.run
        if run.assignment is not None and not run.assignment.framed:
            await self._plain.receive(residency, socket.session_id, payload)
            return wire.Ack()
        if not isinstance(payload, dict):
            self._check_sender(run, socket)
        frame = wire.Frame.model_validate(payload)
        self._admit(run, socket, channel, frame)
        return await self._receive_frame(run, frame)

    async def _receive_frame(self, run: Run, frame: wire.Frame) -> Reply:
        input = _input_of(frame)
        stored = await self._runs.apply(run.key, input)
        if _is_too_long(input) and isinstance(input, Fail):
            return wire.Refusal(error=input.failure, expected=stored.expected)
        return wire.FrameAck(expected=stored.expected)

    async def _receive_late(self, socket: Socket, channel: str, payload: object) -> Reply:
        """A frame of a run that is not at home here: most likely it has ended, and its executor is told so (E4)."""
        run = await self._log.run_on(channel_of(channel)) if _CHANNEL.fullmatch(channel) else None
        if run is None or run.assignment is None:
            # A name of this form was a channel's: its run is deleted.
            ours = _CHANNEL.fullmatch(channel) and "." in channel
            raise KeysideError("run_ended") if ours else _unknown(channel)
        if not run.assignment.framed:
            if run.assignment.session_id != socket.session_id:
                raise KeysideError("not_yours")
            if run.closed_by == "executor" and isinstance(payload, dict) and payload.get("done") is True:
                return wire.Ack()  # it says once more that it has come to its end
            raise KeysideError("run_ended")
        frame = wire.Frame.model_validate(payload)
        self._admit(run, socket, channel, frame)
        after, effects = step(run, _input_of(frame), self._clock.now(), self._limits)
        if after is run and not effects:
            return wire.FrameAck(expected=run.expected)
        return await self._receive_frame(run, frame)  # it has come home just now

    def _admit(self, run: Run, socket: Socket, channel: str, frame: wire.Frame) -> None:
        """E4, E11: whether this socket may send this frame. `run` is as it is committed.

        The frame has its turn later, when another attempt may have begun; so it must be one of the attempt that is
        known here, whose executor never changes. Of a later attempt nobody can know: it is called only when its offer
        is committed. What belongs to an earlier one is refused whoever sends it.
        """
        if frame.attempt == run.attempt:
            self._check_sender(run, socket)
        # Channels that were named before they had a number still have runs.
        if frame.attempt > run.attempt or channel not in (f"{run.channel}.{frame.attempt}", run.channel):
            raise Refused("stale_attempt", run.expected)

    def _check_sender(self, run: Run, socket: Socket) -> None:
        """E11: only the socket that announced the executor may send."""
        assert run.assignment is not None
        present = self._presence.executor_of(socket.session_id)
        if present is not None and present.key == run.assignment.key:
            return
        here = self._presence.session_of(run.assignment.key) is not None
        raise KeysideError("not_yours" if present is not None or here else "not_ready")


def _is_too_long(input: Input) -> bool:
    return isinstance(input, Fail) and input.failure.code == "line_too_long"


def _unknown(name: str) -> KeysideError:
    return KeysideError("unknown_event", f"The server does not know the event {name[:100]!r}.")


def _input_of(frame: wire.Frame) -> Input:
    """What a frame says to its run. Raises `too_large`."""
    if sum(map(len, frame.lines)) * 4 > wire.MAX_LINE:  # bytes of UTF-8 are counted only where it can matter
        long = _too_long(frame.lines)
        if long is not None:
            return Fail(failure("line_too_long"), FrameLines(frame.attempt, frame.index, tuple(frame.lines[:long])))
        if _size(frame.lines) > wire.MAX_FRAME:
            raise KeysideError("too_large", "A frame holds at most 2 MiB.")
    lines = FrameLines(frame.attempt, frame.index, tuple(frame.lines))
    if not frame.done:
        return lines
    reason = frame.finish.reason if frame.finish else "stop"
    error = frame.finish.error if frame.finish else None
    if reason == "aborted":
        return Stop(frame=lines)
    if reason == "truncated":
        return Fail(error or failure("upstream_truncated"), lines)
    if reason == "error":
        return Fail(error or failure("upstream_error"), lines)
    return Finish(reason, lines)


def _too_long(lines: Sequence[str]) -> int | None:
    """The position of the first line that has too many bytes."""
    return next((at for at, line in enumerate(lines) if _size([line]) > wire.MAX_LINE), None)


def _size(lines: Sequence[str]) -> int:
    """How many bytes of UTF-8 the lines have."""
    return sum(len(line.encode(errors="replace")) for line in lines)
