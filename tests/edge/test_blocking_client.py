"""python-socketio's blocking client, as a program without asyncio uses it: it reads a chat, and is a plain executor."""

import asyncio
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import socketio

from keyside.testing import DONE, text_line
from tests.edge.live import SECONDS, SHORT_PATH, LiveServer

rule = pytest.mark.rule


@contextmanager
def blocking_client(url: str, events: "queue.Queue[dict[str, Any]]") -> Iterator[socketio.Client]:
    """A connected client; its handler runs in a thread of its own and keeps what it is told."""
    client = socketio.Client(reconnection=False)

    @client.on("events")  # type: ignore[untyped-decorator]
    def told(message: dict[str, Any]) -> Any:
        events.put(message)
        return {"status": True} if message["type"] == "request:chat:completion" else None

    try:
        client.connect(url, transports=["websocket"], socketio_path=SHORT_PATH, wait_timeout=SECONDS)
        yield client
    finally:
        client.disconnect()
        client.wait()


def next_of(events: "queue.Queue[dict[str, Any]]", type: str) -> Any:
    while (message := events.get(timeout=SECONDS))["type"] != type:
        pass
    return message["data"]


def converse(url: str) -> tuple[str, str]:
    """Opens a chat, asks in it, answers the call line by line, and reads the answer: its text and the run's state."""
    events: queue.Queue[dict[str, Any]] = queue.Queue()
    with blocking_client(url, events) as client, httpx.Client(base_url=url, timeout=SECONDS) as http:
        chat_id = http.post("/api/chats", json={}).json()["id"]
        assert client.call("chat:open", {"chat_id": chat_id}, timeout=SECONDS)["ok"] is True
        body = {"model": "m", "message": {"content": "hello"}, "session_id": client.get_sid()}
        assert http.post(f"/api/chats/{chat_id}/runs", json=body).status_code == 202
        offer = next_of(events, "request:chat:completion")
        for line in (text_line("from "), text_line("a thread"), DONE):
            client.emit(offer["channel"], line)
        text, state = "", ""
        while state != "done":
            event = next_of(events, "chat:event")
            text += event.get("content") or "" if event["kind"] == "delta" else ""
            state = event["run"]["state"] if event["kind"] == "run" else state
        return text, state


@rule("C1", "E6", "V1")
async def test_a_blocking_client_opens_a_chat_and_answers_in_it(live: LiveServer) -> None:
    async with asyncio.timeout(3 * SECONDS):
        assert await asyncio.to_thread(converse, live.url) == ("from a thread", "done")
