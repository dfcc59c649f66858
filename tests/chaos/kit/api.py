"""An HTTP client that repeats each request until it is answered, as the page does."""

import asyncio
from typing import Any

import httpx

TRY_SECONDS = 0.2


class Api:
    """A client of the native HTTP API of one server."""

    def __init__(self, port: int) -> None:
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=3, trust_env=False)
        self.strange: list[str] = []
        """Answers that no fault explains."""
        self.troubles: dict[str, str] = {}
        """For each request that is being repeated: why it failed the last time."""

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.aclose()

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Sends a request, repeats it while it fails temporarily, and returns status and body."""
        while True:
            try:
                answer = await self._client.request(method, path, json=body)
            except httpx.TransportError as error:
                self.troubles[f"{method} {path}"] = repr(error)
                await asyncio.sleep(TRY_SECONDS)
                continue
            if answer.status_code == 503:
                self.troubles[f"{method} {path}"] = answer.text
                await asyncio.sleep(TRY_SECONDS)
                continue
            self.troubles.pop(f"{method} {path}", None)
            if answer.status_code >= 500:
                self.strange.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            return answer.status_code, answer.json() if answer.content else None

    async def new_chat(self) -> int:
        """The id of a new chat."""
        status, chat = await self.ask("POST", "/api/chats", {})
        assert status == 201, chat
        return int(chat["id"])

    async def chat(self, chat_id: int) -> dict[str, Any] | None:
        """A chat; nothing where it was deleted."""
        status, chat = await self.ask("GET", f"/api/chats/{chat_id}")
        return chat if status == 200 else None

    async def start(self, chat_id: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Asks for an answer; with its `run_id` in the body it is asked for once, however often it is sent."""
        return await self.ask("POST", f"/api/chats/{chat_id}/runs", body)

    async def run(self, run_id: str) -> dict[str, Any] | None:
        """A run; nothing where it was deleted."""
        status, run = await self.ask("GET", f"/api/runs/{run_id}")
        return run if status == 200 else None

    async def online(self) -> set[str]:
        """The executors that are announced."""
        _, page = await self.ask("GET", "/api/executors")
        return {executor["id"] for executor in page["items"] if executor["online"]}

    async def messages(self, chat_id: int) -> list[dict[str, Any]] | None:
        """All messages of a chat; nothing where it was deleted."""
        status, page = await self.ask("GET", f"/api/chats/{chat_id}/messages")
        return page["items"] if status == 200 else None
