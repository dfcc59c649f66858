"""What every response carries, which hosts are answered, and what the page's files are served with."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from keyside.web.origins import origin_of, origins_of
from keyside.web.security_headers import SecurityHeaders
from tests.edge.doors import LOCAL, Doors, doors

HTML = {"accept": "text/html,*/*"}
STRICT = "default-src 'none'; frame-ancestors 'none'"


@pytest.fixture
def static(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    for name, text in {
        "index.html": "<!doctype html><title>Keyside</title>",
        "favicon.svg": "<svg/>",
        "assets/index-abc.js": "1",
        "worker/shared-worker-abc.js": "2",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "linked.txt").symlink_to(tmp_path / "secret.txt")
    return folder


@pytest.fixture
def edge(static: Path) -> Doors:
    return doors(static)


def directives(answer: httpx.Response) -> dict[str, str]:
    parts = answer.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


@pytest.mark.parametrize("path", ["/", "/c/7", "/api/auth/me", "/api/nope", "/api/probe/crash", "/docs", "/redoc"])
async def test_every_response_carries_a_policy(edge: Doors, path: str) -> None:
    """[S4] every response of the origin carries a CSP, errors and /docs included"""
    async with edge.client() as client:
        answer = await client.get(path, headers=HTML)
    policy = directives(answer)
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "permissions-policy" in answer.headers


async def test_the_page_talks_to_its_own_server_only(edge: Doors) -> None:
    """[S4] the page's policy has `connect-src 'self'`, and starts only the executor's scripts"""
    async with edge.client() as client:
        answer = await client.get("/c/7", headers=HTML)
    assert answer.text.startswith("<!doctype html>")
    assert answer.headers["cache-control"] == "no-cache"
    policy = directives(answer)
    assert policy["connect-src"] == policy["script-src"] == "'self'"
    assert policy["worker-src"] == f"{LOCAL}/worker/"
    assert policy["img-src"] == f"{LOCAL}/assets/ {LOCAL}/uploads/ data:"
    assert policy["base-uri"] == policy["form-action"] == "'none'"


async def test_the_workers_script_has_a_policy_that_lets_it_reach_providers(edge: Doors) -> None:
    """[S4] the worker's script has a policy of its own that lets it reach providers, and is never cached"""
    async with edge.client() as client:
        answer = await client.get("/worker/shared-worker-abc.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "no-store"
    policy = directives(answer)
    assert policy["default-src"] == "'none'"
    assert {"'self'", "https:", "http:"} <= set(policy["connect-src"].split())


@pytest.mark.parametrize(
    ("public_url", "url", "named"),
    [
        ("https://chat.example.org", "https://chat.example.org", "https://chat.example.org"),
        ("https://chat.example.org", "http://localhost:8000", "http://localhost:8000"),
        (LOCAL, "http://[::1]:8000", None),
    ],
)
async def test_folders_are_named_as_the_browser_sees_them(
    static: Path, public_url: str, url: str, named: str | None
) -> None:
    async with doors(static, public_url=public_url).client(url) as client:
        policy = directives(await client.get("/"))
    assert policy["worker-src"] == (f"{named}/worker/" if named else "'self'")
    assert policy["img-src"] == (f"{named}/assets/ {named}/uploads/ data:" if named else "'self' data:")


async def test_hashed_files_are_kept_and_what_is_asked_anew_is_not(edge: Doors) -> None:
    async with edge.client() as client:
        asset = await client.get("/assets/index-abc.js")
        assert "immutable" in asset.headers["cache-control"]
        assert asset.headers["content-security-policy"] == STRICT
        assert (await client.get("/favicon.svg")).headers["cache-control"] == "no-cache"
        assert (await client.get("/api/auth/me")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/../../secret.txt",
        "/..%2fsecret.txt",
        "//etc/passwd",
        "/linked.txt",
        "/assets/%00",
        "/assets",
        "/assets/gone.js",
        "/api/nope",
        "/v1/nope",
    ],
)
async def test_nothing_outside_of_the_page_is_served(edge: Doors, path: str) -> None:
    async with edge.client() as client:
        for headers in ({}, HTML):
            answer = await client.send(client.build_request("GET", httpx.URL(LOCAL).copy_with(raw_path=path.encode())))
            assert answer.status_code == 404, headers
            assert answer.json()["error"]["code"] == "not_found"


