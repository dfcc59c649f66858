"""Each file of the page is served at its own path alone, and the policy follows from the file."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from uvicorn.server import ServerState

from keyside.web.security_headers import STRICT_POLICY, WORKER_POLICY
from tests.edge.doors import doors
from tests.edge.live import SECONDS

rule = pytest.mark.rule
PAGE = "the canary of the page"
FILES = {
    "index.html": f"<!doctype html><title>{PAGE}</title>",
    "favicon.svg": "<svg/>",
    "assets/index-abc.js": "1",
    "assets/deep/font.woff2": "2",
    "worker/shared-worker-abc.js": "3",
    "worker/index.html": f"<!doctype html><title>{PAGE}</title>",
    "worker/image.svg": f"<svg>{PAGE}</svg>",
    "worker/page.js.html": PAGE,
    "companion/executor.mjs": "4",
}
CANONICAL = ["/", "/index.html", "/c/7", "/favicon.svg", "/assets/index-abc.js", "/assets/deep/font.woff2"]
CANONICAL += ["/worker/shared-worker-abc.js", "/companion/executor.mjs"]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str

    @property
    def policy(self) -> str:
        return self.headers["content-security-policy"]


class Raw:
    """Sends requests as they are: a library would tidy up their paths."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def get(self, path: bytes | str, *, accept: str = "text/html") -> Answer:
        target = path.encode() if isinstance(path, str) else path
        head = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: %b\r\nConnection: close\r\n\r\n"
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(head % (target, accept.encode()))
            answer = (await reader.read()).decode()
            writer.close()
        head_of, _, body = answer.partition("\r\n\r\n")
        first, *lines = head_of.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Answer(int(first.split()[1]), headers, body)


