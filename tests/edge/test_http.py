"""The native HTTP API: every call, every kind of error, and that another user's ids are not found."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from keyside.testing import DONE, text_line
from tests.edge.live import (
    SECONDS,
    Executor,
    LiveServer,
    ask,
    connected,
    ended,
    events_of,
    executing,
    message_of,
    new_chat,
)
from tests.edge.test_sockets import error_of

rule = pytest.mark.rule


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code; every error has this shape."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "retryable"}
    assert error["message"].endswith((".", "`"))
    return answer.status_code, error["code"]


# --- every call ------------------------------------------------------------------------------------


async def test_chats_are_made_listed_renamed_and_deleted(http: httpx.AsyncClient) -> None:
    made = await http.post("/api/chats", json={"title": " First "})
    assert made.status_code == 201
    chat = made.json()
    assert chat["title"] == "First"
    assert chat["created_at"].endswith("Z")
    second = (await http.post("/api/chats", json={})).json()
    assert second["id"] > chat["id"]
    path = f"/api/chats/{chat['id']}"
    assert (await http.get(path)).json() == chat
    renamed = await http.patch(path, json={"title": "Renamed"})
    assert renamed.json()["title"] == "Renamed"
    page = (await http.get("/api/chats", params={"limit": 2})).json()
    assert [one["id"] for one in page["items"]] == [chat["id"], second["id"]]
    deleted = await http.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert code_of(await http.get(path)) == (404, "not_found")
    assert code_of(await http.delete(path)) == (404, "not_found")
    third = (await http.post("/api/chats", json={})).json()
    assert third["id"] > second["id"]


async def test_pages_of_chats_have_every_chat_once(http: httpx.AsyncClient) -> None:
    made = {await new_chat(http) for _ in range(5)}
    found: list[int] = []
    cursor = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await http.get("/api/chats", params=params)).json()
        assert set(page) == {"items", "next_cursor"}
        found += [chat["id"] for chat in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(found) == len(set(found))
    assert made <= set(found)
    for wrong in ({"cursor": "x"}, {"cursor": "1:"}, {"limit": 0}, {"limit": 201}, {"limit": "x"}):
        assert code_of(await http.get("/api/chats", params=wrong)) == (400, "bad_request")


async def test_messages_are_stored_read_by_branch_corrected_and_removed(http: httpx.AsyncClient) -> None:
    chat_id = await new_chat(http)
    path = f"/api/chats/{chat_id}/messages"
    one, two, three = f"one-{chat_id}", f"two-{chat_id}", f"three-{chat_id}"
    for body in (
        {"id": one, "role": "user", "content": "Q"},
        {"id": two, "role": "assistant", "content": "A"},
        {"id": three, "role": "assistant", "content": "B", "parent_id": one, "status": "interrupted"},
    ):
        answer = await http.post(path, json=body)
        assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "interrupted"
    page = (await http.get(path)).json()
    assert [(m["id"], m["parent_id"]) for m in page["items"]] == [(one, None), (two, one), (three, one)]
    branch = (await http.get(path, params={"branch": two})).json()["items"]
    assert [m["id"] for m in branch] == [one, two]
    assert code_of(await http.get(path, params={"branch": "nobody"})) == (404, "not_found")
    switched = await http.patch(f"/api/chats/{chat_id}", json={"head_id": two})
    assert switched.json()["head_id"] == two
    for method in ("PATCH", "PUT"):
        changed = await http.request(method, f"{path}/{two}", json={"content": method})
        assert changed.json()["content"] == method
    assert code_of(await http.post(path, json={"id": two, "role": "user", "content": "x"})) == (409, "conflict")
    assert (await http.delete(f"{path}/{one}")).status_code == 204
    assert (await http.get(path)).json()["items"] == []
    assert (await http.get(f"/api/chats/{chat_id}")).json()["head_id"] is None


async def test_a_run_is_begun_looked_at_and_stopped(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(live.url) as desk:
        started = await ask(http, run_id="run-of-http")
        assert set(started) == {"run", "user_message", "assistant_message"}
        assert (started["run"]["state"], started["run"]["id"]) == ("queued", "run-of-http")
        assert started["assistant_message"]["parent_id"] == started["user_message"]["id"]
        again = await ask(http, run_id="run-of-http", chat_id=started["run"]["chat_id"])
        assert again["assistant_message"]["id"] == started["assistant_message"]["id"]
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("a"))
        run = (await http.get("/api/runs/run-of-http")).json()
        assert (run["state"], run["attempt"], run["executor"]["name"]) == ("streaming", 1, "desk")
        path = f"/api/chats/{run['chat_id']}/messages/{run['message_id']}"
        assert code_of(await http.patch(path, json={"content": "x"})) == (409, "message_running")
        for _ in range(2):
            assert (await http.post("/api/runs/run-of-http/stop")).json()["state"] == "aborted"
    assert await ended(http, started) == ("aborted", None, "a")
    assert (await message_of(http, started))["status"] == "aborted"
    other = {"model": "desk/m", "message": {"content": "another"}, "run_id": "run-of-http"}
    assert code_of(await http.post(f"/api/chats/{run['chat_id']}/runs", json=other)) == (409, "conflict")


async def test_regenerating_and_continuing_by_http(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(live.url) as desk:
        started = await ask(http)
        runs = f"/api/chats/{started['run']['chat_id']}/runs"
        id, texts = started["assistant_message"]["id"], []
        for mode in (None, "regenerate", "continue"):
            if mode is not None:
                answer = await http.post(runs, json={"model": "desk/m", "mode": mode, "parent_id": id})
                assert answer.status_code == 202, answer.text
                started = answer.json()
            offer = await desk.offer()
            await desk.claim(offer)
            await desk.send(offer, 0, text_line(f"{mode} "), DONE)
            texts.append((await ended(http, started))[2])
        assert texts == ["None ", "regenerate ", "None continue "]


@rule("V3")
async def test_a_runs_events_can_be_read_where_older_messages_were_removed(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with executing(live.url) as desk:
        first = await ask(http)
        chat_id = first["run"]["chat_id"]
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("old"), DONE)
        await ended(http, first)
        path = f"/api/chats/{chat_id}/messages/{first['user_message']['id']}"
        assert (await http.delete(path)).status_code == 204
        second = await ask(http, chat_id=chat_id)
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("new"))
        begun = asyncio.Semaphore(0)
        reading = [
            asyncio.create_task(events_of(http, second["run"]["id"], headers, begun))
            for headers in ({}, {"last-event-id": "1"}, {"last-event-id": str(2**53 - 1)})
        ]
        for _ in reading:
            await asyncio.wait_for(begun.acquire(), SECONDS)
        companion = {"model": "desk/m", "messages": [{"role": "user", "content": "x"}], "chat_id": chat_id}
        await desk.send(offer, 1, DONE)
        for task in reading:
            events = [event for _, event in await task]
            assert "new" in [event.get("content") for event in events if event["kind"] == "delta"]
            assert events[-1]["run"]["state"] == "done"
        calling = asyncio.create_task(http.post("/api/chat/completions", json=companion))
        offer = await desk.offer()
        await desk.claim(offer)
        await desk.send(offer, 0, text_line("called"), DONE)
        assert (await calling).json()["choices"][0]["message"]["content"] == "called"


async def test_executors_and_models_are_listed(live: LiveServer, http: httpx.AsyncClient) -> None:
    async with executing(live.url, "listed"):
        executors = {one["id"]: one for one in (await http.get("/api/executors")).json()["items"]}
        assert executors["listed"]["online"] is True
        assert executors["listed"]["connections"][0]["models"][0]["id"] == "m"
        assert "secret" not in str(executors)
        models = {one["id"]: one for one in (await http.get("/api/models")).json()["items"]}
        assert (models["listed/m"]["online"], models["listed/m"]["executors"]) == (True, ["listed"])


async def test_health_is_told_to_anyone(local: LiveServer) -> None:
    async with local.http() as stranger:
        assert (await stranger.get("/health")).json()["status"] == "ok"
        assert (await stranger.get("/health/ready")).json() == {"status": "ok"}


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/api/chats", [], (400, "bad_request")),
        ("POST", "/api/chats", {"title": "x" * 301}, (400, "bad_request")),
        ("GET", "/api/chats/999999", None, (404, "not_found")),
        ("GET", "/api/chats/nobody", None, (404, "not_found")),
        ("GET", f"/api/chats/{2**80}", None, (404, "not_found")),
        ("GET", f"/api/chats/{2**63}", None, (404, "not_found")),
        ("GET", "/api/chats/-1", None, (404, "not_found")),
        ("GET", f"/api/chats?cursor=1:{2**80}", None, (400, "bad_request")),
        ("PATCH", "/api/chats/999999", {"title": "x"}, (404, "not_found")),
        ("DELETE", "/api/chats/999999", None, (404, "not_found")),
        ("GET", "/api/chats/999999/messages", None, (404, "not_found")),
        ("POST", "/api/chats/999999/messages", {"role": "user", "content": "x"}, (404, "not_found")),
        ("PATCH", "/api/chats/999999/messages/x", {"content": "x"}, (404, "not_found")),
        ("DELETE", "/api/chats/999999/messages/x", None, (404, "not_found")),
        ("POST", "/api/chats/999999/runs", {"model": "m", "message": {"content": "x"}}, (404, "not_found")),
        ("GET", "/api/runs/nobody", None, (404, "not_found")),
        ("GET", "/api/runs/nobody/events", None, (404, "not_found")),
        ("POST", "/api/runs/nobody/stop", None, (404, "not_found")),
        ("PUT", "/api/chats", None, (405, "bad_request")),
        ("GET", "/api/nope", None, (404, "not_found")),
        ("POST", "/api/runs/nobody/events", None, (405, "bad_request")),
    ],
)
async def test_what_is_not_there_or_not_valid_is_an_error_in_one_shape(
    http: httpx.AsyncClient, method: str, path: str, body: Any, expected: tuple[int, str]
) -> None:
    assert code_of(await http.request(method, path, json=body)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "bad_request")),
        ({"model": "nobody/none", "message": {"content": "x"}}, (404, "model_not_found")),
        ({"model": "m", "message": {"content": ""}}, (400, "bad_request")),
        ({"model": "m", "message": {"content": "x", "id": "not an id"}}, (400, "bad_request")),
        ({"model": "m", "message": {"content": "x"}, "run_id": "../.."}, (400, "bad_request")),
        ({"model": "m", "mode": "rewrite"}, (400, "bad_request")),
        ({"model": "m", "mode": "continue"}, (404, "not_found")),
        ({"model": "m", "message": {"content": "x"}, "parent_id": "nobody"}, (404, "not_found")),
        ({"model": "m", "message": {"content": "x" * 4_200_000}}, (400, "bad_request")),
        ({"model": "m", "message": {"content": "x"}, "session_id": "nobody"}, (404, "session_gone")),
    ],
)
async def test_a_run_that_cannot_be_begun_leaves_nothing(
    http: httpx.AsyncClient, body: Any, expected: tuple[int, str]
) -> None:
    chat_id = await new_chat(http)
    assert code_of(await http.post(f"/api/chats/{chat_id}/runs", json=body)) == expected
    assert (await http.get(f"/api/chats/{chat_id}/messages")).json()["items"] == []


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"title": "\\ud83d"}', b'{"title": "\x00"}', b"[" * 100_000])
async def test_a_body_that_is_no_json_is_an_error(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/api/chats", content=content, headers={"content-type": "application/json"})
    assert code_of(answer) == (400, "bad_request")


async def test_text_that_is_not_well_formed_does_not_reach_the_store(http: httpx.AsyncClient) -> None:
    chat_id = await new_chat(http)
    raw = b'{"role": "user", "content": "a\\ud83db"}'
    answer = await http.post(
        f"/api/chats/{chat_id}/messages", content=raw, headers={"content-type": "application/json"}
    )
    assert code_of(answer) == (400, "bad_request")
    null = await http.post(f"/api/chats/{chat_id}/messages", json={"role": "user", "content": "a\x00b"})
    assert null.status_code == 201
    assert (await http.get(f"/api/chats/{chat_id}/messages")).json()["items"][0]["content"] == "a\x00b"


@pytest.mark.parametrize("header", ["x", "-1", "1.5"])
async def test_a_last_event_id_that_is_none_is_an_error(http: httpx.AsyncClient, header: str) -> None:
    answer = await http.get("/api/runs/nobody/events", headers={"last-event-id": header})
    assert answer.status_code in {400, 404}
    assert answer.json()["error"]["code"] in {"bad_request", "not_found"}


# --- others' rows ----------------------------------------------------------------------------------


@pytest.fixture
async def stranger(local: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of another account. It is written into the database, because no call creates accounts yet."""
    secret = "ks_of-another-user"
    with closing(sqlite3.connect(local.database, timeout=20)) as database, database:
        database.execute("INSERT OR IGNORE INTO user (id, name, created_at) VALUES (77, 'stranger', 0)")
        database.execute(
            "INSERT OR IGNORE INTO token (id, user_id, name, hash, scopes, created_at) VALUES (?, 77, 'x', ?, ?, 0)",
            ("token-77", hashlib.sha256(secret.encode()).hexdigest(), "api chats executor"),
        )
    async with local.http(authorization=f"Bearer {secret}") as client:
        assert (await client.get("/api/auth/me")).json()["name"] == "stranger"
        yield client


