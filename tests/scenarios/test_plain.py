"""Plain executors: sockets that announce nothing, answer the call, and emit bare lines."""

import asyncio
from typing import Any

import pytest

from keyside.protocol.commands import Started
from keyside.protocol.wire import MAX_LINE
from keyside.testing import DONE, MemoryServer, settle, text_line
from tests.scenarios.kit import ended, idle, refused, run_of, start, state_of, stop

rule = pytest.mark.rule


class Plain:
    """A plain executor; `says` is its callback, `None` for none."""

    def __init__(self, server: MemoryServer, says: Any = None) -> None:
        self.server = server
        self.session_id = server.connect()
        server.calls.answers[self.session_id] = None if says is None else lambda _: says
        self.channel = ""

    async def run(self, **params: Any) -> Started:
        """A run that names this socket; what it is told goes to `self.data`."""
        chat = await self.server.chat()
        started = await start(
            self.server, chat.id, model="gpt-x", message="hi", session_id=self.session_id, params=params
        )
        self.data = (await self.told())["data"]
        self.channel = self.data["channel"]
        return started

    async def told(self) -> Any:
        await settle()
        return self.server.calls.sessions[self.session_id].get_nowait()

    async def emit(self, payload: Any) -> None:
        await self.server.frame(self.session_id, self.channel, payload)


STREAMS = {"status": True}


