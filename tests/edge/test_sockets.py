"""Connecting to a real server, and what it says to events that it does not understand."""

import asyncio
import itertools
import json
from typing import Any

import httpx
import pytest
import socketio.exceptions
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import InvalidStatus

from tests.edge.live import (
    SECONDS,
    SOCKET_PATH,
    Client,
    Executor,
    LiveServer,
    ask,
    connected,
    ended,
    executing,
    new_chat,
    raw_socket,
)

rule = pytest.mark.rule
FOREIGN = "https://evil.example"


async def refusal(url: str, auth: object = None, **headers: str) -> Any:
    """The error that a refused socket gets."""
    client = Client()
    try:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(url, auth, **headers)
    finally:
        await client.close()
    said = client.refusal
    return said["message"] if isinstance(said, dict) and set(said) == {"message"} else said


async def token(local: LiveServer, signed_in: dict[str, str], *scopes: str) -> str:
    async with local.http(**signed_in) as browser:
        answer = await browser.post("/api/tokens", json={"name": "test", "scopes": list(scopes)})
    return str(answer.json()["token"])


def error_of(ack: Any) -> str:
    """The code of a refusal, in the shape that every one has."""
    assert ack["ok"] is False
    assert isinstance(ack["error"]["message"], str)
    assert isinstance(ack["error"]["retryable"], bool)
    return str(ack["error"]["code"])


# --- C1 to C3: connecting --------------------------------------------------------------------------


