"""A store that is unavailable for a while, and viewers that are too slow: nothing is lost, and clients are told."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from keyside.testing import DONE, text_line
from tests.edge.live import SECONDS, Client, LiveServer, ask, connected, ended, executing, raw_socket

rule = pytest.mark.rule


@contextmanager
def locked(live: LiveServer) -> Iterator[None]:
    """Makes the store unavailable while the block runs: another process holds a write transaction."""
    with closing(sqlite3.connect(live.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def store_is(client: Client, ok: bool) -> None:
    while (await client.next("store"))["data"]["ok"] is not ok:
        pass


@rule("D4", "D1")
async def test_while_the_store_is_away_nothing_is_kept_or_acknowledged_and_then_it_goes_on(
    own_server: LiveServer,
) -> None:
    live = own_server
    async with live.http() as http, executing(live.url) as desk, connected(live.url) as viewer:
        started = await ask(http)
        await viewer.call("chat:open", {"chat_id": started["run"]["chat_id"]})
        offer = await desk.offer()
        await desk.claim(offer)
        assert await desk.send(offer, 0, text_line("before ")) == {"ok": True, "expected": 1}
        with locked(live):
            refused = await desk.send(offer, 1, text_line("meanwhile "))
            assert (refused["ok"], refused["error"]["code"]) == (False, "store_unavailable")
            assert refused["error"]["retryable"]
            await store_is(viewer, False)
            stop = await http.post(f"/api/runs/{offer['run_id']}/stop")
            assert (stop.status_code, stop.json()["error"]["code"]) == (503, "store_unavailable")
            assert stop.headers["retry-after"]
            assert (await http.get(f"/api/runs/{offer['run_id']}")).json()["state"] == "streaming"
        await store_is(viewer, True)
        assert await desk.send(offer, 1, text_line("after"), DONE) == {"ok": True, "expected": 3}
        assert await ended(http, started) == ("done", None, "before after")


@rule("D4", "R4")
async def test_an_executor_that_goes_while_the_store_is_away_is_missed_when_it_is_back(own_server: LiveServer) -> None:
    live = own_server
    async with live.http() as http, connected(live.url) as viewer:
        async with executing(live.url) as desk:
            started = await ask(http)
            await viewer.call("chat:open", {"chat_id": started["run"]["chat_id"]})
            offer = await desk.offer()
            await desk.claim(offer)
            lock = locked(live)
            lock.__enter__()
            await desk.send(offer, 0, text_line("lost"))
        await store_is(viewer, False)
        lock.__exit__(None, None, None)
        assert (await viewer.run_state("suspended"))["id"] == offer["run_id"]
        async with executing(live.url) as again:
            ack = await again.ready(offer)
            assert [verdict["expected"] for verdict in ack["runs"]] == [0]
            await again.send(offer, 0, text_line("whole"), DONE)
        assert await ended(http, started) == ("done", None, "whole")


@rule("D4", "E6")
@pytest.mark.parametrize("goes", [False, True])
async def test_an_answer_that_a_plain_executor_gives_while_the_store_is_away_is_stored_when_it_is_back(
    own_server: LiveServer, goes: bool
) -> None:
    live = own_server
    called, stored = asyncio.Event(), asyncio.Event()

    async def answer(_: dict[str, Any]) -> dict[str, str]:
        called.set()
        await stored.wait()
        return {"result": "said once"}

    async with live.http() as http, connected(live.url) as viewer:
        async with connected(live.url) as plain:
            plain.on_call = answer
            started = await ask(http, model="m", session_id=plain.session_id, params={"stream": False})
            async with asyncio.timeout(SECONDS):
                await called.wait()
            lock = locked(live)
            lock.__enter__()
            stored.set()
            await store_is(viewer, False)
            if not goes:
                lock.__exit__(None, None, None)
                assert await ended(http, started) == ("done", None, "said once")
        if goes:
            lock.__exit__(None, None, None)
            assert await ended(http, started) == ("done", None, "said once")


@rule("V5")
async def test_a_viewer_that_does_not_read_is_told_to_open_again_and_costs_no_more(own_server: LiveServer) -> None:
    live = own_server
    async with (
        live.http() as http,
        executing(live.url) as desk,
        connected(live.url) as attentive,
        raw_socket(live.url) as (slow, _),
    ):
        started = await ask(http)
        chat_id = started["run"]["chat_id"]
        await attentive.call("chat:open", {"chat_id": chat_id})
        ack = await slow.event("chat:open", {"chat_id": chat_id})
        assert ack["ok"]
        offer = await desk.offer()
        await desk.claim(offer)
        piece = "x" * 250_000
        frames = 80  # 20 MB: more than the network, the server's queue and the reader's own buffer hold together
        for index in range(frames):
            assert (await desk.send(offer, index, text_line(piece)))["ok"]
            await attentive.event("delta")
        told = await slow.receive('42["events",{"type":"chat:reopen"')
        assert f'"chat_id":{chat_id}' in told
        seen = max([ack["seq"], *(event["seq"] for event in slow.passed_over("chat:event"))])
        again = await slow.event("chat:open", {"chat_id": chat_id, "after": seen})
        assert again["seq"] > seen
        shown = again["snapshot"]["messages"][-1]
        assert (shown["partial"], set(shown["content"])) == (True, {"x"}), "it has missed more than fits into an answer"
        whole = (await http.get(f"/api/chats/{chat_id}/messages/{shown['id']}")).json()
        assert (whole["seq"], whole["message"]["content"]) == (again["seq"], piece * frames)
        await desk.finish(offer, frames)
        async with asyncio.timeout(SECONDS):
            assert (await ended(http, started))[2] == piece * frames