@rule("R2", "R6")
async def test_another_users_ids_are_not_found(
    local: LiveServer, signed_in: dict[str, str], stranger: httpx.AsyncClient
) -> None:
    async with local.http(**signed_in) as owner:
        chat_id = await new_chat(owner)
        message = {"role": "user", "content": "secret", "id": "of-the-owner"}
        assert (await owner.post(f"/api/chats/{chat_id}/messages", json=message)).status_code == 201
        calls: list[tuple[str, str, Any]] = [
            ("GET", f"/api/chats/{chat_id}", None),
            ("PATCH", f"/api/chats/{chat_id}", {"title": "mine"}),
            ("DELETE", f"/api/chats/{chat_id}", None),
            ("GET", f"/api/chats/{chat_id}/messages", None),
            ("GET", f"/api/chats/{chat_id}/messages/of-the-owner", None),
            ("POST", f"/api/chats/{chat_id}/messages", {"role": "user", "content": "x"}),
            ("PATCH", f"/api/chats/{chat_id}/messages/of-the-owner", {"content": "x"}),
            ("DELETE", f"/api/chats/{chat_id}/messages/of-the-owner", None),
            ("POST", f"/api/chats/{chat_id}/runs", {"model": "m", "message": {"content": "x"}}),
        ]
        for method, path, body in calls:
            assert code_of(await stranger.request(method, path, json=body)) == (404, "not_found"), path
        # In a chat of one's own, the id of another's message is nobody's, and free.
        own = await new_chat(stranger)
        path = f"/api/chats/{own}/messages"
        assert code_of(await stranger.get(f"{path}/of-the-owner")) == (404, "not_found")
        assert code_of(await stranger.patch(f"{path}/of-the-owner", json={"content": "x"})) == (404, "not_found")
        assert (await stranger.post(path, json=message)).status_code == 201
        assert (await stranger.get("/api/chats")).json()["items"][0]["id"] == own
        assert chat_id not in {chat["id"] for chat in (await stranger.get("/api/chats")).json()["items"]}
        assert (await owner.get(f"/api/chats/{chat_id}/messages")).json()["items"][0]["content"] == "secret"


