"""A second user tries the ids of the first one in every call and every event, and neither sees nor changes anything.

A call or an event that is in none of the two tables makes the tests fail: give it a row.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyside.protocol.events import CHANNEL, EVENTS
from keyside.testing import DONE, text_line
from tests.edge.inside import Inside, inside, socket_headers
from tests.edge.live import Client, Executor, ask, connected, message_of, new_chat

rule = pytest.mark.rule
CANARY = "canary-of-the-first-user"
"""In every text of the first user. The second one must never get to see it."""
Ids = Mapping[str, Any]


@dataclass(frozen=True)
class Try:
    """One attempt of the second user, and the only status that it may have.

    In `path`, `query`, `json` and `headers`, the string `"{chat}"` stands for the first user's id of that kind, and
    `"{my chat}"` for the second user's own. A parameter of the path that is not given is the first user's.
    """

    status: int
    json: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False
    """Whether it is made in another browser of the second user, which it may sign out."""


PARAMETERS = {"chat_id": "{chat}", "message_id": "{message}", "run_id": "{run}"}
MY_CHAT = {"chat_id": "{my chat}"}
SAID: Any = {"model": "{my model}", "message": {"content": "hello"}}
ASKED: Any = {"model": "{my model}", "messages": [{"role": "user", "content": "hello"}]}

ROUTES: dict[str, tuple[Try, ...]] = {
    "GET /health": (Try(200),),
    "GET /health/ready": (Try(200),),
    # --- the account
    "POST /api/auth/redeem": (Try(401, {"code": "{sign-in}"}), Try(401, {"code": "{token}"})),
    "POST /api/auth/links/check": (Try(401, {"code": "{token}"}), Try(401, {"code": "{sign-in}"})),
    "GET /api/auth/me": (Try(200),),
    "POST /api/auth/logout": (Try(204, fresh=True),),
    "POST /api/auth/links": (Try(201),),
    "GET /api/auth/sessions": (Try(200),),
    "DELETE /api/auth/sessions/{id}": (Try(404, path={"id": "{sign-in}"}), Try(404, path={"id": "{token}"})),
    "GET /api/tokens": (Try(200),),
    "POST /api/tokens": (Try(201, {"name": "mine", "scopes": ["api"]}),),
    "DELETE /api/tokens/{id}": (Try(404, path={"id": "{token}"}), Try(404, path={"id": "{sign-in}"})),
    # --- chats and messages
    "POST /api/chats": (Try(201, {"title": "mine"}),),
    "GET /api/chats": (Try(200), Try(200, query={"cursor": "{cursor}"})),
    "GET /api/chats/{chat_id}": (Try(404),),
    "PATCH /api/chats/{chat_id}": (
        Try(404, {"title": "taken"}),
        Try(404, {"head_id": "{question}"}),
        Try(404, {"head_id": "{question}"}, path=MY_CHAT),
    ),
    "DELETE /api/chats/{chat_id}": (Try(404),),
    "GET /api/chats/{chat_id}/messages": (
        Try(404),
        Try(404, query={"branch": "{message}"}),
        Try(404, query={"branch": "{message}"}, path=MY_CHAT),
    ),
    "GET /api/chats/{chat_id}/messages/{message_id}": (Try(404), Try(404, path=MY_CHAT)),
    "POST /api/chats/{chat_id}/messages": (
        Try(404, {"role": "user", "content": "added"}),
        Try(404, {"role": "user", "content": "added", "parent_id": "{message}"}, path=MY_CHAT),
    ),
    "PUT /api/chats/{chat_id}/messages/{message_id}": (
        Try(404, {"content": "changed"}),
        Try(404, {"content": "changed"}, path=MY_CHAT),
    ),
    "PATCH /api/chats/{chat_id}/messages/{message_id}": (
        Try(404, {"content": "changed"}),
        Try(404, {"content": "changed"}, path=MY_CHAT),
    ),
    "DELETE /api/chats/{chat_id}/messages/{message_id}": (Try(404), Try(404, path=MY_CHAT)),
    # --- runs
    "POST /api/chats/{chat_id}/runs": (
        Try(404, SAID),
        Try(404, SAID | {"parent_id": "{message}"}, path=MY_CHAT),
        Try(404, {"model": "{my model}", "mode": "regenerate", "parent_id": "{question}"}, path=MY_CHAT),
        Try(404, {"model": "{my model}", "mode": "continue", "parent_id": "{message}"}, path=MY_CHAT),
        Try(404, SAID | {"executor_id": "{executor}"}, path=MY_CHAT),
        Try(404, SAID | {"session_id": "{session}"}, path=MY_CHAT),
        Try(404, SAID | {"session_id": "{viewer}"}, path=MY_CHAT),
        Try(404, SAID | {"model": "{model}"}, path=MY_CHAT),
        Try(202, SAID | {"prefer_executor_id": "{executor}"}, path=MY_CHAT),
    ),
    "GET /api/runs/{run_id}": (Try(404),),
    "POST /api/runs/{run_id}/stop": (Try(404),),
    "GET /api/runs/{run_id}/events": (Try(404), Try(404, headers={"last-event-id": "0"})),
    "POST /api/chat/completions": (
        Try(404, ASKED | {"chat_id": "{chat}"}),
        Try(404, ASKED | {"executor_id": "{executor}"}),
        Try(404, ASKED | {"session_id": "{session}"}),
        Try(404, ASKED | {"model": "{model}"}, headers={"idempotency-key": "{run}"}),
    ),
    # --- executors
    "GET /api/executors": (Try(200),),
    "DELETE /api/executors/{executor_id}": (Try(404, path={"executor_id": "{executor}"}),),
    "GET /api/models": (Try(200),),
}
"""What the second user tries in each call of the OpenAPI document."""

SAME_IDS: dict[str, tuple[Try, ...]] = {
    "POST /api/chats/{chat_id}/messages": (
        Try(201, {"role": "user", "content": "mine", "id": "{question}", "parent_id": None}, path=MY_CHAT),
    ),
    "POST /api/chats/{chat_id}/runs": (Try(202, SAID | {"run_id": "{run}"}, path=MY_CHAT),),
}
"""Ids are unique for a user only, so the second one may have the same. This comes last: then they are its own."""

FRAME: Any = {"attempt": "{attempt}", "index": "{expected}", "lines": [text_line("forged")]}
READY: Any = {
    "executor_id": "{executor}",
    "secret": "another secret, of another user",
    "instance": "instance-2",
    "name": "mine",
    "connections": [],
    "max_runs": 1,
}
ENDED: Any = {"done": True, "finish": {"reason": "error", "error": {"code": "upstream_error", "message": "forged"}}}

SOCKET_EVENTS: dict[str, tuple[tuple[Any, str | None], ...]] = {
    "chat:open": (({"chat_id": "{chat}"}, "not_found"), ({"chat_id": "{chat}", "after": 0}, "not_found")),
    "chat:close": (({"chat_id": "{chat}"}, None),),
    "executor:ready": ((READY | {"holds": [{"run_id": "{run}", "attempt": "{attempt}"}]}, None),),
    CHANNEL: (
        (FRAME, "not_yours"),
        (FRAME | {"lines": []}, "not_yours"),
        (FRAME | {"index": 0}, "not_yours"),
        (FRAME | ENDED, "not_yours"),
        (FRAME | {"done": True, "finish": {"reason": "aborted"}}, "not_yours"),
        (FRAME | ENDED | {"attempt": 2}, "stale_attempt"),
        (text_line("forged"), "not_yours"),
        ({"done": True}, "bad_request"),
    ),
}
"""What the second user sends in each event of a client, and the code of the error; `None`: it is acknowledged."""


@dataclass
class First:
    """The first user, in mid-answer: a browser, an executor that has a run in hand, and a socket that looks on."""

    browser: httpx.AsyncClient
    desk: Executor
    viewer: Client
    offer: dict[str, Any]
    ids: dict[str, Any]

    async def sees(self) -> Any:
        """Everything that belongs to the first user, as it is now."""
        chat = f"/api/chats/{self.ids['chat']}"
        paths = ["/api/auth/me", "/api/auth/sessions", "/api/tokens", "/api/chats", chat, f"{chat}/messages"]
        paths += [f"/api/runs/{self.ids['run']}", "/api/executors", "/api/models"]
        answers = {path: await self.browser.get(path) for path in paths}
        assert {answer.status_code for answer in answers.values()} == {200}
        return {path: answer.json() for path, answer in answers.items()}

    def told(self) -> list[Any]:
        """What its sockets have heard, but for what they hear now and then anyway."""
        queues = (self.desk.client.told, self.viewer.told)
        heard = [queue.get_nowait() for queue in queues for _ in range(queue.qsize())]
        return [message for message in heard if message["type"] != "chats:heads"]


@asynccontextmanager
async def first_user(server: Inside) -> AsyncIterator[First]:
    async with AsyncExitStack() as stack:
        user_id = (await server.application.accounts.owner()).id
        browser = await stack.enter_async_context(server.browser(user_id, CANARY))
        headers = socket_headers(browser)
        desk = Executor(await stack.enter_async_context(connected(server.url, **headers)), CANARY, (CANARY,))
        await desk.ready()
        viewer = await stack.enter_async_context(connected(server.url, **headers))
        await new_chat(browser)
        chat_id = await new_chat(browser)
        cursor = (await browser.get("/api/chats", params={"limit": 1})).json()["next_cursor"]
        await browser.patch(f"/api/chats/{chat_id}", json={"title": CANARY})
        started = await ask(browser, model=f"{CANARY}/{CANARY}", chat_id=chat_id, message={"content": CANARY})
        assert (await viewer.call("chat:open", {"chat_id": chat_id}))["ok"] is True
        offer = await desk.offer()
        await desk.claim(offer)
        assert (await desk.send(offer, 0, text_line(CANARY)))["expected"] == 1
        assert (await viewer.event("delta"))["content"] == CANARY
        token = (await browser.post("/api/tokens", json={"name": CANARY, "scopes": ["api", "chats"]})).json()
        sign_ins = (await browser.get("/api/auth/sessions")).json()["items"]
        ids = {
            "chat": chat_id,
            "cursor": cursor,
            "question": started["user_message"]["id"],
            "message": started["assistant_message"]["id"],
            "run": started["run"]["id"],
            "executor": CANARY,
            "model": f"{CANARY}/{CANARY}",
            "session": desk.client.session_id,
            "viewer": viewer.session_id,
            "channel": offer["channel"],
            "attempt": offer["attempt"],
            "expected": 1,
            "token": token["id"],
            "sign-in": sign_ins[0]["id"],
        }
        first = First(browser, desk, viewer, offer, ids)
        first.told()
        yield first


@dataclass
class Second:
    """The second user, with a chat and an executor, and what all its sockets were told."""

    server: Inside
    user_id: int
    browser: httpx.AsyncClient
    desk: Executor
    sockets: list[Client]
    ids: dict[str, Any]


@asynccontextmanager
async def second_user(server: Inside) -> AsyncIterator[Second]:
    async with AsyncExitStack() as stack:
        user_id = await server.account("second")
        browser = await stack.enter_async_context(server.browser(user_id, "mine"))
        headers = socket_headers(browser)
        sockets = [await stack.enter_async_context(connected(server.url, **headers)) for _ in range(2)]
        desk = Executor(sockets[0], "mine")
        await desk.ready()
        chat_id = await new_chat(browser)
        yield Second(server, user_id, browser, desk, sockets, {"my chat": chat_id, "my model": "mine/m"})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as running:
        yield running


def filled(template: Any, ids: Ids) -> Any:
    """The template with the ids in their places."""
    if isinstance(template, str):
        found = re.fullmatch(r"\{([a-z -]+)\}", template)
        return ids[found[1]] if found else template
    if isinstance(template, Mapping):
        return {name: filled(value, ids) for name, value in template.items()}
    return [filled(one, ids) for one in template] if isinstance(template, list) else template


async def answer_to(second: Second, route: str, attempt: Try, ids: Ids) -> httpx.Response:
    method, _, path = route.partition(" ")
    places = filled(PARAMETERS | dict(attempt.path), ids)
    query = {name: str(value) for name, value in filled(attempt.query, ids).items()}
    headers = {name: str(value) for name, value in filled(attempt.headers, ids).items()}
    body = {} if attempt.json is None else {"json": filled(attempt.json, ids)}
    async with AsyncExitStack() as stack:
        browser = second.browser
        if attempt.fresh:
            browser = await stack.enter_async_context(second.server.browser(second.user_id, "mine"))
        return await browser.request(method, path.format_map(places), params=query, headers=headers, **body)


def unknown_to_them(text: str, asked: str) -> str:
    """The text without the ids that the second user has sent itself."""
    return text if CANARY not in asked else text.replace(f"{CANARY}/{CANARY}", "").replace(f"'{CANARY}'", "")


async def test_every_call_has_a_row(server: Inside) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(ROUTES) == served


def test_every_event_has_a_row() -> None:
    assert set(SOCKET_EVENTS) == {name for name, event in EVENTS.items() if event.direction == "client"}


@rule("E11", "R2")
async def test_a_second_user_sees_and_changes_nothing_of_the_first_one_by_any_call(server: Inside) -> None:
    async with first_user(server) as first, second_user(server) as second:
        ids = first.ids | second.ids
        before = await first.sees()
        for route, attempts in (*ROUTES.items(), *SAME_IDS.items()):
            for attempt in attempts:
                answer = await answer_to(second, route, attempt, ids)
                assert answer.status_code == attempt.status, (route, attempt, answer.text)
                asked = json.dumps(filled([attempt.json, dict(attempt.path)], ids))
                assert CANARY not in unknown_to_them(answer.text, asked), (route, attempt, answer.text)
                assert first.told() == [], (route, attempt)
                assert await first.sees() == before, (route, attempt)
        await finished(first, second)


@rule("E11", "E12", "V1")
async def test_a_second_user_sees_and_changes_nothing_of_the_first_one_by_any_event(server: Inside) -> None:
    async with first_user(server) as first, second_user(server) as second:
        ids = first.ids | second.ids
        before = await first.sees()
        for socket in second.sockets:  # one has announced an executor, the other not
            for event, rows in SOCKET_EVENTS.items():
                for payload, code in rows:
                    name = first.ids["channel"] if event == CHANNEL else event
                    answer = await socket.call(name, filled(payload, ids))
                    refused = None if answer["ok"] else answer["error"]["code"]
                    assert refused == code, (event, payload, answer)
                    assert {run["verdict"] for run in answer.get("runs", ())} <= {"drop"}, answer
                    assert first.told() == [], (event, payload)
                    assert await first.sees() == before, (event, payload)
        await finished(first, second)


async def finished(first: First, second: Second) -> None:
    """The first user's answer goes on to its end as if nothing had been, and the second one was told nothing of it."""
    await first.desk.finish(first.offer, 1, text_line(" and its end"), DONE)
    await first.viewer.run_state("done")
    started = {"run": {"chat_id": first.ids["chat"]}, "assistant_message": {"id": first.ids["message"]}}
    assert (await message_of(first.browser, started))["content"] == f"{CANARY} and its end"
    await second.sockets[1].call("chat:close", {"chat_id": 1})  # whatever was on its way to them has arrived
    heard = [socket.told.get_nowait() for socket in second.sockets for _ in range(socket.told.qsize())]
    assert CANARY not in json.dumps(heard)
