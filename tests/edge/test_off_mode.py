"""Without sign-in no page of another site gets in, whatever it sends; and no origin is ever sent back."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import InvalidStatus

from tests.edge.doors import LOCAL, doors
from tests.edge.live import SOCKET_PATH, LiveServer, connected

rule = pytest.mark.rule
FOREIGN = "https://evil.example"
POLL = f"{SOCKET_PATH}/?EIO=4&transport=polling"
INVENTED = {"authorization": "Bearer ks_invented"}
ELSEWHERE: list[dict[str, str]] = [
    {"origin": FOREIGN},
    {"origin": "null"},
    {"origin": FOREIGN, "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
]
"""What browsers send with the requests of another site's page."""


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def handshake(client: httpx.AsyncClient) -> str:
    """The id of a polling transport that has just begun."""
    sid = (await client.get(POLL)).text.partition('"sid":"')[2].partition('"')[0]
    assert sid
    return sid


@rule("C2")
@pytest.mark.parametrize("headers", ELSEWHERE)
async def test_another_sites_page_cannot_read_nor_change_anything(live: LiveServer, headers: dict[str, str]) -> None:
    async with live.http(**headers) as page, live.http(**headers, **INVENTED) as with_token:
        for client in (page, with_token):
            for path in ("/api/chats", "/api/auth/me", "/api/models", "/v1/models", "/uploads/x", POLL):
                assert code_of(await client.get(path)) == (403, "bad_origin")
            assert code_of(await client.post("/api/chats", json={})) == (403, "bad_origin")
            completion = {"model": "desk/m", "messages": [{"role": "user", "content": "hello"}]}
            assert code_of(await client.post("/api/chat/completions", json=completion)) == (403, "bad_origin")


@rule("C2")
@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}])
async def test_a_program_and_a_person_are_answered(live: LiveServer, headers: dict[str, str]) -> None:
    async with live.http(**headers) as client:
        assert (await client.get("/api/chats")).status_code == 200
        assert (await client.post("/api/chats", json={}, headers={"origin": live.url})).status_code == 201


@rule("C2")
async def test_a_link_on_another_site_may_open_the_page_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>")
    link = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document", "accept": "text/html"}
    async with doors(tmp_path, auth="off").client(**link) as client:
        for path in ("/", "/c/7", "/docs"):
            assert (await client.get(path)).status_code == 200
            framed = await client.get(path, headers={"sec-fetch-dest": "iframe"})
            assert code_of(framed) == (403, "bad_origin")
        assert code_of(await client.get("/api/auth/me")) == (403, "bad_origin")


@rule("C1", "C2")
@pytest.mark.parametrize("headers", ELSEWHERE)
async def test_each_poll_is_checked_and_not_the_handshake_alone(live: LiveServer, headers: dict[str, str]) -> None:
    async with live.http() as own:
        sid = await handshake(own)
        async with live.http(**headers) as page:
            assert code_of(await page.get(f"{POLL}&sid={sid}")) == (403, "bad_origin")
            assert code_of(await page.post(f"{POLL}&sid={sid}", content="40")) == (403, "bad_origin")
        assert (await own.post(f"{POLL}&sid={sid}", content="40")).text == "OK"


@rule("C1", "C2")
@pytest.mark.parametrize("headers", ELSEWHERE)
@pytest.mark.parametrize("handshaken", [False, True])
async def test_a_websocket_of_another_sites_page_is_not_opened(
    live: LiveServer, headers: dict[str, str], handshaken: bool
) -> None:
    address = f"{live.url.replace('http', 'ws', 1)}{SOCKET_PATH}/?EIO=4&transport=websocket"
    if handshaken:
        async with live.http() as own:
            address += f"&sid={await handshake(own)}"
    with pytest.raises(InvalidStatus) as refused:
        await websocket(address, additional_headers={**headers, **INVENTED})
    assert refused.value.response.status_code == 403


@rule("C2")
@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"])
async def test_nobody_is_answered_through_a_proxy(live: LiveServer, name: str) -> None:
    async with live.http(**{name: "for=127.0.0.1"}) as client:
        for path in ("/", "/api/auth/me", POLL):
            answer = await client.get(path)
            assert code_of(answer) == (421, "bad_host")
            assert "does not answer through a proxy" in answer.json()["error"]["message"]


async def test_with_sign_in_a_proxy_may_say_for_whom_it_asks(tmp_path: Path) -> None:
    async with doors(tmp_path).browser() as client:
        headers = {"x-forwarded-for": "203.0.113.5", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}
        made = await client.post("/api/auth/links", headers=headers)
    assert made.json()["url"].startswith(f"{LOCAL}/#signin=")


@rule("C1", "C2")
@pytest.mark.parametrize("query", ["&j=0", "&j=", "&%6a=1", "&j=x"])
async def test_jsonp_is_not_served(live: LiveServer, local: LiveServer, query: str) -> None:
    for server in (live, local):
        async with server.http() as client:
            answer = await client.get(POLL + query)
            assert code_of(answer) == (400, "bad_request")
            assert "___eio" not in answer.text


@rule("C2")
async def test_no_origin_is_sent_back(live: LiveServer, local: LiveServer) -> None:
    """A page of another site may connect with a token by WebSocket, and cannot read what it polls."""
    for server, origin in ((live, live.url), (local, local.url), (local, FOREIGN)):
        async with server.http(origin=origin) as client:
            for method in ("GET", "OPTIONS"):
                answer = await client.request(method, POLL)
                assert answer.status_code == 200
                assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_socket_of_our_own_page_is_opened(live: LiveServer) -> None:
    for headers in ({"origin": live.url}, {}, {"origin": live.url, "sec-fetch-site": "same-origin"}):
        given: dict[str, Any] = headers
        async with connected(live.url, **given) as client:
            assert client.sio.connected