@rule("R2", "R9")
async def test_another_users_runs_and_executors_are_not_found(
    local: LiveServer, signed_in: dict[str, str], stranger: httpx.AsyncClient
) -> None:
    async with local.http(**signed_in) as owner:
        made = await owner.post("/api/tokens", json={"name": "companion", "scopes": ["executor", "chats"]})
        token = made.json()["token"]
        async with executing(local.url, "of-the-owner", auth={"token": token}) as desk:
            started = await ask(owner, model="of-the-owner/m")
            run_id = started["run"]["id"]
            offer = await desk.offer()
            await desk.claim(offer)
            for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/stop")):
                answer = await stranger.request(method, f"/api/runs/{run_id}{path}")
                assert code_of(answer) == (404, "not_found")
            assert (await stranger.get("/api/executors")).json()["items"] == []
            assert (await stranger.get("/api/models")).json()["items"] == []
            chat_id = await new_chat(stranger)
            for named in ({"executor_id": "of-the-owner"}, {"session_id": desk.client.session_id}, {}):
                body = {"model": "of-the-owner/m", "message": {"content": "x"}, **named}
                answer = await stranger.post(f"/api/chats/{chat_id}/runs", json=body)
                assert answer.status_code == 404, named
            await desk.send(offer, 0, text_line("still mine"), DONE)
            assert await ended(owner, started) == ("done", None, "still mine")


