"""`POST /api/chat/completions`, answered by plain executors: the article's own in JavaScript, and one in Python."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyside.testing import DONE, text_line
from tests.edge.live import SECONDS, Client, LiveServer, connected, events_of, executing
from tests.edge.upstream import Upstream, serving

rule = pytest.mark.rule
PROGRAM = Path(__file__).with_name("plain_executor.mjs")
MESSAGES = [{"role": "user", "content": "你好"}]
TEXT = "你好, data: world! [DONE] {\"a\": 'b'}\n\n🙂 end."
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


def stream_of(text: str) -> bytes:
    """An upstream's answer, a few characters an event."""
    lines = [text_line(text[at : at + 5]) for at in range(0, len(text), 5)]
    return "".join(f"{line}\n\n" for line in [*lines, text_line("", finish_reason="stop"), DONE]).encode()


def cut(body: bytes, size: int) -> list[bytes]:
    """The bytes in pieces, so that lines and even characters are cut; no piece is white space alone."""
    pieces: list[bytes] = []
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        if pieces and not piece.strip():
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def body(session_id: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": MESSAGES, "session_id": session_id, **more}


async def streamed(http: httpx.AsyncClient, asked: dict[str, Any]) -> list[str]:
    """The data of every event of a streaming call."""
    answer = await http.post("/api/chat/completions", json={**asked, "stream": True})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events.pop() == ""
    assert all(event.startswith("data: ") for event in events)
    return [event.removeprefix("data: ") for event in events]


def text_of(events: list[str]) -> str:
    """The text of all chunks; the last event is the end mark."""
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


@asynccontextmanager
async def article_executor(live: LiveServer, upstream: Upstream) -> AsyncIterator[str]:
    """Runs the article's program in Node; the value is its session id."""
    node = shutil.which("node")
    assert node, "Node is needed, as for the page"
    process = await asyncio.create_subprocess_exec(
        node, str(PROGRAM), live.url, upstream.url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), SECONDS)).decode().strip()
        if not line or " " in line:
            raise AssertionError(line or (await process.communicate())[1].decode())
        yield line
        assert process.returncode is None, "it ended by itself"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@rule("E6", "E2")
@pytest.mark.parametrize("size", [10_000, 61, 17, 7])
async def test_the_articles_executor_streams_as_it_stands_however_the_upstream_cuts_its_lines(
    live: LiveServer, http: httpx.AsyncClient, size: int
) -> None:
    async with (
        serving(Upstream(cut(stream_of(TEXT), size))) as upstream,
        article_executor(live, upstream) as session_id,
    ):
        assert text_of(await streamed(http, body(session_id, temperature=0.5))) == TEXT
    headers, sent = upstream.requests[0]
    assert len(upstream.requests) == 1
    assert headers["authorization"] == "Bearer sk-of-the-test"
    assert sent == {"model": "gpt-4o", "messages": MESSAGES, "stream": True, "temperature": 0.5}


