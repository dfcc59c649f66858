"""Chats that are larger than an answer, over HTTP and over both transports."""

import json

import httpx
import pytest

from keyside.protocol.wire import MOST_ANSWER
from keyside.testing import text_line
from tests.edge.live import LiveServer, ask, connected, ended, executing, new_chat, raw_socket
from tests.edge.test_http import code_of

rule = pytest.mark.rule


@rule("V1", "V3")
async def test_what_is_sent_of_a_large_chat_is_never_larger_than_an_answer(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    chat_id = await new_chat(http)
    for text in ("語" * 150_000, '"' * 400_000, "x" * 700_000):
        body = {"role": "user", "content": text}
        assert (await http.post(f"/api/chats/{chat_id}/messages", json=body)).status_code == 201
    async with raw_socket(live.url) as (viewer, _):
        for number, after in enumerate((None, 0, 2, 4)):
            request = {"chat_id": chat_id} | ({} if after is None else {"after": after})
            await viewer.send(f"42{number}{json.dumps(['chat:open', request])}")
            packet = await viewer.receive(f"43{number}[")
            assert len(packet.encode()) <= MOST_ANSWER
            ack = json.loads(packet[packet.index("[") :])[0]
            if after == 4:
                shown = [event["message"] for event in ack["events"] if event["kind"] == "message"]
            else:
                shown = ack["snapshot"]["messages"]
                assert ack["snapshot"]["earlier"] is True
            assert [message["content"] for message in shown] == ["x" * 700_000]


@rule("V1")
async def test_a_long_chat_is_read_page_by_page(http: httpx.AsyncClient) -> None:
    chat_id = await new_chat(http)
    path = f"/api/chats/{chat_id}/messages"
    ids = [f"long-{chat_id}-{number}" for number in range(10)]
    for id in ids:
        body = {"id": id, "role": "user", "content": "x" * 1_000_000}
        assert (await http.post(path, json=body)).status_code == 201
    for params in ({}, {"branch": ids[-1]}):
        cursor: dict[str, str] = {}
        for at in range(0, 10, 2):
            page = (await http.get(path, params={**params, **cursor})).json()
            assert [message["id"] for message in page["items"]] == ids[at : at + 2]
            cursor = {"cursor": page["next_cursor"]}
        assert cursor == {"cursor": None}
    short = (await http.get(path, params={"branch": ids[1]})).json()
    assert ([message["id"] for message in short["items"]], short["next_cursor"]) == (ids[:2], None)
    for wrong in ("x", "-1", "9" * 40, ""):
        assert code_of(await http.get(path, params={"cursor": wrong})) == (400, "bad_request")
        assert code_of(await http.get(path, params={"branch": ids[0], "cursor": wrong})) == (400, "bad_request")


@rule("V1", "V3")
async def test_one_message_comes_whole_with_the_number_of_what_is_in_it(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with executing(live.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("so "), text_line("far"))
        path = f"/api/chats/{offer['chat_id']}/messages/{offer['message_id']}"
        found = (await http.get(path)).json()
        assert set(found) == {"message", "seq"}
        assert (found["message"]["content"], found["message"]["status"]) == ("so far", "streaming")
        assert found["message"]["partial"] is False
        async with connected(live.url) as viewer:
            ack = await viewer.call("chat:open", {"chat_id": offer["chat_id"], "after": found["seq"]})
            assert ack["events"] == []
        await desk.finish(offer, 2)
        assert await ended(http, started) == ("done", None, "so far")
        assert (await http.get(path)).json()["seq"] > found["seq"]
    for wrong in (
        f"/api/chats/{offer['chat_id']}/messages/nobody",
        f"/api/chats/999999/messages/{offer['message_id']}",
    ):
        assert code_of(await http.get(wrong)) == (404, "not_found")
