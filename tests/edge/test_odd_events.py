"""Whatever a client sends as an event, it is acknowledged: with an error, and nothing has changed (C4)."""

import json
from typing import Any

import httpx
import pytest

from tests.edge.live import LiveServer, RawSocket, ask, ended, executing, raw_socket
from tests.edge.test_sockets import error_of

rule = pytest.mark.rule
READY = {
    "executor_id": "odd",
    "secret": "a secret of the test",
    "instance": "i",
    "name": "odd",
    "connections": [{"id": "c", "provider": "p", "models": [{"id": "m"}]}],
    "max_runs": 1,
    "holds": [],
}
LONG = "9" * 33
ODD = {
    "33 digits": LONG,
    "-33 digits": f"-{LONG}",
    "beyond 64 bits": str(2**64),
    "beyond 53 bits": str(2**53),
    "4,301 digits": "9" * 4301,
    "beyond a double": "1e999",
    "below a double": "-1e999",
    "a large double": "1e300",
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "deep": "[" * 10_000 + "]" * 10_000,
    "deep for a mind that mends": "[" * 600 + '"\\ud800"' + "]" * 600,
    "deep objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "a lone surrogate": '"\\ud800"',
    "a list": "[[]]",
    "an object": "{}",
    "a text": '"' + "x" * 10_000 + '"',
    "no JSON": "nope",
}


async def acknowledged(socket: RawSocket, packet: str, number: str = "7") -> Any:
    """What is answered to an event of this number, which is sent as it is."""
    await socket.send(packet)
    packet = await socket.receive(f"43{number}[")
    return json.loads(packet[2 + len(number) :])[0]


def with_field(payload: Any, path: tuple[Any, ...], text: str) -> str:
    """The JSON of a payload in which a field is replaced by a text that may be no JSON."""
    changed = json.loads(json.dumps(payload))
    at = changed
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = "PLACE"
    return json.dumps(changed).replace('"PLACE"', text)


@rule("C4")
@pytest.mark.parametrize("odd", ODD)
async def test_odd_numbers_texts_and_depths_are_answered_wherever_they_stand(live: LiveServer, odd: str) -> None:
    text = ODD[odd]
    async with raw_socket(live.url) as (socket, _):
        for path in (
            ("executor_id",),
            ("secret",),
            ("instance",),
            ("connections",),
            ("connections", 0, "id"),
            ("connections", 0, "provider"),
            ("connections", 0, "models"),
            ("connections", 0, "models", 0, "id"),
            ("connections", 0, "models", 0, "context_length"),
            ("connections", 0, "models", 0, "input"),
            ("connections", 0, "error"),
            ("connections", 0, "idle_timeout"),
            ("max_runs",),
            ("holds",),
        ):
            said = await acknowledged(socket, f'427["executor:ready",{with_field(READY, path, text)}]')
            assert said["ok"] or error_of(said) == "bad_request", path
        hold = {**READY, "holds": [{"run_id": "r", "attempt": 1}]}
        for path in (("holds", 0, "attempt"), ("holds", 0, "run_id")):
            said = await acknowledged(socket, f'427["executor:ready",{with_field(hold, path, text)}]')
            assert said["ok"] or error_of(said) == "bad_request", path
        for name, payload in (
            ("chat:open", f'{{"chat_id":{text}}}'),
            ("chat:open", f'{{"chat_id":1,"after":{text}}}'),
            ("chat:close", f'{{"chat_id":{text}}}'),
        ):
            assert error_of(await acknowledged(socket, f'427["{name}",{payload}]')) in {"bad_request", "not_found"}
        said = await acknowledged(socket, f'427["unheard of",{text}]')
        assert error_of(said) in {"bad_request", "unknown_event"}
        assert (await socket.event("executor:ready", READY))["ok"] is True


