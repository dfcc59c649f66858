"""A server that is killed in the middle of everything: what it acknowledged is there, and runs go on."""

import asyncio
import signal

import pytest

from keyside.testing import DONE, text_line
from tests.edge.live import SECONDS, Executor, LiveServer, ask, connected, ended, executing

rule = pytest.mark.rule


async def partial_text(live: LiveServer, chat_id: int) -> str:
    """The text of the newest message, as a viewer that opens now sees it."""
    async with connected(live.url) as viewer:
        ack = await viewer.call("chat:open", {"chat_id": chat_id})
    return str(ack["snapshot"]["messages"][-1]["content"])


@rule("D1", "R8", "E1")
async def test_whatever_was_acknowledged_is_there_after_a_kill_and_the_run_goes_on(own_server: LiveServer) -> None:
    live, pieces = own_server, [f"<{n}>" for n in range(40)]
    stored = 0
    async with live.http() as http:
        async with executing(live.url) as desk:
            started = await ask(http)
            offer = await desk.offer()
            await desk.claim(offer)
        for kill in range(2):
            async with connected(live.url) as client:
                desk = Executor(client)
                verdict = (await desk.ready(offer))["runs"][0]
                assert (verdict["verdict"], verdict["expected"]) == ("continue", stored)
                sending = [
                    asyncio.create_task(desk.send(offer, n, text_line(pieces[n]))) for n in range(stored, stored + 15)
                ]
                ack = await sending[9]
                stored = ack["expected"]
                live.end()
                await asyncio.wait_for(client.gone.wait(), SECONDS)
                stored = max([stored, *(task.result()["expected"] for task in sending if task.done())])
                for task in sending:
                    task.cancel()
                await asyncio.gather(*sending, return_exceptions=True)
            live.start()
            text = await partial_text(live, offer["chat_id"])
            assert text == "".join(pieces[: text.count("<")])
            assert text.count("<") >= stored, f"acknowledged lines were lost by kill {kill}"
            stored = text.count("<")
        async with connected(live.url) as client:
            desk = Executor(client)
            await desk.ready(offer)
            await desk.send(offer, stored, *map(text_line, pieces[stored:]), DONE)
        assert await ended(http, started) == ("done", None, "".join(pieces))
        assert (await http.get(f"/api/runs/{offer['run_id']}")).json()["attempt"] == 1


@rule("D1", "R6")
async def test_what_http_has_answered_is_there_after_a_kill(own_server: LiveServer) -> None:
    live = own_server
    async with live.http() as http:
        async with executing(live.url) as desk:
            started = await ask(http, run_id="r-1")
            chat_id = started["run"]["chat_id"]
            live.end()
        live.start()
        assert (await http.get(f"/api/chats/{chat_id}")).json()["title"] == "hello"
        messages = (await http.get(f"/api/chats/{chat_id}/messages")).json()["items"]
        assert [message["content"] for message in messages] == ["hello", ""]
        again = await ask(http, run_id="r-1", chat_id=chat_id)
        assert again["assistant_message"]["id"] == started["assistant_message"]["id"]
        # The offer was never claimed: the executor, which does not know it, gets it anew.
        async with connected(live.url) as client:
            desk = Executor(client)
            desk.announcement["instance"] = "instance-2"
            await desk.ready()
            offer = await desk.offer()
            await desk.claim(offer)
            await desk.send(offer, 0, text_line("once"), DONE)
        assert await ended(http, started) == ("done", None, "once")
        for path in ("/api/executors", "/api/models"):
            assert (await http.get(path)).json()["items"]


@rule("R8", "E3")
async def test_an_offer_that_is_held_over_a_kill_is_claimed_once(own_server: LiveServer) -> None:
    live = own_server
    async with live.http() as http:
        async with executing(live.url) as desk:
            started = await ask(http)
            offer = await desk.offer()
            live.end()
        live.start()
        async with connected(live.url) as client:
            desk = Executor(client)
            verdict = (await desk.ready(offer))["runs"][0]
            assert (verdict["verdict"], verdict["expected"]) == ("continue", 0)
            await desk.claim(offer)
            await desk.send(offer, 0, text_line("once"), DONE)
            assert await ended(http, started) == ("done", None, "once")
            assert client.told.empty() or (await client.told.get())["type"] != "request:chat:completion"


@rule("R8")
async def test_a_program_whose_server_was_killed_has_its_run_ended(own_server: LiveServer) -> None:
    live = own_server
    async with live.http() as http:
        async with executing(live.url) as desk:
            body = {"model": "desk/m", "messages": [{"role": "user", "content": "hi"}]}
            calling = asyncio.create_task(http.post("/api/chat/completions", json=body))
            offer = await desk.offer()
            await desk.claim(offer)
            await desk.send(offer, 0, text_line("a"))
            live.end()
            await asyncio.gather(calling, return_exceptions=True)
        live.start()
        assert (await http.get(f"/api/runs/{offer['run_id']}")).json()["state"] == "aborted"
        async with connected(live.url) as client:
            assert (await Executor(client).ready(offer))["runs"][0]["verdict"] == "drop"


@rule("R8")
async def test_a_server_that_is_told_to_end_hands_its_runs_to_the_next(own_server: LiveServer) -> None:
    live = own_server
    async with live.http() as http:
        async with executing(live.url) as desk, connected(live.url) as viewer:
            started = await ask(http)
            await viewer.call("chat:open", {"chat_id": started["run"]["chat_id"]})
            offer = await desk.offer()
            await desk.claim(offer)
            await desk.send(offer, 0, text_line("before "))
            assert live.end(signal.SIGTERM) == 0
            async with asyncio.timeout(SECONDS):
                await viewer.gone.wait()
        live.start()
        async with connected(live.url) as client:
            desk = Executor(client)
            assert (await desk.ready(offer))["runs"][0]["verdict"] == "continue"
            await desk.send(offer, 1, text_line("and after"), DONE)
        assert await ended(http, started) == ("done", None, "before and after")
    assert "Traceback" not in live.log