@rule("E12")
async def test_a_token_does_only_what_its_scopes_say(local: LiveServer, signed_in: dict[str, str]) -> None:
    async with local.http(**signed_in) as owner:
        tokens = {
            scope: (await owner.post("/api/tokens", json={"name": scope, "scopes": [scope]})).json()["token"]
            for scope in ("api", "chats", "executor")
        }
        chat_id = await new_chat(owner)
    for scope, token in tokens.items():
        async with local.http(authorization=f"Bearer {token}") as program:
            assert (await program.get("/api/chats")).status_code == (200 if scope == "chats" else 403)
            call = await program.post("/api/chat/completions", json={})
            assert call.status_code == (400 if scope == "api" else 403)
        async with connected(local.url, {"token": token}) as client:
            opened = await client.call("chat:open", {"chat_id": chat_id})
            ready = await client.call("executor:ready", Executor(client, f"with-{scope}").announcement)
            assert opened["ok"] is (scope == "chats")
            assert ready["ok"] is (scope == "executor")
            for ack in (opened, ready):
                if not ack["ok"]:
                    assert error_of(ack) == "forbidden"
            frame = await client.call("some-channel", {"attempt": 1, "index": 0, "lines": []})
            assert error_of(frame) == ("unknown_event" if scope == "executor" else "forbidden")


@pytest.mark.parametrize(
    "params",
    ['{"user": "\\ud800"}', '{"deep": ' + "[" * 400 + "]" * 400 + "}", '{"seed": 1' + "0" * 40 + "}"],
)
async def test_options_that_could_not_be_written_again_are_refused(http: httpx.AsyncClient, params: str) -> None:
    chat_id = await new_chat(http)
    content = '{"model": "m", "message": {"content": "x"}, "params": ' + params + "}"
    headers = {"content-type": "application/json"}
    answer = await http.post(f"/api/chats/{chat_id}/runs", content=content.encode(), headers=headers)
    assert code_of(answer) == (400, "bad_request")
