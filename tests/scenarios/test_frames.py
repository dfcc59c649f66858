"""What a framed executor sends: the fence, the frames, their time and their limits."""

import asyncio
from typing import Any

import pytest

from keyside.core.limits import Limits
from keyside.core.run import Run
from keyside.protocol import wire
from keyside.testing import DONE, MemoryServer, ScriptedExecutor, settle, text_line
from tests.scenarios.kit import (
    ended,
    offered,
    refused,
    run_of,
    state_of,
    stop,
    streaming,
)

rule = pytest.mark.rule


@rule("E4")
async def test_frames_of_an_attempt_that_is_not_the_current_one_are_stale(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    for attempt in (offer.attempt + 1, 99):
        wrong = offer.model_copy(update={"attempt": attempt})
        with refused("stale_attempt"):
            await desk.send(wrong, 1, text_line("x"))
        with refused("stale_attempt"):
            await desk.finish(wrong, 1)
    await desk.finish(offer, 1)
    assert await ended(server, started) == ("done", None, "a")


@rule("E4")
async def test_frames_of_a_run_that_was_ended_by_others_are_refused(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    await stop(server, started)
    with refused("run_ended"):
        await desk.send(offer, 1, text_line("b"))
    with refused("run_ended"):
        await desk.finish(offer, 1, "stop", text_line("b"))
    assert await ended(server, started) == ("aborted", None, "a")


@rule("E5")
async def test_known_lines_are_passed_over_and_of_an_overlap_the_new_part_is_taken(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk)
    a, b, c, d = (text_line(letter) for letter in "abcd")
    assert await desk.send(offer, 0, a, b) == 2
    assert await desk.send(offer, 0, a, b) == 2
    assert await desk.send(offer, 0, a) == 2
    assert await desk.send(offer, 1, b, c) == 3
    assert await desk.send(offer, 2, c, d) == 4
    await desk.finish(offer, 4)
    assert await ended(server, started) == ("done", None, "abcd")


@rule("E5")
async def test_a_gap_is_refused_with_the_index_expected(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    with refused("gap", expected=1):
        await desk.send(offer, 2, text_line("c"))
    with refused("gap", expected=1):
        await desk.finish(offer, 2)
    assert await desk.send(offer, 1, text_line("b"), text_line("c")) == 3
    assert await state_of(server, started) == "streaming"


@rule("E5")
async def test_frames_may_be_pipelined(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await offered(server, desk)
    acks = await asyncio.gather(
        desk.claim(offer), *(desk.send(offer, index, text_line(str(index))) for index in range(20))
    )
    assert acks == [0, *range(1, 21)]
    await desk.finish(offer, 20)
    assert await ended(server, started) == ("done", None, "".join(map(str, range(20))))


@rule("E5")
async def test_a_frame_of_an_attempt_that_ended_in_the_regular_way_is_acknowledged_again(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    assert await desk.finish(offer, 1, "stop", text_line("b")) == 2
    assert await desk.finish(offer, 1, "stop", text_line("b")) == 2
    assert await desk.send(offer, 0, text_line("a")) == 2
    with refused("run_ended"):
        await desk.send(offer, 2, text_line("c"))
    assert await ended(server, started) == ("done", None, "ab")


@rule("E7")
@pytest.mark.parametrize(
    ("finish", "state", "code"),
    [
        ({"reason": "stop"}, "done", None),
        ({"reason": "length"}, "done", None),
        ({"reason": "tool_calls"}, "done", None),
        ({"reason": "content_filter"}, "done", None),
        ({"reason": "truncated"}, "failed", "upstream_truncated"),
        ({"reason": "error"}, "failed", "upstream_error"),
        ({"reason": "error", "error": {"code": "upstream_unauthorized", "message": "no"}}, "failed", None),
        ({"reason": "aborted"}, "aborted", None),
    ],
)
async def test_the_end_frame_says_how_it_ended_and_the_text_is_kept(
    server: MemoryServer, desk: ScriptedExecutor, finish: dict[str, Any], state: str, code: str | None
) -> None:
    started, offer = await streaming(server, desk, text_line("kept"))
    await desk.send(offer, 1, done=True, finish=finish)
    expected = (state, code or (finish.get("error") or {}).get("code"), "kept")
    assert await ended(server, started) == expected
    status = {"done": "sent", "failed": "error", "aborted": "aborted"}[state]
    assert (await server.answer(started)).status == status
    if state == "done":
        assert (await run_of(server, started)).finish_reason == finish["reason"]


@rule("E7")
async def test_a_stored_end_mark_makes_a_run_done_without_an_end_frame(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk, text_line("a", finish_reason="length"), DONE)
    assert await ended(server, started) == ("done", None, "a")
    assert (await run_of(server, started)).finish_reason == "length"
    assert await desk.finish(offer, 2) == 2


@rule("E7")
async def test_a_finish_reason_that_is_stored_ends_a_run_whose_executor_does_not_come_back(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, _ = await streaming(server, desk, text_line("whole", finish_reason="stop"))
    await desk.disconnect()
    await server.clock.advance(61)
    assert await ended(server, started) == ("done", None, "whole")


@rule("E7")
async def test_an_error_in_mid_stream_fails_the_run_and_keeps_its_text(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    error = 'data: {"error": {"message": "overloaded"}}'
    started, offer = await streaming(server, desk, text_line("some"), error)
    await desk.send(offer, 2, DONE)
    assert await ended(server, started) == ("failed", "upstream_error", "some")


# --- time ------------------------------------------------------------------------------------------


@rule("E8")
async def test_a_heartbeat_counts_and_changes_nothing(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk, text_line("a"))
    chat_id = offer.chat_id
    heads = await server.store.chat_log.heads([chat_id])
    version = (await run_of(server, started)).version
    for _ in range(4):
        await server.clock.advance(100)
        assert await desk.send(offer, 1) == 1
    assert await state_of(server, started) == "streaming"
    assert (await run_of(server, started)).version == version
    assert await server.store.chat_log.heads([chat_id]) == heads
    await server.clock.advance(120.5)
    assert await ended(server, started) == ("failed", "executor_silent", "a")
    assert (await desk.told())["type"] == "request:chat:abort"


@rule("E8")
async def test_a_model_that_does_not_begin_is_given_up_however_lively_its_executor(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk)
    for _ in range(5):  # an executor that watches its upstream itself says so long before
        await server.clock.advance(59)
        assert await desk.send(offer, 0) == 0
    await server.clock.advance(6)
    assert await ended(server, started) == ("failed", "first_line_timeout", "")
    assert (await desk.told())["type"] == "request:chat:abort"
    with refused("run_ended"):
        await desk.send(offer, 0, text_line("late"))


@rule("E8")
async def test_an_answer_has_only_so_long_in_all() -> None:
    async with MemoryServer(limits=Limits(run=30)) as server:
        desk = ScriptedExecutor(server)
        await desk.connect()
        started, offer = await streaming(server, desk)
        for index in range(6):
            await desk.send(offer, index, text_line("a"))
            await server.clock.advance(5)
        await server.clock.advance(1)
        assert await ended(server, started) == ("failed", "run_timeout", "aaaaaa")


# --- limits ----------------------------------------------------------------------------------------


@rule("E10")
async def test_a_line_of_a_mebibyte_is_taken_and_a_longer_one_fails_the_run(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk)
    longest = text_line("") + " " * (wire.MAX_LINE - len(text_line("")))
    assert await desk.send(offer, 0, longest) == 1
    with refused("line_too_long", expected=2):
        await desk.send(offer, 1, text_line("kept"), longest + " ", text_line("lost"))
    assert await ended(server, started) == ("failed", "line_too_long", "kept")


@rule("E10")
async def test_lengths_are_bytes_of_utf8(server: MemoryServer, desk: ScriptedExecutor) -> None:
    started, offer = await streaming(server, desk)
    with refused("line_too_long"):
        await desk.send(offer, 0, text_line("é" * (wire.MAX_LINE // 2)))
    assert (await ended(server, started))[:2] == ("failed", "line_too_long")


@rule("E10")
async def test_a_frame_of_more_than_two_mebibytes_is_refused_and_changes_nothing(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    started, offer = await streaming(server, desk)
    line = text_line("x" * 900_000)
    with refused("too_large"):
        await desk.send(offer, 0, line, line, line)
    assert await desk.send(offer, 0, line, line) == 2
    assert await state_of(server, started) == "streaming"


@rule("E10")
@pytest.mark.parametrize("max_runs", [0, 101])
def test_an_executor_takes_from_one_to_a_hundred_runs(max_runs: int) -> None:
    ready = {"executor_id": "desk", "secret": "s" * 16, "instance": "i", "name": "Desk"}
    assert wire.ExecutorReady.model_validate({**ready, "max_runs": 100}).max_runs == 100
    with pytest.raises(ValueError, match="max_runs"):
        wire.ExecutorReady.model_validate({**ready, "max_runs": max_runs})


@rule("E5")
async def test_frames_are_stored_in_the_order_in_which_they_come_whatever_else_changes_the_run(
    server: MemoryServer, desk: ScriptedExecutor
) -> None:
    _, offer = await streaming(server, desk)
    residency = server.services.runs.on_channel(offer.channel)
    socket = server.services.connections.get(desk.session_id)
    assert residency is not None
    assert socket is not None
    results: list[Run | Exception] = []

    def send(index: int) -> None:
        frame = {"attempt": 1, "index": index, "lines": [text_line(f"{index}")]}
        assert server.services.frames.receive_now(socket, offer.channel, frame, results.append)

    assert residency.turn.take()
    for index in range(3):
        send(index)
    residency.turn.give()
    send(3)
    await settle()
    send(4)
    assert [result.expected if isinstance(result, Run) else result for result in results] == [1, 2, 3, 4, 5]