async def test_paths_of_the_page_are_for_people(edge: Doors) -> None:
    async with edge.client() as client:
        assert (await client.get("/some/where", headers=HTML)).status_code == 200
        assert (await client.get("/some/where")).status_code == 404
        assert (await client.get("/api/nope", headers=HTML)).status_code == 404
        assert (await client.head("/", headers=HTML)).status_code == 200


async def test_there_is_no_socket_among_the_pages(edge: Doors) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/elsewhere", "headers": [(b"host", b"127.0.0.1:8000")]}
    await edge.asgi(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_page_that_was_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    async with doors(tmp_path / "nothing").client() as client:
        answer = await client.get("/")
    assert answer.status_code == 503
    assert "make setup" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1:9000", "127.0.0.1", "", None])
async def test_a_request_for_another_host_is_refused(edge: Doors, host: str | None) -> None:
    """[C2] Host must be one that the server answers to"""
    headers = [] if host is None else [(b"host", host.encode())]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    scope = {"method": "GET", "path": "/ws/socket.io/", "headers": headers}
    await edge.asgi({"type": "websocket", **scope}, receive, send)
    assert sent == [{"type": "websocket.close"}]
    sent.clear()
    await edge.asgi({"type": "http", **scope}, receive, send)
    assert sent[0]["status"] == 421
    assert (b"content-security-policy", STRICT.encode()) in sent[0]["headers"]
    assert b"bad_host" in sent[1]["body"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000"])
async def test_every_loopback_name_is_answered(edge: Doors, host: str) -> None:
    async with edge.client() as client:
        assert (await client.get("/", headers={"host": host})).status_code == 200


async def test_what_a_handler_says_itself_is_kept() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"private")]})
        await send({"type": "http.response.body"})

    application = SecurityHeaders(app, origins_of(LOCAL, host="127.0.0.1", port=8000, tls=False))
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url=LOCAL) as client:
        answer = await client.get("/")
    assert answer.headers.get_list("cache-control") == ["private"]
    assert answer.headers["content-security-policy"] == STRICT


def test_an_origin_is_written_as_browsers_write_it() -> None:
    assert origin_of("HTTPS://Chat.Example.org:443/") == "https://chat.example.org"
    assert origin_of("http://[::1]:8000") == "http://[::1]:8000"
    for wrong in ("chat.example.org", "ftp://x", "https://x/path", "https://u:p@x", "https://x?q", "https://", ""):
        with pytest.raises(ValueError, match="such as"):
            origin_of(wrong)


def test_behind_a_proxy_the_public_name_and_the_loopback_names_are_answered() -> None:
    origins = origins_of("https://chat.example.org", host="127.0.0.1", port=8000, tls=False)
    assert origins.at("chat.example.org") == origins.at("chat.example.org:443") == "https://chat.example.org"
    assert origins.at("localhost:8000") == "http://localhost:8000"
    assert origins.at("localhost") is None
    # A proxy may put its own upstream's name in place of the Host.
    assert origins.owns("https://chat.example.org", "127.0.0.1:8000")
    assert not origins.owns("http://chat.example.org", "chat.example.org")


async def test_the_docs_are_one_page_without_script(edge: Doors) -> None:
    async with edge.client() as client:
        answer = await client.get("/docs")
        document = (await client.get("/openapi.json")).json()
        assert (await client.get("/redoc")).headers["location"] == "/docs"
    assert "<script" not in answer.text
    for path in document["paths"]:
        assert path in answer.text
    assert "link_invalid" in answer.text
    assert "422" not in document["paths"]["/api/auth/redeem"]["post"]["responses"]
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]
