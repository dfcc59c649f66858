"""Serves the built page and its scripts from `static/`: each file at its own path alone, with its own policy."""

import os
import re
from pathlib import Path
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from keyside.web.http.errors import answer, nothing_at
from keyside.web.origins import Origins
from keyside.web.security_headers import WORKER_POLICY, page_policy

FOLDERS = frozenset({"assets", "worker", "companion"})
NOT_PAGES = frozenset({"api", "v1", "uploads", "health", "metrics", "docs", "redoc", "ws"}) | FOLDERS
"""The first names of paths that never show the page: an unknown path below them is answered with an error."""

NOT_BUILT = "The page has not been built yet. Run `make setup` in the checkout, then reload.\n"
FOREVER = "public, max-age=31536000, immutable"

_ADDRESS = re.compile(r"/|(/[A-Za-z0-9_-]+)+")
"""The form of all addresses within the page, such as `/c/7`. They have no dots, so none is the path of a file."""


class Pages:
    """The ASGI application for every path that no route matches."""

    def __init__(self, static: Path, origins: Origins) -> None:
        self._static = static.resolve()
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request with a file, the page, or an error. A WebSocket is closed."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close"})
        await self._response(scope)(_with_one_range(scope), receive, send)

    def _response(self, scope: Scope) -> Response:
        path, method = scope["path"], scope["method"]
        if method in {"GET", "HEAD"} and _is_canonical(scope):
            if path == "/index.html" or self._is_address(path, Headers(scope=scope)):
                return self._page(scope)
            if (names := self._file(path)) and (served := self._served(names)):
                return served
        return answer(nothing_at(method, path))

    def _is_address(self, path: str, headers: Headers) -> bool:
        if path == "/":
            return True
        is_for_people = "text/html" in headers.get("accept", "")
        return is_for_people and bool(_ADDRESS.fullmatch(path)) and path.split("/")[1].lower() not in NOT_PAGES

    def _file(self, path: str) -> tuple[str, ...] | None:
        """The names that lead from the static folder to the file of this path; `None` where there is none.

        Each name must be one that its folder lists, letter by letter. So nothing is served by a second path, also
        where the disk takes `A` for `a`, and nothing by a link.
        """
        names = tuple(path.split("/")[1:])
        place = self._static
        for name in names:
            if not place.is_dir() or name not in os.listdir(place):
                return None
            place = place / name
            if place.is_symlink():
                return None
        return names if place.is_file() else None

    def _served(self, names: tuple[str, ...]) -> Response | None:
        """The file, with the policy and the caching that follow from its place; `None` where it is not to be served."""
        file = self._static.joinpath(*names)
        match names:
            case ("assets", *_):  # their names contain a hash of their content
                return FileResponse(file, headers={"cache-control": FOREVER})
            case ("worker", *_) if file.suffix == ".js":  # never cached (S3)
                headers = {"content-security-policy": WORKER_POLICY}
                return FileResponse(file, headers=headers, media_type="text/javascript")
            case ("worker", *_):  # a document would run under that policy
                return None
            case _:
                return FileResponse(file, headers={"cache-control": "no-cache"})

    def _page(self, scope: Scope) -> Response:
        index = self._static / "index.html"
        if not index.is_file():
            return PlainTextResponse(NOT_BUILT, 503)
        origin = self._origins.at(Headers(scope=scope).get("host")) or self._origins.public
        policy = {"content-security-policy": page_policy(origin), "cache-control": "no-cache"}
        return FileResponse(index, headers=policy, media_type="text/html")


def _with_one_range(scope: Scope) -> Scope:
    """The request without a header that asks for many parts of a file: the answer would be put together in memory."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"range" or b"," not in value]
    return {**scope, "headers": headers}


def _is_canonical(scope: Scope) -> bool:
    """Whether the path was sent as it is usually written, so that no two ways of writing it lead to one file."""
    raw_path = scope.get("raw_path")
    return raw_path is None or raw_path == quote(scope["path"]).encode()
