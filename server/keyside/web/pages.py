"""Serves the built page and its scripts from `static/`, and no file outside of that directory."""

from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from keyside.web.http.errors import answer, nothing_at
from keyside.web.origins import Origins
from keyside.web.security_headers import WORKER_POLICY, page_policy

NOT_PAGES = frozenset(
    {"api", "v1", "uploads", "health", "metrics", "docs", "redoc", "openapi.json", "ws"}
    | {"assets", "worker", "companion"}
)
"""The first segments of paths that never show the page: an unknown path below them is answered with an error."""

NOT_BUILT = "The page has not been built yet. Run `make setup` in the checkout, then reload.\n"
FOREVER = "public, max-age=31536000, immutable"


class Pages:
    """The ASGI application for every path that no route matches."""

    def __init__(self, static: Path, origins: Origins) -> None:
        self._static = static.resolve()
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request with a file, the page, or an error. A WebSocket is closed."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close"})
        await self._response(scope)(scope, receive, send)

    def _response(self, scope: Scope) -> Response:
        path, method = scope["path"], scope["method"]
        if method in {"GET", "HEAD"}:
            if file := self._file(path):
                return FileResponse(file, headers=self._headers(path))
            if self._wants_page(path, Headers(scope=scope)):
                return self._page(scope)
        return answer(nothing_at(method, path))

    def _file(self, path: str) -> Path | None:
        if "\0" in path or path.strip("/") in {"", "index.html"}:
            return None
        # The path is resolved first, so that neither `..` nor a symbolic link leads outside.
        try:
            file = (self._static / path.lstrip("/")).resolve()
            return file if file.is_relative_to(self._static) and file.is_file() else None
        except OSError:  # a name that no file can have, such as one that is too long
            return None

    def _headers(self, path: str) -> dict[str, str]:
        # The names of assets contain a hash of their content. The worker's script is never cached (S3).
        if path.startswith("/assets/"):
            return {"cache-control": FOREVER}
        if path.startswith("/worker/"):
            return {"content-security-policy": WORKER_POLICY}
        return {"cache-control": "no-cache"}

    def _wants_page(self, path: str, headers: Headers) -> bool:
        if path in {"/", "/index.html"}:
            return True
        accepts_html = "text/html" in headers.get("accept", "")
        return accepts_html and path.strip("/").split("/")[0] not in NOT_PAGES

    def _page(self, scope: Scope) -> Response:
        index = self._static / "index.html"
        if not index.is_file():
            return PlainTextResponse(NOT_BUILT, 503)
        origin = self._origins.at(Headers(scope=scope).get("host")) or self._origins.public
        policy = {"content-security-policy": page_policy(origin), "cache-control": "no-cache"}
        return FileResponse(index, headers=policy, media_type="text/html")
