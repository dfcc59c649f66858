"""What only sockets have: rooms, answers that come late, handlers of every kind, and clients that do not read."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from keyside.adapters.socketio.backlog import DEAF_BACKLOG, MAX_BACKLOG
from keyside.adapters.socketio.in_hand import MOST_EVENTS
from keyside.core.changes import Entry, Removed
from keyside.services.later import Later
from keyside.services.ports import Gone, chat_room
from tests.contracts.sockets import CALL, SocketWorld, made
from tests.edge.live import SECONDS, RawSocket, raw_socket

rule = pytest.mark.rule
EVENT = "chat:event"


@pytest.fixture(params=["lean", "stock"])
async def here(request: pytest.FixtureRequest) -> AsyncIterator[SocketWorld]:
    async with SocketWorld(request.param).served() as made:
        yield made


def entry(seq: int, text: str = "", chat_id: int = 1) -> Entry:
    return Entry(chat_id, seq, 0, Removed((text,)))


async def handled() -> None:
    """Lets everything happen that needs no message from outside."""
    for _ in range(10):
        await asyncio.sleep(0)


@rule("V2")
async def test_sockets_get_the_events_of_the_chats_that_they_are_in(here: SocketWorld) -> None:
    stays, leaves, other = [await here.session() for _ in range(3)]
    for session in (stays, leaves):
        await here.hub.join(session.session_id, chat_room(1))
    await here.hub.join(other.session_id, chat_room(2))
    for seq in range(1, 201):
        here.hub.publish([entry(seq)])
    here.hub.publish([entry(7, chat_id=2)])
    await handled()
    await here.hub.leave(leaves.session_id, chat_room(1))
    here.hub.publish([entry(201)])
    here.hub.tell(leaves.session_id, {"type": "end", "data": {}})
    assert [(await stays.next(EVENT))["data"]["seq"] for _ in range(201)] == list(range(1, 202))
    assert [(await leaves.next(EVENT))["data"]["seq"] for _ in range(200)] == list(range(1, 201))
    assert (await leaves.next(EVENT, "end"))["type"] == "end"
    assert (await other.next(EVENT))["data"]["seq"] == 7


@rule("C8", "E6")
async def test_a_call_that_is_given_up_is_forgotten_while_its_socket_lives() -> None:
    async with SocketWorld("lean").served() as here:
        session = await here.session()
        calls = [asyncio.ensure_future(here.calls.call(session.session_id, made({"n": n}))) for n in range(3)]
        await handled()
        kept = here.sio.manager.callbacks
        assert len(kept[session.session_id]) == 3
        for call in calls:
            call.cancel()
        await asyncio.wait(calls, timeout=SECONDS)
        assert not kept[session.session_id]


async def test_a_session_that_is_gone_can_join_nothing(here: SocketWorld) -> None:
    with pytest.raises(Gone):
        await here.hub.join("nobody", chat_room(1))
    session = await here.session()
    with pytest.raises(Gone):
        await here.hub.join("nobody", chat_room(2))
    assert chat_room(2) not in here.sio.manager.rooms["/"]  # nobody would ever leave it
    await asyncio.gather(here.sio.disconnect(session.session_id), here.sio.disconnect(session.session_id))
    await here.sio.disconnect(session.session_id)
    here.hub.tell("nobody", {"type": "x", "data": {}})
    here.hub.tell("nowhere", {"type": "x", "data": {}})
    await here.hub.leave("nobody", chat_room(1))


@rule("C8")
async def test_a_late_answer_after_a_reconnect_answers_no_other_call(here: SocketWorld) -> None:
    async with raw_socket(here.url) as (socket, session_id):
        first = asyncio.ensure_future(here.calls.call(session_id, made({"type": CALL, "data": {}})))
        old, _ = await socket.call()
    with pytest.raises(Gone):
        await asyncio.wait_for(first, SECONDS)
    async with raw_socket(here.url) as (socket, session_id):
        second = asyncio.ensure_future(here.calls.call(session_id, made({"type": CALL, "data": {}})))
        number, _ = await socket.call()
        await socket.send(f'43{old}["of the older call"]')
        await socket.send('431["of no call"]')
        await socket.send(f'43{number}["the right one"]')
        assert await asyncio.wait_for(second, SECONDS) == "the right one"


@rule("C4")
async def test_a_handler_may_return_a_value_or_one_that_comes_later_or_a_coroutine(here: SocketWorld) -> None:
    answer: Later[str] = Later()

    def later(session_id: str, payload: Any) -> Later[str]:
        return answer

    async def slowly(session_id: str, payload: Any) -> Any:
        await asyncio.sleep(0)
        return {"slowly": payload}

    def badly(session_id: str, payload: Any) -> Any:
        raise RuntimeError("a bug")

    here.sio.on("now", lambda session_id, payload: {"now": payload})
    here.sio.on("later", later)
    here.sio.on("slowly", slowly)
    here.sio.on("badly", badly)
    here.sio.on("*", lambda event, session_id, payload: {event: payload})
    async with raw_socket(here.url) as (socket, _):
        for number, name in enumerate(("later", "badly", "now", "slowly", "any"), start=1):
            await socket.send(f"42{number}{json.dumps([name, number])}")
        for number, name in ((3, "now"), (4, "slowly"), (5, "any")):
            assert await socket.receive(f"43{number}") == f'43{number}[{{"{name}":{number}}}]'
        answer.set("at last")
        answer.set("too late")
        assert await socket.receive("431") == '431["at last"]'
        assert json.loads((await socket.receive("432"))[3:])[0]["error"]["code"] == "internal"
        await socket.send('42["now",6]')
        await socket.send('427["now",7]')
        assert await socket.receive("43") == '437[{"now":7}]'


@rule("C4")
@pytest.mark.parametrize("answer", [10**30, {"deep": json.loads("[" * 300 + "]" * 300)}, "\ud800", object()])
async def test_an_answer_that_cannot_be_written_is_a_refusal(here: SocketWorld, answer: object) -> None:
    async def slowly(session_id: str, _: object) -> object:
        await asyncio.sleep(0)
        return answer

    later: Later[object] = Later()
    later.set(answer)
    for name, handler in (
        ("now", lambda session_id, _: answer),
        ("slowly", slowly),
        ("later", lambda session_id, _: later),
    ):
        here.sio.on(name, handler)
    async with raw_socket(here.url) as (socket, _):
        for name in ("now", "slowly", "later"):
            assert (await socket.event(name, None))["error"]["code"] == "internal"


@rule("C4")
async def test_acknowledgements_leave_in_the_order_in_which_they_come_due(here: SocketWorld) -> None:
    answers: list[Later[int]] = []

    def later(session_id: str) -> Later[int]:
        answers.append(Later())
        if len(answers) == MOST_EVENTS:
            for at, answer in reversed(list(enumerate(answers))):
                answer.set(at)
        return answers[-1]

    here.sio.on("later", later)
    async with raw_socket(here.url) as (socket, _):
        for number in range(MOST_EVENTS):
            await socket.send(f'421{number:02}["later"]')
        got = [await socket.receive("43") for _ in range(MOST_EVENTS)]
    last = f"431{MOST_EVENTS - 1:02}[{MOST_EVENTS - 1}]"  # it was there before it was returned
    assert last in got
    assert [answer for answer in got if answer != last] == [
        f"43{100 + at}[{at}]" for at in range(MOST_EVENTS - 2, -1, -1)
    ]


@rule("V5")
async def test_no_more_than_a_mebibyte_waits_for_a_viewer_that_does_not_read(here: SocketWorld) -> None:
    async with raw_socket(here.url) as (socket, session_id):
        await here.hub.join(session_id, chat_room(1))
        queue = here.sio.eio.sockets[here.sio.manager.eio_sid_from_sid(session_id, "/")].queue
        piece, most, seq = "x" * 100_000, 0, 0
        while here.sio.manager.rooms["/"].get(chat_room(1)):
            seq += 1
            assert seq < 1000, "it is never told to open its chat again"
            here.hub.publish([entry(seq, piece)])
            await handled()
            most = max(most, queue.waiting)
        assert MAX_BACKLOG < most < MAX_BACKLOG + 2 * len(piece)
        here.hub.publish([entry(seq + 1)])
        here.hub.tell(session_id, {"type": "end", "data": {}})
        assert '{"chat_id":1}' in await socket.receive('42["events",{"type":"chat:reopen"')
        await socket.receive('42["events",{"type":"end"')
        assert [event["seq"] for event in socket.passed_over(EVENT)] == list(range(1, seq))
        assert queue.waiting == 0


async def test_a_client_that_asks_and_does_not_read_is_not_listened_to() -> None:
    async with SocketWorld("lean").served() as here, raw_socket(here.url) as (socket, session_id):
        answer, asked = "x" * 4_000_000, 30
        waiting: list[int] = []
        transport_id = here.sio.manager.eio_sid_from_sid(session_id, "/")

        def big(session_id: str) -> str:
            waiting.append(here.sio.eio.sockets[transport_id].queue.waiting)
            return answer

        here.sio.on("big", big)
        for number in range(1, asked + 1):
            await socket.send(f'42{number}["big"]')
        await _read_all(socket, asked, len(answer))
        assert len(waiting) == asked
        assert max(waiting) <= DEAF_BACKLOG + len(answer)


async def _read_all(socket: RawSocket, count: int, size: int) -> None:
    for number in range(1, count + 1):
        assert len(await socket.receive(f"43{number}[")) > size
