"""Every response of the whole server carries a policy: page, scripts, API, errors, sockets and documents."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from keyside.app import MemoryStore, create_app
from keyside.settings import Settings
from tests.edge.live import SOCKET_PATH, LiveServer

rule = pytest.mark.rule
HTML = {"accept": "text/html,*/*"}
URL = "http://127.0.0.1:8000"


def policy(answer: httpx.Response) -> dict[str, str]:
    """The directives of the answer's policy."""
    assert len(answer.headers.get_list("content-security-policy")) == 1, answer.request.url
    parts = answer.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


@pytest.fixture
async def built(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The whole application in this process, with a built page."""
    for name in ("index.html", "assets/index-abc.js", "worker/shared-worker-abc.js", "companion/executor.mjs"):
        (tmp_path / "static" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "static" / name).write_text("<!doctype html>")
    settings = Settings(data_dir=tmp_path, auth="off")
    application = create_app(settings, store=MemoryStore(), static=tmp_path / "static")
    await application.start()
    transport = httpx.ASGITransport(app=application.asgi, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client
    await application.stop()


@rule("S4")
async def test_the_page_and_its_scripts_have_the_policies_that_they_need(built: httpx.AsyncClient) -> None:
    for path in ("/", "/index.html", "/c/7"):
        page = policy(await built.get(path, headers=HTML))
        assert page["connect-src"] == page["script-src"] == "'self'"
        assert page["worker-src"] == f"{URL}/worker/"
    worker = await built.get("/worker/shared-worker-abc.js")
    assert worker.headers["cache-control"] == "no-store"
    assert {"https:", "http:"} <= set(policy(worker)["connect-src"].split())
    for path in ("/assets/index-abc.js", "/companion/executor.mjs"):
        assert policy(await built.get(path)) == {"default-src": "'none'", "frame-ancestors": "'none'"}


@rule("S4")
async def test_every_call_that_is_documented_has_a_policy_whatever_it_answers(built: httpx.AsyncClient) -> None:
    paths = (await built.get("/openapi.json")).json()["paths"]
    assert len(paths) > 15
    for path, methods in paths.items():
        for method in methods:
            for headers in ({}, {"origin": "https://evil.example"}):
                answer = await built.request(method, path.format_map(Ones()), headers=headers)
                found = policy(answer)
                assert found["default-src"] == "'none'"
                assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_slash_too_much_leads_nowhere(built: httpx.AsyncClient) -> None:
    """A redirection would go to plain http where a proxy in front of the server speaks https."""
    paths = (await built.get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        for method in methods:
            answer = await built.request(method, f"{path.format_map(Ones())}/", headers={"origin": URL})
            assert answer.status_code == 404, path
            assert "location" not in answer.headers
            assert answer.json()["error"]["message"].endswith("/. Leave out the slash at its end.")


class Ones(dict[str, str]):
    """A value for every parameter of a path."""

    def __missing__(self, name: str) -> str:
        return "1"


@rule("S4")
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/c/1",
        "/api/auth/me",
        "/api/nope",
        "/nope",
        "/assets/gone.js",
        "/worker/gone.js",
        "/uploads/gone.png",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/health",
        "/health/ready",
        f"{SOCKET_PATH}/?EIO=4&transport=polling",
        f"{SOCKET_PATH}/?EIO=3",
        f"{SOCKET_PATH}/?EIO=4&transport=polling&sid=nobody",
        "/ws/nope",
    ],
)
async def test_a_running_server_sends_a_policy_with_everything(live: LiveServer, path: str) -> None:
    async with live.http() as client:
        for method in ("GET", "POST", "HEAD", "OPTIONS"):
            for headers in (HTML, {"host": "evil.example"}, {"origin": "https://evil.example"}):
                answer = await client.request(method, path, headers=headers)
                assert policy(answer)["default-src"] == "'none'", (method, path, headers)
                assert answer.status_code != 500


@rule("S4")
async def test_a_streamed_answer_carries_a_policy_too(live: LiveServer) -> None:
    async with live.http() as client:
        for path in ("/api/chat/completions", "/api/runs/nobody/events"):
            assert policy(await client.post(path, content=b"x"))["default-src"] == "'none'"