@pytest.fixture
def static(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "linked.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "worker/linked.js").symlink_to(folder / "index.html")
    (folder / "assets/linked").symlink_to(folder / "worker")
    (folder / "linked").symlink_to(folder)
    return folder


@pytest.fixture
async def raw(static: Path) -> AsyncIterator[Raw]:
    """The web layer behind uvicorn, on a free port."""
    config = uvicorn.Config(doors(static).asgi, http="httptools", lifespan="off", log_config=None)
    config.load()
    made: Any = config.http_protocol_class
    protocol = partial(made, config=config, server_state=ServerState(), app_state={})
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield Raw(server.sockets[0].getsockname()[1])


def odd_paths() -> list[bytes]:
    """Other ways of writing the paths of files, and what looks like them."""
    found: set[str] = set()
    for path in CANONICAL[1:]:
        folder, _, name = path.rpartition("/")
        first = path[1:].partition("/")[0]
        found |= {f"/{path}", f"//{path}", f"{folder}//{name}", f"{path}/", f"{path}//", f"{path}/.", f"{path}/.."}
        found |= {f"/.{path}", f"/..{path}", f"/x/..{path}", f"/%2e{path}", f"/%2e%2e{path}", f"{folder}/./{name}"}
        found |= {f"/%2f{path[1:]}", f"%2f{path[1:]}".replace("%2f", "/%2F", 1), f"{folder}%2f{name}"}
        found |= {f"{folder}/%{ord(name[0]):02x}{name[1:]}", f"/%{ord(path[1]):02x}{path[2:]}"}
        found |= {f"{path};", f"{path};x=1", f"/;{path}", f"/{first};/{name}", f"{path}%00", f"{path}%00.js"}
        found |= {f"{path}%20", f"{path}%0a", f"{path}.", f"{path}%2e", f"{path}%23", f"{path}%3f", f"{path}::$DATA"}
        found |= {
            path.replace("/", "\\"),
            path.replace("/", "%5c"),
            f"/worker/..\\..{path}",
            f"/worker/%2e%2e%5c{name}",
        }
        found |= {f"/worker/x%2f..%2f..{path}", f"/worker/..{path}", f"/worker/..%2f{path[1:]}", f"/worker%2f..{path}"}
        found |= {f"/assets/..%2f{path[1:]}", f"/assets/%2e%2e{path}", f"/assets/%252e%252e%252f{path[1:]}"}
        if "." in name:  # other paths without a dot are addresses within the page
            found |= {f"/linked{path}", path.title(), path.upper(), path.replace("e", "E", 1)}
    found |= {"/worker", "/worker/", "/worker/index.html", "/worker/image.svg", "/worker/page.js.html", "/worker/c/7"}
    found |= {"/linked.txt", "/worker/linked.js", "/assets/linked/shared-worker-abc.js", "/linked/index.html"}
    found |= {
        "/Worker/c",
        "/assets",
        "/assets/",
        "/assets/c/7",
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/c/%37",
        "/c/7/",
    }
    found |= {"//", "/.", "/..", "/%2e", "/%2f", "/c//7", "//c/7", "/%5c", "/c/7;", "/c%2f7", "/c/7%00", "/\u00e9"}
    found |= {"/worker/x%2f..%2f..%2findex.html", "/assets/..%2findex.html", "/index.html%2fx", "/indeX.html", "/api/"}
    found |= {"http://127.0.0.1:8000/worker/..%2findex.html", "http://127.0.0.1:8000//worker/shared-worker-abc.js"}
    return [path.encode() for path in sorted(found - set(CANONICAL))] + [b"/worker/\xff", b"/\xc3\xa9", b"/c/7\x01"]


@rule("S4")
@pytest.mark.parametrize("accept", ["text/html", "*/*"])
async def test_no_other_path_shows_a_file_or_the_page(raw: Raw, accept: str) -> None:
    paths = odd_paths()
    assert len(paths) > 200
    for path in paths:
        status, headers, body = answer = await raw.get(path, accept=accept)
        assert status in {400, 404}, (path, status)
        assert PAGE not in body, path
        assert "secret" not in body.replace("secret.txt", ""), path
        assert "immutable" not in headers.get("cache-control", ""), path
        if status == 404:
            assert answer.policy == STRICT_POLICY, path
            assert '"code":"not_found"' in body, path


@rule("S4")
async def test_each_file_has_the_policy_of_its_place(raw: Raw) -> None:
    found = {path: await raw.get(path) for path in CANONICAL}
    assert {path: answer.status for path, answer in found.items()} == dict.fromkeys(CANONICAL, 200)
    pages = {path for path, answer in found.items() if PAGE in answer.body}
    assert pages == {"/", "/index.html", "/c/7"}
    for path, (_, headers, _) in found.items():
        policy, caching = headers["content-security-policy"], headers["cache-control"]
        if path in pages:
            assert "connect-src 'self';" in policy
            assert "frame-ancestors 'none'" in policy
            assert caching == "no-cache"
        elif path.startswith("/worker/"):
            assert (policy, caching) == (WORKER_POLICY.lower(), "no-store")
            assert headers["content-type"].startswith("text/javascript")
        else:
            forever = path.startswith("/assets/")
            assert (policy, "immutable" in caching) == (STRICT_POLICY, forever)
            assert forever or caching == "no-cache"


async def test_a_query_is_no_part_of_the_path(raw: Raw) -> None:
    assert (await raw.get("/worker/shared-worker-abc.js?v=1%2f..")).policy == WORKER_POLICY
    assert "connect-src 'self';" in (await raw.get("/?a=/worker/x.js")).policy


@pytest.mark.parametrize("path", ["/api/auth/me/", "/api/tokens/", "/c/7/", "/docs/", "/worker/shared-worker-abc.js/"])
async def test_a_slash_too_much_is_no_redirection(raw: Raw, path: str) -> None:
    """Behind a proxy the server does not know the scheme, and would lead from https to http."""
    status, headers, body = await raw.get(path)
    assert status == 404
    assert "location" not in headers
    assert "Leave out the slash at its end." in body


async def test_a_request_for_many_parts_of_a_file_gets_the_whole(static: Path) -> None:
    async with doors(static).client() as client:
        path = "/assets/index-abc.js"
        whole = await client.get(path)
        one = await client.get(path, headers={"range": "bytes=0-1"})
        many = await client.get(path, headers={"range": "bytes=0-1,2-3"})
        assert (one.status_code, one.content) == (206, whole.content[:2])
        assert (many.status_code, many.content) == (200, whole.content)
