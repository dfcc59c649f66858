"""No body, path, query or header makes the server fail: whatever is wrong is refused with a sentence that says it."""

import json
from typing import Any

import httpx
import pytest

from keyside.protocol.wire import MAX_REQUEST
from keyside.web.http.json_body import MAX_PARTS
from tests.edge.live import LiveServer, ask, executing, new_chat

rule = pytest.mark.rule
JSON = {"content-type": "application/json"}
RUNS = "/api/chats/{chat}/runs"
COMPLETIONS = "/api/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/auth/redeem"): {"code": "code"},
    ("POST", "/api/auth/links/check"): {"code": "code"},
    ("POST", "/api/tokens"): {"name": "name", "scopes": ["api"]},
    ("POST", "/api/chats"): {"title": "title"},
    ("PATCH", "/api/chats/{chat}"): {"title": "title", "head_id": None},
    ("POST", "/api/chats/{chat}/messages"): {"id": None, "role": "user", "content": "text", "parent_id": None},
    ("PATCH", "/api/chats/{chat}/messages/m"): {"content": "text"},
    ("PUT", "/api/chats/{chat}/messages/m"): {"content": "text"},
    ("POST", RUNS): {"model": "nobody/none", "message": {"content": "text"}, "params": {}, "provider": "p"},
    ("POST", COMPLETIONS): {"model": "nobody/none", "messages": MESSAGES, "user": "u", "chat_id": 1},
}
"""Every route that takes a body, with one that is right."""

NO_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "cut off": b'{"title"',
    "not UTF-8": b"\xff\xfe",
    "a BOM": b"\xef\xbb\xbf{}",
    "two values": b"{}{}",
    "NaN": b'{"title": NaN, "params": {"x": -Infinity}}',
    "beyond a double": b'{"title": "x", "params": {"x": 1e999}}',
    "a lone surrogate": b'{"title": "\\ud800"}',
    "a lone surrogate in UTF-8": b'{"title": "\xed\xa0\x80"}',
    "a lone surrogate in a name": b'{"\\udfff": 1}',
    "33 digits": b'{"model": "m", "params": {"seed": 123456789012345678901234567890123}}',
    "below 64 bits": b'{"model": "m", "seed":-9223372036854775809}',
    "4,301 digits": b'{"model": "m", "x": [' + b"9" * 4301 + b"]}",
    "deep": b'{"model": ' + b"[" * 300 + b"]" * 300 + b"}",
    "very deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 900 + b"1" + b"}" * 900,
}
"""What is no body for any route."""

LITTLE: list[Any] = [None, True, 7, -1, 0.5, 2**63, 2**64 - 1, "", "\0", "x" * 5000]
WRONG: list[Any] = [*LITTLE, [], [None], {}, {"a": [1]}, [MESSAGES]]
"""Values that most fields do not take."""
REFUSALS = {"bad_request", "not_found", "too_large", "conflict", "link_invalid", "model_not_found", "too_many_attempts"}


async def sane(answer: httpx.Response, *statuses: int) -> None:
    """An answer that is none of the server's failures, and says in words what is wrong."""
    assert answer.status_code < 500, answer.text
    assert not statuses or answer.status_code in statuses, (answer.status_code, answer.text)
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert error["code"] in REFUSALS
        assert len(error["message"]) < 1000


def test_the_table_has_every_route_that_takes_a_body(openapi: dict[str, Any]) -> None:
    taken = {
        (method.upper(), path.replace("{chat_id}", "{chat}").replace("{message_id}", "m"))
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    }
    assert taken | {("POST", COMPLETIONS)} == set(BODIES)


@pytest.fixture
def openapi(live: LiveServer) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{live.url}/openapi.json").json()
    return found