@rule("C4", "E5")
async def test_odd_frames_are_answered_and_leave_the_run_as_it_is(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with raw_socket(live.url) as (socket, _):
        await socket.event(
            "executor:ready", {**READY, "connections": [{"id": "c", "provider": "odd", "models": [{"id": "m"}]}]}
        )
        started = await ask(http, model="odd/m")
        number, offer = await socket.call()
        await socket.send(f"43{number}{json.dumps([{'status': True, 'run_id': offer['run_id'], 'attempt': 1}])}")
        frame = {"attempt": 1, "index": 0, "lines": [], "done": False, "finish": None}
        assert (await socket.event(offer["channel"], frame))["ok"] is True
        for odd, text in ODD.items():
            for field in ("attempt", "index", "finish"):
                packet = f'427["{offer["channel"]}",{with_field({**frame, "done": True}, (field,), text)}]'
                assert error_of(await acknowledged(socket, packet)) in {"bad_request", "stale_attempt", "gap"}, (
                    odd,
                    field,
                )
        many = {**frame, "lines": [""] * 100_001}
        assert error_of(await socket.event(offer["channel"], many)) == "bad_request"
        end = {**frame, "lines": ["data: [DONE]"], "done": True, "finish": {"reason": "stop"}}
        assert (await socket.event(offer["channel"], end))["expected"] == 1
    assert (await ended(http, started))[0] == "done"


@rule("C4")
@pytest.mark.parametrize("number", ["0", "7", "9" * 17, "9" * 24, "9" * 100, "007"])
async def test_the_number_of_an_acknowledgement_may_be_long(live: LiveServer, number: str) -> None:
    async with raw_socket(live.url) as (socket, _):
        await socket.send(f'42{number}["nope",{{}}]')
        answer = await socket.receive("43")
        digits, _, rest = answer[2:].partition("[")
        assert int(digits) == int(number)
        assert error_of(json.loads("[" + rest)[0]) == "unknown_event"


@rule("C4")
async def test_packets_with_attachments_are_acknowledged(live: LiveServer) -> None:
    async with raw_socket(live.url) as (socket, _):
        placeholder = '{"_placeholder":true,"num":0}'
        assert error_of(await acknowledged(socket, f'451-7["nope",{placeholder}]')) == "unknown_event"
        assert error_of(await acknowledged(socket, f'451-7["executor:ready",{placeholder}]')) == "bad_request"
        assert error_of(await acknowledged(socket, f'451-7["nope",{LONG}]')) in {"unknown_event", "bad_request"}
        assert error_of(await acknowledged(socket, '451-7["nope"')) == "bad_request"
        await socket.send(b"\x00\x01")
        assert error_of(await acknowledged(socket, '427["still here?"]')) == "unknown_event"


@rule("C4")
async def test_a_packet_of_very_many_values_is_refused_without_being_parsed(live: LiveServer) -> None:
    many = "[" + "[]," * 250_000 + "[]]"
    in_a_string = json.dumps(",[{" * 250_000)
    async with raw_socket(live.url) as (socket, _):
        for name in ("executor:ready", "chat:open", "nope"):
            assert error_of(await acknowledged(socket, f'427["{name}",{many}]')) == "too_large"
            assert error_of(await acknowledged(socket, f'427["{name}",{in_a_string}]')) != "too_large"
        await socket.send(f'42["nope",{many}]')
        await socket.send(f"437{many}")
        assert error_of(await acknowledged(socket, '427["still here?"]')) == "unknown_event"


@rule("E7")
async def test_however_long_an_executors_error_is_it_ends_its_run(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(live.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        long = {"code": "c" * 5000, "message": "🙂" * 500_000, "retryable": False}
        end = {"attempt": 1, "index": 0, "lines": [], "done": True, "finish": {"reason": "error", "error": long}}
        assert (await desk.client.call(offer["channel"], end))["ok"] is True
        assert await ended(http, started) == ("failed", "c" * 100, "")
        run = (await http.get(f"/api/runs/{offer['run_id']}")).json()
        assert run["error"]["message"] == "🙂" * 2000
        refused = await ask(http)
        desk.client.on_call = lambda data: {**desk.accept(data), "status": False, "error": long}
        assert (await ended(http, refused))[1] == "c" * 100
        connections = [{**desk.announcement["connections"][0], "error": long}]
        desk.announcement["connections"] = connections
        (shown,) = (await desk.ready())["executor"]["connections"]
        assert len(shown["error"]["message"]) == 2000
