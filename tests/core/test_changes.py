"""The events that changes become, and what a run makes of its message."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from keyside.core.changes import Change, Entry, LinesAdded, Removed, view
from keyside.core.message import closed, written
from keyside.core.run import State
from keyside.core.transcript import merge, transcribe
from keyside.protocol import wire
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Citation, Message, RunExecutor, ToolCall
from keyside.protocol.errors import failure
from tests.core.lines import DONE, text_line
from tests.core.runs import NOW, frame, queued, run_in

RUN = run_in(State.STREAMING)
CHAT = Chat(id=1, title="t", head_id="a", model="test/m", created_at=iso(NOW), updated_at=iso(NOW))
MESSAGE = Message(
    id="a",
    chat_id=1,
    parent_id="u",
    role="assistant",
    content="",
    status="streaming",
    created_at=iso(NOW),
    updated_at=iso(NOW),
)
EVENT: TypeAdapter[Any] = TypeAdapter(wire.ChatEvent)


def added(*lines: str) -> LinesAdded:
    return LinesAdded(RUN, frame(0, *lines))


def payload(change: Change) -> dict[str, Any]:
    return Entry(chat_id=1, seq=7, at=NOW, change=change).payload


@pytest.mark.rule("V2")
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (MESSAGE, "message"),
        (Removed(("a", "b")), "removed"),
        (RUN, "run"),
        (added(text_line("x")), "delta"),
        (CHAT, "chat"),
    ],
)
def test_each_change_becomes_an_event_of_the_wire(change: Change, kind: str) -> None:
    event = payload(change)
    parsed = EVENT.validate_python(event)
    assert (parsed.kind, parsed.chat_id, parsed.seq, parsed.at) == (kind, 1, 7, iso(NOW))
    assert parsed.model_dump(exclude_unset=True) == event


@pytest.mark.rule("V2")
def test_a_delta_holds_what_was_added_and_nothing_else() -> None:
    head = {"chat_id": 1, "seq": 7, "at": iso(NOW), "kind": "delta", "run_id": "r", "message_id": "a"}
    assert payload(added(": comment", DONE)) == head
    assert payload(added(text_line("a"), text_line("b"))) == head | {"content": "ab"}
    lines = (
        'data: {"choices": [{"delta": {"reasoning": "r", "tool_calls": [{"index": 0, "id": "t"}]}}]}',
        'data: {"choices": [{"delta": {"images": [{"image_url": {"url": "/i"}}]}}], "citations": ["u"]}',
    )
    assert payload(added(*lines)) == head | {
        "reasoning": "r",
        "tool_calls": [{"index": 0, "id": "t", "name": "", "arguments": ""}],
        "images": ["/i"],
        "citations": [{"url": "u", "title": ""}],
    }


def test_a_run_is_shown_with_its_executor_and_without_its_secrets() -> None:
    shown = view(replace(RUN, failure=failure("executor_lost"), finish_reason="stop", ended_at=NOW + 1))
    assert shown.executor == RunExecutor(id="desk", name="Desk", kind="browser")
    assert (shown.state, shown.attempt, shown.model, shown.provider) == ("streaming", 1, "test/m", "test")
    assert (shown.created_at, shown.started_at, shown.ended_at) == (iso(NOW), iso(NOW), iso(NOW + 1))
    assert (shown.error, shown.finish_reason) == (failure("executor_lost"), "stop")
    assert "c1" not in shown.model_dump_json()
    waiting = view(queued())
    assert (waiting.executor, waiting.started_at, waiting.ended_at) == (None, None, None)


@pytest.mark.rule("V2", "V3")
@pytest.mark.parametrize("lines", [(), (": x",), (text_line("a"),), (": x", text_line("a"), DONE, text_line("b"))])
def test_what_lines_add_is_the_same_together_as_one_by_one(lines: tuple[str, ...]) -> None:
    assert added(*lines).delta == merge(added(line).delta for line in lines) == transcribe(lines)


# --- the message of a run --------------------------------------------------------------------------


@pytest.mark.rule("D2")
@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.DONE, "sent"),
        (State.FAILED, "error"),
        (State.ABORTED, "aborted"),
        (State.INTERRUPTED, "interrupted"),
    ],
)
def test_a_run_that_ended_leaves_all_its_text_and_why_it_ended(state: State, status: str) -> None:
    draft = transcribe([text_line("語"), text_line("x"), 'data: {"usage": {"prompt_tokens": 1}}'])
    run = run_in(state, failure=failure("executor_lost"))
    message = closed(MESSAGE, run, draft, NOW + 9)
    assert (message.content, message.status, message.error) == ("語x", status, failure("executor_lost"))
    assert (message.prompt_tokens, message.completion_tokens) == (1, None)
    assert (message.provider, message.created_at, message.updated_at) == ("test", iso(NOW), iso(NOW + 9))


def test_a_run_that_continues_a_message_adds_to_what_it_was() -> None:
    prefix = MESSAGE.model_copy(
        update={
            "content": "One",
            "reasoning": "r",
            "tool_calls": [ToolCall(index=0, id="t", arguments="{")],
            "images": ["/i"],
            "citations": [Citation(url="u", title="old")],
        }
    )
    lines = [
        text_line(" two"),
        'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}}]}',
    ]
    run = replace(RUN, prefix=prefix)
    message = written(MESSAGE, run, transcribe(lines))
    assert (message.content, message.reasoning, message.images) == ("One two", "r", ["/i"])
    assert message.tool_calls == [ToolCall(index=0, id="t", arguments="{}")]
    assert message.citations == [Citation(url="u", title="old")]
    # Folding again, from the same prefix, adds nothing twice.
    assert written(message, run, transcribe(lines)) == message