@pytest.mark.parametrize(("method", "path"), BODIES, ids=lambda part: part)
async def test_what_is_no_json_or_could_not_be_kept_is_refused_with_a_sentence(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    path = path.format(chat=await new_chat(http))
    for name, content in NO_BODIES.items():
        answer = await http.request(method, path, content=content, headers=JSON)
        await sane(answer, 400)
        assert answer.json()["error"]["code"] == "bad_request", name
    many = b"[" + b"[]," * MAX_PARTS + b"[]]"
    await sane(await http.request(method, path, content=many, headers=JSON), 413)
    many_in_a_string = json.dumps({"title": ",[{" * MAX_PARTS}).encode()
    await sane(await http.request(method, path, content=many_in_a_string, headers=JSON), 400)


@pytest.mark.parametrize(("method", "path"), BODIES, ids=lambda part: part)
async def test_whatever_stands_in_a_body_the_server_does_not_fail(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    right = BODIES[method, path]
    path = path.format(chat=await new_chat(http))
    for value in WRONG:
        if not isinstance(value, dict):
            await sane(await http.request(method, path, json=value), 400)
        for field in right:
            await sane(await http.request(method, path, json={**right, field: value}))
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "\xff", "json"):
        content = json.dumps(right).encode()
        await sane(await http.request(method, path, content=content, headers={b"content-type": kind.encode("latin-1")}))
    await sane(
        await http.request(method, path, content=b'{"title":"a","title":"b","model":1,"model":"m"}', headers=JSON)
    )
    for other in ("HEAD", "OPTIONS", "TRACE"):
        assert (await http.request(other, path)).status_code == 405


@pytest.mark.parametrize("kind", ["null", "list", "text", "depth", "text as a number", "no text"])
async def test_messages_of_any_shape_are_no_failure(http: httpx.AsyncClient, kind: str) -> None:
    content: Any = {
        "null": None,
        "list": [[]],
        "text": [{"text": 1}],
        "depth": [{"text": [[[[]]]]}],
        "text as a number": 5,
        "no text": [{}],
    }[kind]
    for messages in ([{"role": "user", "content": content}], content, [{"text": 1}], [content]):
        await sane(await http.post(COMPLETIONS, json={"model": "nobody/none", "messages": messages}))
    await sane(await http.post(COMPLETIONS, json=[{"text": 1}]), 400)


# --- paths, queries and headers ----------------------------------------------------------------------


IDS = ["0", "-1", "+5", "5_0", "%205", "٣", "x", "1e3", "1.0", "%00", "%ed%a0%80"]
IDS += [str(2**53), str(2**63), str(2**64), "9" * 4301]


@pytest.mark.parametrize("id", IDS)
async def test_an_id_of_a_chat_that_cannot_be_one_is_not_found(http: httpx.AsyncClient, id: str) -> None:
    run = {"model": "m", "message": {"content": "x"}}
    message = {"role": "user", "content": "x"}
    for method, path, body in (
        ("GET", f"/api/chats/{id}", None),
        ("PATCH", f"/api/chats/{id}", {"title": "x"}),
        ("DELETE", f"/api/chats/{id}", None),
        ("GET", f"/api/chats/{id}/messages", None),
        ("POST", f"/api/chats/{id}/messages", message),
        ("DELETE", f"/api/chats/{id}/messages/m", None),
        ("PATCH", f"/api/chats/{id}/messages/m", {"content": "x"}),
        ("POST", f"/api/chats/{id}/runs", run),
    ):
        await sane(await http.request(method, path, json=body), 404)


NO_IDS = ["%00", "x%00y", "%20", "%ed%a0%80", "x" * 65, "x" * 20_000, "%F0%9F%99%82", "'"]


@pytest.mark.parametrize("id", NO_IDS)
async def test_any_other_id_that_cannot_be_one_is_not_found(http: httpx.AsyncClient, id: str) -> None:
    chat = await new_chat(http)
    for method, path in (
        ("GET", f"/api/runs/{id}"),
        ("POST", f"/api/runs/{id}/stop"),
        ("GET", f"/api/runs/{id}/events"),
        ("DELETE", f"/api/chats/{chat}/messages/{id}"),
        ("DELETE", f"/api/executors/{id}"),
        ("DELETE", f"/api/tokens/{id}"),
        ("DELETE", f"/api/auth/sessions/{id}"),
    ):
        await sane(await http.request(method, path), 404)
    await sane(await http.get(f"/api/chats/{chat}/messages?branch={id}"), 400)


NO_NUMBERS = ["-1", "+5", "5_0", "", "%205", "1.0", "1e3", "NaN", "x", str(2**53), str(2**64), "9" * 4301]


@pytest.mark.parametrize("after", NO_NUMBERS)
async def test_the_number_of_an_event_is_written_with_digits_alone(
    live: LiveServer, http: httpx.AsyncClient, after: str
) -> None:
    async with executing(live.url):
        run_id = (await ask(http))["run"]["id"]
        path = f"/api/runs/{run_id}/events"
        await sane(await http.get(f"{path}?after={after}"), 400)
        await sane(await http.get(path, headers={"last-event-id": after.replace("%20", "+")}), 400)
        await http.post(f"/api/runs/{run_id}/stop")


CURSORS = ["", ":", "x:1", "1:", "nan:1", "NaN:5", "inf:1", "-inf:1", "1e999:1", "1e5:1", "1_0:1", "1:1_0", "1:+1"]
CURSORS += ["1:-1", "-1:1", " 1:1", "1:1:1", "%00:1", "1:%00", "x" * 5000, "٣:٣"]
CURSORS += [f"1:{2**63}", f"1:{2**64}", "1:" + "9" * 90, "1" * 90 + ":1"]


@pytest.mark.parametrize("cursor", CURSORS)
async def test_a_cursor_that_no_list_gave_out_is_refused(http: httpx.AsyncClient, cursor: str) -> None:
    await new_chat(http)
    await sane(await http.get(f"/api/chats?cursor={cursor}"), 400)


@pytest.mark.parametrize("limit", ["0", "-1", "201", "+5", "5_0", "", "9" * 4301, "1.0"])
async def test_a_limit_is_a_number_within_bounds(http: httpx.AsyncClient, limit: str) -> None:
    await sane(await http.get(f"/api/chats?limit={limit}"), 400)


@pytest.mark.parametrize(
    "headers",
    [
        {"keyside-wait": "9" * 4301},
        {"keyside-wait": "-1"},
        {"keyside-wait": "+5"},
        {"keyside-wait": "1_0"},
        {"keyside-wait": ""},
        {"keyside-wait": "NaN"},
        {"keyside-wait": "²"},
        {"idempotency-key": ""},
        {"idempotency-key": "k" * 301},
    ],
)
async def test_headers_that_mean_nothing_are_refused(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    asked = {"model": "nobody/none", "messages": MESSAGES}
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    await sane(await http.post(COMPLETIONS, json=asked, headers=sent), 400)


@rule("E2")
async def test_what_could_never_be_sent_is_refused_and_leaves_nothing_behind(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    """With 250 levels it can be sent in an offer; with 251 and 252 it could be written by itself."""

    def deep(levels: int) -> str:
        return "[" * levels + "]" * levels

    async with executing(live.url) as desk:
        chat = await new_chat(http)
        run = '{"model":"desk/m","message":{"content":"hi"},"params":{"tools":%s}}'
        call = '{"model":"desk/m","messages":[{"role":"user","content":"hi"}],"tools":%s}'
        for levels in (251, 252, 260):
            for path, body in ((RUNS.format(chat=chat), run), (COMPLETIONS, call)):
                await sane(await http.post(path, content=(body % deep(levels)).encode(), headers=JSON), 400)
        large = {"model": "desk/m", "message": {"content": "x" * 3_000_000}, "params": {"user": "y" * 1_200_000}}
        await sane(await http.post(RUNS.format(chat=chat), json=large), 413)
        await sane(await http.post(RUNS.format(chat=chat), json={**large, "params": {"user": "y" * MAX_REQUEST}}), 400)
        assert (await http.get(f"/api/chats/{chat}/messages")).json()["items"] == []
        most = (run % deep(250)).encode()
        assert (await http.post(RUNS.format(chat=chat), content=most, headers=JSON)).status_code == 202
        offer = await desk.offer()
        assert json.dumps(offer["form_data"]["tools"]) == deep(250)
        await http.post(f"/api/runs/{offer['run_id']}/stop")


async def test_a_text_with_a_nul_is_kept_as_it_is(http: httpx.AsyncClient) -> None:
    chat = (await http.post("/api/chats", json={"title": "a\0b"})).json()
    assert chat["title"] == "a\0b"
    path = f"/api/chats/{chat['id']}/messages"
    assert (await http.post(path, json={"role": "user", "content": "c\0d"})).status_code == 201
    assert [one["content"] for one in (await http.get(path)).json()["items"]] == ["c\0d"]
    assert (await http.get(f"/api/chats/{chat['id']}")).json()["title"] == "a\0b"
    await http.delete(f"/api/chats/{chat['id']}")


async def test_an_unknown_path_is_not_repeated_in_full(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/" + "x" * 20_000)
    await sane(answer, 404)