@rule("E6", "E3")
async def test_the_articles_executor_answers_without_streaming_as_it_stands(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with serving(Upstream(whole=COMPLETION)) as upstream, article_executor(live, upstream) as session_id:
        answers = [
            (await http.post("/api/chat/completions", json=body(session_id, **more))).json()
            for more in ({"stream": False}, {"stream": False, "chat_id": None})
        ]
    for answer in answers:
        assert answer["object"] == "chat.completion"
        assert answer["choices"] == COMPLETION["choices"]
        assert answer["usage"] == COMPLETION["usage"]
    assert upstream.requests[0][1]["stream"] is False


@rule("E6")
async def test_what_the_upstream_refuses_comes_back_as_an_error(live: LiveServer, http: httpx.AsyncClient) -> None:
    refused = Upstream(whole={"error": {"message": "Incorrect API key provided"}}, status=401)
    async with serving(refused) as upstream, article_executor(live, upstream) as session_id:
        answer = await http.post("/api/chat/completions", json=body(session_id, stream=False))
    assert answer.status_code >= 400
    assert "Incorrect API key" in answer.json()["error"]["message"]


class Plain(Client):
    """A plain executor in Python: it sends these strings, and then calls back, or the other way round."""

    def __init__(self, *lines: str, early: bool = False, answer: Any = None) -> None:
        super().__init__()
        self.lines, self.early, self.answer = lines, early, answer
        self.on_call = self.run

    async def run(self, data: dict[str, Any]) -> Any:
        if not data["form_data"]["stream"]:
            return self.answer
        sending = asyncio.create_task(self.send(data["channel"]))
        if self.early:
            await sending
        return {"status": True}

    async def send(self, channel: str) -> None:
        for line in self.lines:
            await self.sio.emit(channel, line)


@rule("E6")
@pytest.mark.parametrize("early", [False, True])
async def test_a_plain_executor_is_twenty_lines_of_python(
    live: LiveServer, http: httpx.AsyncClient, early: bool
) -> None:
    plain = Plain(text_line("Hel"), text_line("lo"), DONE, early=early, answer={"result": "Hello"})
    try:
        await plain.connect(live.url)
        assert text_of(await streamed(http, body(plain.session_id))) == "Hello"
        whole = (await http.post("/api/chat/completions", json=body(plain.session_id))).json()
        assert whole["choices"][0]["message"]["content"] == "Hello"
    finally:
        await plain.close()


@rule("E6")
async def test_an_executor_that_goes_in_mid_stream_ends_it_with_an_error_and_without_done(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    plain = Plain(text_line("so far"))
    try:
        await plain.connect(live.url)
        asked = body(plain.session_id, stream=True)
        async with http.stream("POST", "/api/chat/completions", json=asked) as answer:
            events = answer.aiter_lines()
            assert "so far" in await anext(events)
            await plain.sio.disconnect()
            rest = [line async for line in events if line]
    finally:
        await plain.close()
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "executor_lost"


# --- the caller ------------------------------------------------------------------------------------


@rule("R9")
@pytest.mark.parametrize("when", ["before the first line", "in mid-stream", "while it waits for the whole"])
async def test_a_caller_that_disconnects_stops_its_run(live: LiveServer, http: httpx.AsyncClient, when: str) -> None:
    async with executing(live.url, "companion") as companion:
        asked = {"model": "companion/m", "messages": MESSAGES, "stream": when != "while it waits for the whole"}

        async def call(started: asyncio.Event) -> None:
            async with live.http() as caller, caller.stream("POST", "/api/chat/completions", json=asked) as answer:
                async for _ in answer.aiter_lines():
                    started.set()

        started = asyncio.Event()
        calling = asyncio.create_task(call(started))
        offer = await companion.offer()
        await companion.claim(offer)
        if when == "in mid-stream":
            await companion.send(offer, 0, text_line("a"))
            await asyncio.wait_for(started.wait(), SECONDS)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        told = await companion.client.next("request:chat:abort")
        assert told["data"]["run_id"] == offer["run_id"]
        assert (await http.get(f"/api/runs/{offer['run_id']}")).json()["state"] == "aborted"


@rule("D1")
async def test_the_message_is_stored_before_done_is_sent(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with connected(live.url) as client:
        client.on_call = lambda _: {"result": "Hello"}
        chat_id = (await http.post("/api/chats", json={})).json()["id"]
        asked = body(client.session_id, chat_id=chat_id, stream=True)
        async with http.stream("POST", "/api/chat/completions", json=asked) as answer:
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    break
            items = (await http.get(f"/api/chats/{chat_id}/messages")).json()["items"]
    assert [(one["role"], one["content"], one["status"]) for one in items] == [
        ("user", "你好", "sent"),
        ("assistant", "Hello", "sent"),
    ]


async def test_a_call_without_a_chat_shows_in_no_list(live: LiveServer, http: httpx.AsyncClient) -> None:
    before = (await http.get("/api/chats")).json()["items"]
    async with connected(live.url) as client:
        client.on_call = lambda _: {"result": "Hello"}
        answer = await http.post("/api/chat/completions", json=body(client.session_id))
    assert (await http.get("/api/chats")).json()["items"] == before
    run_id = answer.json()["id"].removeprefix("chatcmpl-")
    assert (await events_of(http, run_id))[-1][1]["run"]["state"] == "done"


@rule("R3")
@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"model": "nobody/has-this"}, 404, "model_not_found"),
        ({"session_id": "nobody"}, 404, "session_gone"),
        ({"messages": []}, 400, "bad_request"),
        ({"messages": "hi"}, 400, "bad_request"),
        ({"messages": [7]}, 400, "bad_request"),
        ({"model": None}, 400, "bad_request"),
        ({"model": "x" * 5000}, 400, "bad_request"),
        ({"chat_id": 999_999}, 404, "not_found"),
    ],
)
async def test_a_call_that_cannot_be_answered_gets_an_error_of_this_dialect(
    http: httpx.AsyncClient, asked: dict[str, Any], status: int, code: str
) -> None:
    answer = await http.post("/api/chat/completions", json={"model": "gpt", "messages": MESSAGES, **asked})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"model": "\\ud83d"}'])