@rule("E6")
async def test_bare_lines_and_done_finish_the_run(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    assert plain.data["form_data"]["model"] == plain.data["model"]["id"] == "gpt-x"
    assert plain.data["session_id"] == plain.session_id
    assert await state_of(server, started) == "streaming"
    for line in (text_line("Hel"), ": a comment", "", "event: message", text_line("lo"), DONE):
        await plain.emit(line)
    assert await ended(server, started) == ("done", None, "Hello")


@rule("E6")
async def test_done_as_an_object_is_an_end_too(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    await plain.emit(text_line("a"))
    await plain.emit({"done": True})
    assert await ended(server, started) == ("done", None, "a")
    await plain.emit({"done": True})  # said twice, it is true twice
    with refused("run_ended"):
        await plain.emit(text_line("b"))


@rule("E6")
async def test_lines_that_come_before_the_callback_are_taken(server: MemoryServer) -> None:
    plain = Plain(server)
    started = await plain.run()
    await plain.emit(text_line("early"))
    await plain.emit(DONE)
    assert await ended(server, started) == ("done", None, "early")


@rule("E6")
async def test_order_of_arrival_counts(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    words = [f"{number} " for number in range(50)]
    await asyncio.gather(*(plain.emit(text_line(word)) for word in words))
    await plain.emit(DONE)
    assert await ended(server, started) == ("done", None, "".join(words))


@rule("E6")
@pytest.mark.parametrize("size", [1, 3, 4, 7, 50])
async def test_strings_are_joined_until_a_line_is_whole(server: MemoryServer, size: int) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    for line in (text_line("data: is text"), text_line(" too, {and} so is: [DONE]"), DONE):
        for at in range(0, len(line), size):
            await plain.emit(line[at : at + size])
    assert await ended(server, started) == ("done", None, "data: is text too, {and} so is: [DONE]")


@rule("E6")
async def test_a_line_may_be_cut_anywhere(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    line = text_line("event: a", finish_reason=None)
    cuts = [at for at in range(1, len(line)) if line[:at].strip() and line[at:].strip()]
    for at in cuts:
        await plain.emit(line[:at])
        await plain.emit(line[at:])
    await plain.emit({"done": True})
    assert await ended(server, started) == ("done", None, "event: a" * len(cuts))


@rule("E6")
async def test_a_fragment_that_never_became_whole_is_noise_and_loses_nothing_else(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    for text in (text_line("a"), 'data: {"choices": [{"del', text_line("b"), DONE):
        await plain.emit(text)
    assert await ended(server, started) == ("done", None, "ab")
    lines = await server.store.chat_log.lines(await run_of(server, started))
    assert lines == (text_line("a"), 'data: {"choices": [{"del', text_line("b"), DONE)


@rule("E6")
async def test_a_fragment_of_more_than_256_kibibytes_is_noise(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    for _ in range(3):
        await plain.emit("x" * 100_000)
    await plain.emit(text_line("after"))
    await plain.emit(DONE)
    assert await ended(server, started) == ("done", None, "after")


@rule("E10", "E6")
@pytest.mark.parametrize("stream", [True, False])
async def test_a_line_of_more_than_a_mebibyte_fails_the_run(server: MemoryServer, stream: bool) -> None:
    long = "é" * (MAX_LINE // 2)
    plain = Plain(server, STREAMS if stream else {"result": long})
    started = await plain.run(stream=stream)
    if stream:
        await plain.emit(text_line("kept"))
        await plain.emit(text_line(long))
        with refused("run_ended"):
            await plain.emit(text_line("too late"))
    assert await ended(server, started) == ("failed", "line_too_long", "kept" if stream else "")


@rule("E6")
async def test_after_a_finish_reason_two_seconds_of_silence_are_the_end(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    await plain.emit(text_line("a", finish_reason="length"))
    await server.clock.advance(1.5)
    assert await state_of(server, started) == "streaming"
    await plain.emit(text_line("b"))
    await server.clock.advance(1.5)
    assert await state_of(server, started) == "streaming"
    await server.clock.advance(1)
    assert await ended(server, started) == ("done", None, "ab")
    assert (await run_of(server, started)).finish_reason == "length"


@rule("E6", "E8")
async def test_without_a_finish_reason_silence_is_a_failure(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    await plain.emit(text_line("a"))
    await server.clock.advance(119)
    assert await state_of(server, started) == "streaming"
    await server.clock.advance(2)
    assert await ended(server, started) == ("failed", "executor_silent", "a")


@rule("E6")
@pytest.mark.parametrize("says", [None, STREAMS])
async def test_a_plain_executor_has_the_time_of_a_first_line_with_or_without_a_callback(
    server: MemoryServer, says: Any
) -> None:
    plain = Plain(server, says)
    started = await plain.run()
    await server.clock.advance(179)
    assert await state_of(server, started) == "streaming"
    await server.clock.advance(2)
    assert await ended(server, started) == ("failed", "first_line_timeout", "")


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


@rule("E6")
async def test_a_completion_as_the_callback_is_the_answer(server: MemoryServer) -> None:
    plain = Plain(server, COMPLETION)
    started = await plain.run(stream=False)
    assert plain.data["form_data"]["stream"] is False
    assert await ended(server, started) == ("done", None, "Hi.")
    message = await server.answer(started)
    assert (message.prompt_tokens, message.completion_tokens) == (3, 2)


@rule("E6")
@pytest.mark.parametrize(
    ("says", "how"),
    [
        ({"result": "Hi."}, ("done", None, "Hi.")),
        ({"error": {"message": "no key"}}, ("failed", "executor_refused", "")),
        ({"error": "no key"}, ("failed", "executor_refused", "")),
        ({"status": False}, ("failed", "executor_refused", "")),
        ("text", ("failed", "executor_refused", "")),
        (["a"], ("failed", "executor_refused", "")),
        ({"choices": []}, ("failed", "executor_refused", "")),
        ({"choices": [{"message": "no"}]}, ("failed", "executor_refused", "")),
    ],
)
async def test_any_other_callback_is_a_result_or_a_failure(server: MemoryServer, says: Any, how: Any) -> None:
    started = await Plain(server, says).run(stream=False)
    assert await ended(server, started) == how
    failed = (await run_of(server, started)).failure
    if isinstance(says, dict) and "error" in says:
        assert failed is not None
        assert "no key" in failed.message


@rule("E6")
async def test_its_disconnect_ends_the_run_as_interrupted(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    await plain.emit(text_line("kept"))
    await server.disconnect(plain.session_id)
    assert await ended(server, started) == ("interrupted", "executor_lost", "kept")


@rule("E6")
async def test_its_disconnect_before_the_callback_ends_the_run_too(server: MemoryServer) -> None:
    plain = Plain(server)
    started = await plain.run()
    await server.disconnect(plain.session_id)
    assert await ended(server, started) == ("interrupted", "executor_lost", "")


@rule("E11")
async def test_only_the_very_socket_can_send_on_a_plain_channel(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    own, plain.session_id = plain.session_id, server.connect()
    with refused("not_yours"):
        await plain.emit(text_line("forged"))
    plain.session_id = own
    await plain.emit(DONE)
    assert await ended(server, started) == ("done", None, "")


@rule("E6", "R5", "E9")
async def test_a_plain_executor_is_told_of_a_stop_and_its_late_lines_are_refused(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    await plain.emit(text_line("a"))
    assert await stop(server, started) == "aborted"
    assert (await plain.told())["type"] == "request:chat:abort"
    with refused("run_ended"):
        await plain.emit(text_line("b"))
    assert await ended(server, started) == ("aborted", None, "a")


@rule("E6")
async def test_an_error_line_fails_the_run(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    await plain.emit(text_line("a"))
    await plain.emit('data: {"error": {"message": "overloaded"}}')
    await plain.emit({"done": True})
    assert await ended(server, started) == ("failed", "upstream_error", "a")


@rule("E6")
@pytest.mark.parametrize("payload", [None, 7, [], {}, {"done": False}, {"attempt": 1, "index": 0, "lines": []}])
async def test_anything_else_on_a_plain_channel_is_refused(server: MemoryServer, payload: Any) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    with refused("bad_request"):
        await plain.emit(payload)
    assert await state_of(server, started) == "streaming"


@rule("R2")
async def test_a_plain_executor_gets_only_the_runs_that_name_it(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    with refused("model_not_found"):
        await start(server, (await server.chat()).id, model="gpt-x", message="hi")
    await settle()
    assert idle(server, plain.session_id)


@rule("E6")
async def test_a_string_with_line_ends_in_it_is_so_many_lines(server: MemoryServer) -> None:
    whole, rest = text_line("c"), text_line("d")
    for strings in (
        [text_line("a") + "\n" + text_line("b"), whole + "\r\n\r\n" + rest, "data: [DONE]"],
        [
            "event: message\n" + text_line("a"),
            text_line("b") + "\n" + whole[:9],
            whole[9:] + "\n" + rest + "\n\n",
            DONE,
        ],
        ["\n".join([text_line("a"), text_line("b"), whole, rest, DONE])],
    ):
        plain = Plain(server, STREAMS)
        started = await plain.run()
        for string in strings:
            await plain.emit(string)
        assert await ended(server, started) == ("done", None, "abcd")


@rule("E6")
async def test_what_comes_after_the_end_does_not_count(server: MemoryServer) -> None:
    plain = Plain(server, STREAMS)
    started = await plain.run()
    late = [plain.emit(payload) for payload in (text_line("a"), {"done": True}, text_line("late"), {"done": True})]
    await asyncio.gather(*late, return_exceptions=True)
    assert await ended(server, started) == ("done", None, "a")