@rule("C1")
async def test_an_executor_that_arrives_by_polling_is_told_to_use_a_websocket(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with connected(live.url, transport="polling") as client:
        ack = await client.call("executor:ready", Executor(client, "polling").announcement)
        assert error_of(ack) == "websocket_required"
    known = [one["id"] for one in (await http.get("/api/executors")).json()["items"]]
    assert "polling" not in known


@rule("C1")
async def test_long_polling_works_for_viewers(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(live.url) as desk, connected(live.url, transport="polling") as viewer:
        chat_id = await new_chat(http)
        assert (await viewer.call("chat:open", {"chat_id": chat_id}))["ok"] is True
        started = await ask(http, chat_id=chat_id)
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.finish(offer, 0, 'data: {"choices":[{"delta":{"content":"polled"}}]}')
        assert (await viewer.event("delta"))["content"] == "polled"
        assert (await viewer.run_state("done"))["id"] == started["run"]["id"]


@rule("C1")
@pytest.mark.parametrize("path", ["/ws", "/ws/", "/ws/socket.io", "/ws/socket.io/"])
async def test_the_endpoint_has_two_paths(live: LiveServer, path: str) -> None:
    async with live.http() as client:
        answer = await client.get(f"{path}?EIO=4&transport=polling")
    assert answer.status_code == 200
    assert answer.text.startswith('0{"sid":')
    async with websocket(f"{live.url.replace('http', 'ws', 1)}{path}?EIO=4&transport=websocket") as socket:
        assert str(await asyncio.wait_for(socket.recv(), SECONDS)).startswith('0{"sid":')


@rule("C1")
@pytest.mark.parametrize("path", ["/wsx", "/ws/other", "/ws/socket.io/other", "/ws/socket.iox", "/ws//", "/WS"])
async def test_what_is_beside_the_endpoint_is_not_served(live: LiveServer, path: str) -> None:
    async with live.http() as client:
        answer = await client.get(httpx.URL(f"{live.url}{path}?EIO=4&transport=polling"))
    assert not answer.text.startswith("0{")
    assert answer.status_code == 404
    with pytest.raises(InvalidStatus) as refused:
        await websocket(f"{live.url.replace('http', 'ws', 1)}{path}?EIO=4&transport=websocket")
    assert refused.value.response.status_code in {403, 404}


@rule("C2")
async def test_a_client_proves_itself_by_cookie_or_token_and_is_else_refused(
    local: LiveServer, signed_in: dict[str, str]
) -> None:
    assert await refusal(local.url) == "unauthorized"
    assert await refusal(local.url, {"token": "ks_wrong"}) == "unauthorized"
    async with connected(local.url, **signed_in) as browser:
        assert (await browser.call("executor:ready", Executor(browser, "browser").announcement))["ok"] is True
    made = await token(local, signed_in, "chats", "executor")
    async with connected(local.url, {"token": made}) as program:
        assert (await program.call("executor:ready", Executor(program, "program").announcement))["ok"] is True


@rule("C2")
async def test_a_page_of_another_origin_is_refused_unless_it_has_a_token(
    local: LiveServer, signed_in: dict[str, str]
) -> None:
    stolen = {**signed_in, "origin": FOREIGN}
    assert await refusal(local.url, **stolen) == "bad_origin"
    assert await refusal(local.url, cookie=signed_in["cookie"]) == "bad_origin"
    made = await token(local, signed_in, "chats")
    async with connected(local.url, {"token": made}, origin=FOREIGN) as program:
        assert program.sio.connected


@rule("C2", "S2")
async def test_a_client_of_another_account_is_refused(
    local: LiveServer, live: LiveServer, signed_in: dict[str, str]
) -> None:
    """So the executor of one account never runs the calls of the next that signs in to the same browser."""
    assert await refusal(local.url, {"user_id": 2}, **signed_in) == "unauthorized"
    assert await refusal(local.url, {"user_id": 99}, **signed_in) == "unauthorized"
    assert await refusal(local.url, {"user_id": "x"}, **signed_in) == "bad_request"
    made = await token(local, signed_in, "chats")
    assert await refusal(local.url, {"token": made, "user_id": 2}) == "unauthorized"
    for url, auth, headers in ((local.url, {"user_id": 1}, signed_in), (live.url, {"user_id": 1}, {})):
        async with connected(url, auth, **headers) as client:
            assert client.sio.connected


@rule("C2")
async def test_a_host_that_is_not_the_servers_own_is_not_answered(live: LiveServer) -> None:
    assert await refusal(live.url, host="evil.example") is not None
    async with live.http(host="evil.example") as client:
        answer = await client.get(f"{SOCKET_PATH}/?EIO=4&transport=polling")
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "bad_host"


@rule("C3")
async def test_an_unknown_protocol_is_refused_with_those_that_are_served(live: LiveServer) -> None:
    said = await refusal(live.url, {"client": {"name": "x", "version": "1", "protocol": 2}})
    assert said == {"message": "protocol_unsupported", "data": {"protocols": [1]}}
    known: list[Any] = [None, {}, {"client": {"name": "x", "version": "1", "protocol": 1}}, {"client": {}}]
    for auth in known:
        async with connected(live.url, auth) as client:
            assert client.sio.connected


@rule("C3", "C4")
@pytest.mark.parametrize("auth", ["x", [1], {"token": 5}, {"client": "x"}, {"client": {"protocol": "one"}}])
async def test_a_malformed_introduction_is_refused(live: LiveServer, auth: Any) -> None:
    assert await refusal(live.url, auth) == "bad_request"


# --- C4 to C6: events ------------------------------------------------------------------------------


@rule("C4")
@pytest.mark.parametrize("event", ["nope", "message", "events", "connect", "disconnect", "*", "__proto__", "x" * 5000])
async def test_an_unknown_event_gets_an_error_and_changes_nothing(live: LiveServer, event: str) -> None:
    async with executing(live.url) as desk:
        for data in (None, {}, [1, 2], "text", {"attempt": 1, "index": 0, "lines": []}):
            assert error_of(await desk.client.call(event, data)) == "unknown_event"
        assert (await desk.ready())["executor"]["online"] is True


@rule("C4")
@pytest.mark.parametrize("payload", [None, 7, "x", [], {}, {"chat_id": "x"}, {"chat_id": 1, "after": -1}])
async def test_a_malformed_payload_gets_an_error_that_says_what_is_wrong(live: LiveServer, payload: Any) -> None:
    async with connected(live.url) as client:
        ack = await client.call("chat:open", payload)
        assert error_of(ack) == "bad_request"
        assert "payload" in ack["error"]["message"]
        assert error_of(await client.call("executor:ready", payload)) == "bad_request"


@rule("C4")
async def test_a_chat_of_nobody_is_an_error(live: LiveServer) -> None:
    async with connected(live.url) as client:
        for chat_id in (999_999, 2**40, 2**63, -1, 2**70):
            assert error_of(await client.call("chat:open", {"chat_id": chat_id})) in {"not_found", "bad_request"}
        assert (await client.call("chat:close", {"chat_id": 999_999}))["ok"] is True


@rule("C4", "E10")
async def test_what_is_over_a_limit_but_below_the_transports_own_is_answered(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with executing(live.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        mebibyte = "x" * 1_000_000
        assert error_of(await desk.send(offer, 0, *[mebibyte] * 7)) == "too_large"
        announcement = {**desk.announcement, "name": mebibyte * 5}
        assert error_of(await desk.client.call("executor:ready", announcement)) == "bad_request"
        assert (await desk.send(offer, 0, mebibyte))["expected"] == 1
        await desk.finish(offer, 1)
        assert (await ended(http, started))[0] == "done"


@rule("C4")
async def test_packets_that_are_none_are_passed_over_without_a_traceback(live: LiveServer) -> None:
    packets: list[str | bytes] = [
        "42",
        "42{",
        "42[]",
        '42["x"',
        "421[",
        "421[[1],{}]",
        "421[7]",
        '421["connect",1,2,3]',
    ]
    packets += ["43", "43zz", '4399["x"]', "43[1]", "44", "45", '451-["x",{"_placeholder":true,"num":0}]', "46", "49"]
    packets += ["40/other,", "40", "4", "9", "5", "2probe", b"\x00\x01", "4" + "2" * 500, "42" + "[" * 100_000]
    packets += [
        '421["connect",1,2,3]',
        '421["disconnect","transport close"]',
        '421["x",NaN]',
        '421["\ud83d"]'.encode("utf-8", "replace"),
    ]
    async with raw_socket(live.url) as (socket, _):
        for packet in packets:
            await socket.send(packet)
            assert error_of(await socket.event("still here?")) == "unknown_event", packet
    for packet in ("", "no packet", "41", "1"):
        async with raw_socket(live.url) as (socket, _):
            await socket.send(packet)
    async with connected(live.url) as client:
        assert error_of(await client.call("nope")) == "unknown_event"


@rule("C5")
async def test_fields_that_are_not_known_are_ignored(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with connected(live.url, {"client": {"protocol": 1, "new": True}, "newer": 1}) as client:
        desk = Executor(client)
        desk.announcement |= {"colour": "blue", "capabilities": {"audio": True}}
        desk.announcement["connections"][0]["region"] = "eu"
        await desk.ready()
        started = await ask(http, unheard_of=[1, 2])
        ack = await client.call("chat:open", {"chat_id": started["run"]["chat_id"], "verbose": True})
        assert ack["ok"] is True
        offer = await desk.offer()
        await desk.claim(offer)
        assert (await desk.send(offer, 0, "data: [DONE]", priority=1))["expected"] == 1


@rule("C6")
async def test_everything_comes_as_one_event_with_type_and_data(live: LiveServer, http: httpx.AsyncClient) -> None:
    names: set[str] = set()
    async with connected(live.url) as client:
        client.sio.on("*", lambda event, *_: names.add(event))
        await Executor(client).ready()
        chat_id = await new_chat(http)
        await client.call("chat:open", {"chat_id": chat_id})
        started = await ask(http, chat_id=chat_id)
        await client.next("request:chat:completion")
        await http.post(f"/api/runs/{started['run']['id']}/stop")
        await client.run_state("aborted")
        await client.next("request:chat:abort")
        await http.delete(f"/api/chats/{chat_id}")
        assert (await client.next("chat:gone")) == {"type": "chat:gone", "data": {"chat_id": chat_id}}
    assert names == set()


# --- C8: callbacks ---------------------------------------------------------------------------------


@rule("C8")
async def test_callback_numbers_never_repeat_and_a_late_one_answers_nothing(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    numbers: list[int] = []
    for _ in range(3):
        async with raw_socket(live.url) as (socket, session_id):
            body = {"model": "x", "messages": [{"role": "user", "content": "hi"}], "session_id": session_id}
            calling = asyncio.create_task(http.post("/api/chat/completions", json=body))
            number, _data = await socket.call()
            for late in numbers:
                await socket.send(f"43{late}{json.dumps([{'result': 'of an older call'}])}")
            numbers.append(number)
            if len(numbers) < 3:
                continue  # it goes without an answer
            await socket.send(f"43{number}{json.dumps([{'result': 'the right one'}])}")
            answer = await calling
        assert answer.json()["choices"][0]["message"]["content"] == "the right one"
    assert all(older < newer for older, newer in itertools.pairwise(numbers))
    assert max(numbers) < 2**53, "JavaScript must be able to count so far"


@rule("C8")
async def test_a_framed_executors_late_callback_to_an_older_attempt_changes_nothing(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    ready = Executor(Client()).announcement
    async with raw_socket(live.url) as (socket, _):
        await socket.event("executor:ready", ready)
        started = await ask(http)
        old_number, old = await socket.call()
    async with raw_socket(live.url) as (socket, _):
        await socket.event("executor:ready", ready)
        number, data = await socket.call()
        assert (data["run_id"], data["attempt"]) == (old["run_id"], old["attempt"] + 1)
        declined = {"status": False, "run_id": old["run_id"], "attempt": old["attempt"]}
        await socket.send(f"43{old_number}{json.dumps([declined])}")
        await socket.send(f"43{number}{json.dumps([declined])}")
        assert (await socket.event(data["channel"], {"attempt": 2, "index": 0, "lines": []}))["ok"] is True
        end = {"attempt": 2, "index": 0, "lines": ["data: [DONE]"], "done": True, "finish": {"reason": "stop"}}
        assert (await socket.event(data["channel"], end))["expected"] == 1
    assert (await ended(http, started))[0] == "done"
