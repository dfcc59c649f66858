"""Frames and viewers over real sockets: order, limits, whose channel it is, and what every tab sees."""

import asyncio
from typing import Any

import httpx
import pytest

from keyside.testing import DONE, text_line
from tests.edge.live import Executor, LiveServer, ask, connected, ended, events_of, executing, message_of, new_chat
from tests.edge.test_sockets import error_of

rule = pytest.mark.rule


@rule("E5", "E3")
async def test_pipelined_frames_are_acknowledged_in_order_and_stored_once(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with executing(live.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        sending = [desk.send(offer, 0), *(desk.send(offer, n, text_line(f"{n} ")) for n in range(100))]
        acks = await asyncio.gather(*sending)
        assert [ack["expected"] for ack in acks] == [0, *range(1, 101)]
        assert (await desk.send(offer, 50, *(text_line(f"{n} ") for n in range(50, 103))))["expected"] == 103
        gap = await desk.send(offer, 200, text_line("lost"))
        assert (error_of(gap), gap["expected"]) == ("gap", 103)
        assert (await desk.finish(offer, 103))["expected"] == 103
        assert (await desk.finish(offer, 103))["expected"] == 103
    assert await ended(http, started) == ("done", None, "".join(f"{n} " for n in range(103)))


@rule("E10", "C4")
async def test_a_frame_of_600_kibibytes_in_one_line_is_taken(live: LiveServer, http: httpx.AsyncClient) -> None:
    text = "0123456789abcdef" * (600 * 64)
    async with executing(live.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        assert (await desk.send(offer, 0, text_line(text)))["expected"] == 1
        await desk.finish(offer, 1)
    assert await ended(http, started) == ("done", None, text)


@rule("E10")
async def test_a_line_that_is_too_long_fails_the_run_and_keeps_its_text(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with executing(live.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        ack = await desk.send(offer, 0, text_line("kept"), text_line("x" * 1024 * 1024))
        assert error_of(ack) == "line_too_long"
    assert await ended(http, started) == ("failed", "line_too_long", "kept")


@rule("E7")
async def test_a_line_that_is_no_json_is_noise(live: LiveServer, http: httpx.AsyncClient) -> None:
    noise = ["<html>", "data: {", "data: null", "data: []", "data: 7", 'data: "x"', ": ping", "", "\x00", "data:"]
    noise += ['data: {"choices": 7}', 'data: {"choices": [null]}', 'data: {"choices":[{"delta": "x"}]}']
    noise += ['data: {"choices":[{"delta":{"tool_calls":[{"index":{}}]}}],"usage":[]}']
    async with executing(live.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("a"), *noise, text_line("b"))
        await desk.send(offer, len(noise) + 2, DONE)
    assert await ended(http, started) == ("done", None, "ab")


@rule("D2", "E13")
async def test_lone_surrogates_do_not_break_the_socket_and_are_stored_replaced(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with executing(live.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        # As JSON escapes inside of the line, and in the line itself.
        inside = 'data: {"choices":[{"delta":{"content":"a\\ud83db"}}]}'
        assert (await desk.send(offer, 0, inside))["expected"] == 1
        assert (await desk.send(offer, 1, text_line("c\ud83dd"), text_line("\ude00")))["expected"] == 3
        assert (await desk.send(offer, 3, text_line("😀"), DONE))["expected"] == 5
        state, code, content = await ended(http, started)
        assert (state, code) == ("done", None)
        assert content == "a\ufffdbc\ufffdd\ufffd😀"
        assert error_of(await desk.client.call("still here?")) == "unknown_event"


@rule("E11")
async def test_other_sockets_of_the_same_user_cannot_send_on_a_channel(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with executing(live.url) as desk, connected(live.url) as tab, executing(live.url, "laptop") as laptop:
        started = await ask(http)
        offer = await desk.offer()
        for stranger in (tab, laptop.client):
            forged = {"attempt": offer["attempt"], "index": 0, "lines": []}
            assert error_of(await stranger.call(offer["channel"], forged)) == "not_yours"
        await desk.claim(offer)
        for stranger in (tab, laptop.client):
            forged = {"attempt": offer["attempt"], "index": 0, "lines": [text_line("forged"), DONE]}
            assert error_of(await stranger.call(offer["channel"], forged)) == "not_yours"
        await desk.send(offer, 0, text_line("own"), DONE)
    assert await ended(http, started) == ("done", None, "own")


@rule("E11", "E1")
async def test_a_new_socket_is_not_ready_before_it_says_so(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(live.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("a"))
    async with connected(live.url) as client:
        again = Executor(client)
        ack = await again.send(offer, 1, text_line("b"))
        assert (error_of(ack), ack["error"]["retryable"]) == ("not_ready", True)
        verdicts = (await again.ready(offer))["runs"]
        assert [(one["verdict"], one["expected"]) for one in verdicts] == [("continue", 1)]
        assert (await again.send(offer, 1, text_line("b"), DONE))["expected"] == 3
    assert await ended(http, started) == ("done", None, "ab")


@rule("E12")
async def test_a_taken_id_is_refused_and_a_newer_instance_replaces_the_older(
    live: LiveServer,
) -> None:
    async with executing(live.url) as desk, connected(live.url) as other:
        thief = {**desk.announcement, "secret": "another secret of the test"}
        assert error_of(await other.call("executor:ready", thief)) == "executor_taken"
        newer = {**desk.announcement, "instance": "instance-2"}
        assert (await other.call("executor:ready", newer))["ok"] is True
        assert await desk.client.next("executor:replaced") == {"type": "executor:replaced", "data": {}}


@rule("E9", "R5")
async def test_a_stop_reaches_the_executor_and_its_last_frame_is_acknowledged(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with executing(live.url) as desk:
        started = await ask(http)
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("so far"))
        assert (await http.post(f"/api/runs/{offer['run_id']}/stop")).json()["state"] == "aborted"
        data = (await desk.client.next("request:chat:abort"))["data"]
        assert data == {name: offer[name] for name in ("run_id", "attempt", "channel")}
        assert await desk.finish(offer, 1, reason="aborted") == {"ok": True, "expected": 1}
        assert error_of(await desk.send(offer, 1, text_line("more"))) == "run_ended"
    assert await ended(http, started) == ("aborted", None, "so far")


# --- viewers ---------------------------------------------------------------------------------------


@rule("V1", "V2", "V3", "V6")
async def test_every_tab_sees_the_same_whenever_it_opens(live: LiveServer, http: httpx.AsyncClient) -> None:
    pieces = [f"<{n}>" for n in range(60)]
    async with executing(live.url) as desk, connected(live.url) as early, connected(live.url) as late:
        chat_id = await new_chat(http)
        seen = [await early.call("chat:open", {"chat_id": chat_id})]
        assert (seen[0]["snapshot"]["messages"], seen[0]["events"]) == ([], None)
        await ask(http, chat_id=chat_id)
        offer = await desk.offer()
        await desk.claim(offer)
        sending = [asyncio.create_task(desk.send(offer, n, text_line(piece))) for n, piece in enumerate(pieces)]
        await sending[20]
        seen.append(await late.call("chat:open", {"chat_id": chat_id}))
        await asyncio.gather(*sending)
        await desk.finish(offer, len(pieces))
        texts, heads = [], []
        for client, ack in zip((early, late), seen, strict=True):
            messages = [m for m in ack["snapshot"]["messages"] if m["id"] == offer["message_id"]]
            text, seq = (messages[0]["content"] if messages else ""), ack["seq"]
            ended = False
            while True:
                message = await client.next("chat:event", "chats:heads")
                if message["type"] == "chats:heads":
                    if message["data"] == {str(chat_id): seq} and ended:
                        break
                    continue
                event = message["data"]
                if event["seq"] <= ack["seq"]:
                    continue
                assert event["seq"] == seq + 1, "a gap"
                seq = event["seq"]
                ended |= event["kind"] == "run" and event["run"]["state"] == "done"
                text += event.get("content", "") if event["kind"] == "delta" else ""
            texts.append(text)
            heads.append(seq)
        assert texts == ["".join(pieces)] * 2
        assert heads[0] == heads[1]
        missed = await late.call("chat:open", {"chat_id": chat_id, "after": seen[1]["seq"]})
        assert [event["seq"] for event in missed["events"]] == list(range(seen[1]["seq"] + 1, heads[1] + 1))


@rule("V4")
async def test_tabs_without_an_open_chat_learn_of_chats_and_executors(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with connected(live.url) as tab:
        await new_chat(http)
        assert await tab.next("chats:changed") == {"type": "chats:changed", "data": {}}
        async with executing(live.url):
            await tab.next("executors:changed")
        await tab.next("executors:changed")


@rule("V1")
async def test_a_tab_that_closed_a_chat_gets_nothing_more_of_it(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with connected(live.url) as tab:
        closed, opened = await new_chat(http), await new_chat(http)
        for chat_id in (closed, opened):
            await tab.call("chat:open", {"chat_id": chat_id})
        assert await tab.call("chat:close", {"chat_id": closed}) == {"ok": True}
        for chat_id in (closed, opened):
            await http.patch(f"/api/chats/{chat_id}", json={"title": "new"})
        assert (await tab.event("chat"))["chat_id"] == opened


@rule("V2")
async def test_run_events_by_http_are_those_of_the_socket(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(live.url) as desk:
        started = await ask(http)
        run_id = started["run"]["id"]
        offer = await desk.offer()
        following = asyncio.create_task(events_of(http, run_id))
        await desk.claim(offer)
        for n in range(5):
            await desk.send(offer, n, text_line(f"{n}"))
        await desk.finish(offer, 5)
        live_events = await following
    assert [seq for seq, _ in live_events] == [event["seq"] for _, event in live_events]
    assert deltas(live_events) == "01234"
    assert live_events[-1][1]["run"]["state"] == "done"
    middle = next(seq for seq, event in live_events if event.get("content") == "2")
    for resumed in (
        await events_of(http, run_id, {"Last-Event-ID": str(middle)}),
        await events_of(http, f"{run_id}", {"last-event-id": str(middle)}),
    ):
        assert deltas(resumed) == "34"
        assert resumed[-1] == live_events[-1]
    async with http.stream("GET", f"/api/runs/{run_id}/events?after={middle}") as answer:
        assert (await answer.aread()).decode().count("id: ") == len(resumed)
    assert await events_of(http, run_id, {"Last-Event-ID": str(live_events[-1][0] + 1000)}) == []
    message = await message_of(http, started)
    assert message["content"] == "01234"


def deltas(events: list[tuple[int, dict[str, Any]]]) -> str:
    """What the delta events add."""
    return "".join(event.get("content", "") for _, event in events if event["kind"] == "delta")
