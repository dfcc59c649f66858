"""What of a chat fits into one answer."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyside.core.changes import Entry, LinesAdded, Removed, view
from keyside.core.fitting import cut, first_of, fitted, weight
from keyside.core.frames import FrameLines
from keyside.core.tree import NEAREST, siblings
from keyside.protocol.base import iso
from keyside.protocol.entities import Chat, Citation, Failure, Message, ToolCall
from keyside.protocol.entities import Run as RunView
from keyside.protocol.wire import Snapshot
from tests.core.runs import queued

CHAT = Chat(id=1, title="t", head_id=None, model=None, created_at=iso(0), updated_at=iso(0))
TEXTS = st.sampled_from(["", "short", "x" * 3000, "\x01" * 2000, "語🙂" * 900, '"\\' * 700])


def message(id: str = "m", parent_id: str | None = None, **more: Any) -> Message:
    fields: dict[str, Any] = {
        "id": id,
        "chat_id": 1,
        "parent_id": parent_id,
        "role": "assistant",
        "content": "",
        "status": "sent",
        "created_at": iso(0),
        "updated_at": iso(0),
    }
    return Message(**{**fields, **more})


def size(whole: Snapshot | Message) -> int:
    return len(orjson.dumps(whole.model_dump()))


def snapshot(*messages: Message, runs: tuple[RunView, ...] = (), **more: Any) -> Snapshot:
    fields = {"siblings": {one.id: [one.id] for one in messages}, "earlier": False, **more}
    return Snapshot(chat=CHAT, messages=list(messages), runs=list(runs), **fields)


def run(id: str, message_id: str) -> RunView:
    return view(replace(queued(), id=id, message_id=message_id))


def ids(shown: Snapshot) -> list[str]:
    return [one.id for one in shown.messages]


@pytest.mark.rule("V1")
def test_what_fits_stays_as_it_is() -> None:
    whole = snapshot(message("a", content="x"), message("b", "a"), runs=(run("r", "b"),))
    assert fitted(whole, size(whole) + 10) == whole


@pytest.mark.rule("V1")
def test_of_many_messages_the_newest_are_shown_with_their_siblings_and_runs() -> None:
    messages = [message(f"m{n}", f"m{n - 1}" if n else None, content="x" * 1000) for n in range(10)]
    runs = tuple(run(f"r{n}", f"m{n}") for n in range(10))
    shown = fitted(snapshot(*messages, runs=runs), 6000)
    assert ids(shown) == list(shown.siblings) == ["m7", "m8", "m9"]
    assert [run.id for run in shown.runs] == ["r7", "r8", "r9"]
    assert shown.earlier is True
    assert not any(one.partial for one in shown.messages)
    assert size(shown) <= 6000


@pytest.mark.rule("V1")
def test_runs_of_other_branches_take_only_the_room_that_is_left() -> None:
    elsewhere = tuple(run(f"r{n}", f"far{n}") for n in range(50))
    mine = run("mine", "b")
    shown = fitted(snapshot(message("a", content="x" * 900), message("b", "a"), runs=(mine, *elsewhere)), 4000)
    assert ids(shown) == ["a", "b"]
    assert shown.runs[0].id == "mine"
    assert shown.runs[-1].id == "r49", "the newest of them"
    assert 1 < len(shown.runs) < 51
    assert size(shown) <= 4000


@pytest.mark.rule("V1")
def test_of_a_head_that_is_too_long_the_end_of_its_text_is_shown() -> None:
    text = "".join(f"{n} " for n in range(2000))
    shown = fitted(snapshot(message("a"), message("b", "a", content=text, reasoning=text)), 4000)
    head = shown.messages[-1]
    assert (ids(shown), shown.earlier, head.partial) == (["b"], True, True)
    assert text.endswith(head.content)
    assert len(head.content) > 2000
    assert size(shown) <= 4000


@pytest.mark.rule("V1")
def test_what_a_long_head_has_besides_its_text_is_there_if_it_fits() -> None:
    call = ToolCall(index=0, id="t", name="f", arguments="{}")
    long_call = call.model_copy(update={"arguments": "x" * 9000})
    whole = message(content="x", citations=[Citation(url="u")], images=["/i"])
    assert cut(whole.model_copy(update={"tool_calls": [call]}), 2000).partial is False
    part = cut(whole.model_copy(update={"tool_calls": [long_call]}), 2000)
    assert (part.content, part.tool_calls, part.images, part.partial) == ("x", [], ["/i"], True)
    failed = message(error=Failure(code="upstream_error", message="e" * 9000))
    part = cut(failed, 4000)
    assert part.error is not None
    assert part.error.message == "e" * 2000


@given(
    content=TEXTS,
    reasoning=TEXTS,
    arguments=TEXTS,
    error=TEXTS,
    parents=st.integers(0, 5),
    most=st.integers(3500, 20_000),
)
@pytest.mark.rule("V1")
def test_an_answer_is_never_longer_than_it_may_be(
    content: str, reasoning: str, arguments: str, error: str, parents: int, most: int
) -> None:
    head = message(
        "head",
        content=content,
        reasoning=reasoning,
        tool_calls=[ToolCall(index=0, arguments=arguments)],
        error=Failure(code="upstream_error", message=error[:1000] and "e" * len(error[:1000])),
    )
    above = [message(f"m{n}", content=content) for n in range(parents)]
    whole = snapshot(*above, head)
    shown = fitted(whole, most)
    assert size(shown) <= most
    assert shown.messages[-1].id == "head"
    assert shown.earlier == (len(shown.messages) < len(whole.messages))
    last = shown.messages[-1]
    assert last.partial == (last != head)
    assert content.endswith(last.content)
    assert reasoning.endswith(last.reasoning)


@pytest.mark.rule("V1")
def test_of_very_many_siblings_the_nearest_are_named() -> None:
    names = [f"s{n:04}" for n in range(1000)]
    found = siblings([(name, None) for name in names], ["s0000", "s0500", "s0999"])
    assert found["s0000"] == names[: NEAREST + 1]
    assert found["s0500"] == names[500 - NEAREST : 501 + NEAREST]
    assert found["s0999"] == names[-NEAREST - 1 :]


@pytest.mark.rule("V3")
def test_entries_are_taken_as_far_as_they_weigh_so_much() -> None:
    entries = [Entry(1, n, 0, LinesAdded(queued(), FrameLines(1, n, ("x" * 1000,)))) for n in range(5)]
    one = weight(entries[0].change)
    assert one > 1000
    assert weight(Removed(("x" * 1000,))) > 1000
    assert len(first_of(entries, 3 * one)) == 3
    assert len(first_of(entries, 0)) == 1, "a reader always comes along"
    assert first_of(entries, 0, strict=True) == ()