async def test_a_body_that_is_no_call_gets_an_error(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/api/chat/completions", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"


@rule("R3")
async def test_a_call_for_an_absent_executor_fails_at_once(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(live.url, "absent"):
        pass
    answer = await http.post("/api/chat/completions", json={"model": "absent/m", "messages": MESSAGES})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_executor")
    assert answer.headers["retry-after"].isdigit()


# --- what comes from outside -------------------------------------------------------------------------


def deep(levels: int) -> Any:
    """Lists in lists."""
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"executor_id": "with a space"}, 400),
        ({"executor_id": 5}, 400),
        ({"session_id": "s" * 101}, 400),
        ({"session_id": ["s"]}, 400),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]}, 404),
        ({"messages": [{"role": "user", "content": [None, 5, {"text": {}}]}]}, 404),
        ({"messages": [{"role": "user", "content": "x" * 1_200_000}]}, 404),
        ({"messages": [{"role": "user", "content": "x" * 4_300_000}]}, 413),
        ({"metadata": deep(400)}, 400),
        ({"seed": 10**30}, 400),
        ({"chat_id": 2**70}, 400),
        ({"chat_id": 2**60}, 400),
        ({"chat_id": 2**53 - 1}, 404),
        ({"chat_id": "chat_001"}, 400),
        ({"first_line_timeout": -1}, 400),
        ({"idle_timeout": 10**9}, 400),
        ({"model": ""}, 400),
        ({"provider": {"order": ["Together"]}}, 404),
        ({"provider": "p" * 61}, 400),
    ],
)
async def test_whatever_a_body_holds_it_is_checked_before_anything_is_begun(
    http: httpx.AsyncClient, more: dict[str, Any], status: int
) -> None:
    asked = {"model": "nobody/none", "messages": MESSAGES, **more}
    answer = await http.post("/api/chat/completions", json=asked)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"model": "nobody/none", "messages": [{"role": "user", "content": "x"}], "user": "\\ud800"}',
        b"[1]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"{" * 2000,
        b'{"model": "m", "messages": [{"role": "user", "content": NaN}]}',
    ],
)
async def test_a_body_that_is_no_object_of_well_formed_json_is_refused(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/api/chat/completions", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("name", "value"),
    [("idempotency-key", "k" * 301), ("keyside-wait", "\u00b2"), ("keyside-wait", "9" * 5000)],
)
async def test_headers_have_bounds(http: httpx.AsyncClient, name: str, value: str) -> None:
    asked = {"model": "m", "messages": MESSAGES}
    given = {name.encode(): value.encode("latin-1")}
    answer = await http.post("/api/chat/completions", json=asked, headers=given)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


@rule("E2")
async def test_openrouters_own_provider_object_is_passed_on_and_a_name_is_ours(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    routing = {"order": ["Together"], "allow_fallbacks": False}
    async with executing(live.url, "router") as router:
        for provider, passed in ((routing, routing), ("router", None)):
            patience = {"first_line_timeout": 5, "idle_timeout": 7}
            asked = {"model": "router/m", "messages": MESSAGES, "provider": provider, **patience}
            calling = asyncio.create_task(http.post("/api/chat/completions", json=asked))
            offer = await router.offer()
            await router.claim(offer)
            await router.send(offer, 0, text_line("a"), DONE)
            assert (await calling).status_code == 200
            assert offer["form_data"].get("provider") == passed
            assert {name: offer[name] for name in patience} == patience
            assert not patience.keys() & offer["form_data"].keys()


@rule("R3", "R5")
async def test_how_a_call_failed_is_its_status_too(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(live.url, "fails") as executor:
        asked = {"model": "fails/m", "messages": MESSAGES}
        for finish, status, code in (
            ({"reason": "error", "error": {"code": "upstream_silent", "message": "x", "retryable": True}}, 504, None),
            ({"reason": "error", "error": {"code": "of_its_own", "message": "x", "retryable": True}}, 502, None),
            ({"reason": "aborted"}, 410, "aborted"),
        ):
            calling = asyncio.create_task(http.post("/api/chat/completions", json=asked))
            offer = await executor.offer()
            await executor.claim(offer)
            await executor.send(offer, 0, done=True, finish=finish)
            answer = await calling
            error = finish.get("error", {})
            assert isinstance(error, dict)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code or error["code"])
    waits = {**asked, "model": "fails/m"}
    answer = await http.post("/api/chat/completions", json=waits, headers={"keyside-wait": "1"})
    assert (answer.status_code, answer.json()["error"]["code"], "retry-after" in answer.headers) == (
        503,
        "no_executor",
        True,
    )
