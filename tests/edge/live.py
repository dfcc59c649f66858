"""A real server as a child process, and real Socket.IO clients for it."""

import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import socketio
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket

PROGRAM = [sys.executable, "-W", "error", "-m", "keyside", "serve", "--port", "0", "--no-browser"]
SOCKET_PATH = "/ws/socket.io"
SHORT_PATH = "/ws"
"""The same endpoint: library clients take the one, raw sockets the other (C1)."""
SECONDS = 20
"""The most seconds that any step may take, on a busy machine."""


class LiveServer:
    """`keyside serve` on a free loopback port. It can be killed, and started again on the same data and port."""

    def __init__(self, data_dir: Path, auth: str = "off", **settings: str) -> None:
        self.data_dir = data_dir
        self.log_file = data_dir / "server.log"
        self._options = ["--data-dir", str(data_dir), "--auth", auth]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYSIDE_")}
        self._env = clean | {f"KEYSIDE_{name.upper()}": value for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.link = ""

    def start(self) -> None:
        """Starts the server, and returns when it is ready."""
        port = ["--port", self.url.rpartition(":")[2]] if self.url else []
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*PROGRAM, *self._options, *port],
                cwd=self.data_dir,
                env=self._env,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )
        ready = re.fullmatch(r"Keyside is ready at (http://\S+:\d+)", self._line())
        assert ready, self.log
        self.url = ready[1]
        self.link = self._line().rpartition(" ")[2]

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], SECONDS)[0], "the server says nothing"
        line: bytes = self._process.stdout.readline()
        return line.decode().rstrip("\n")

    def end(self, number: int = signal.SIGKILL) -> int:
        """Ends the process, and returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdout is not None
        process.send_signal(number)
        with process.stdout:
            return process.wait(SECONDS)

    @property
    def pid(self) -> int:
        """The number of the process that serves."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def database(self) -> Path:
        return self.data_dir / "keyside.db"

    def http(self, **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=SECONDS)


class Client:
    """A Socket.IO client that keeps every message. `on_call` answers the server's calls."""

    def __init__(self, transport: str = "websocket") -> None:
        self.sio = socketio.AsyncClient(reconnection=False)
        self.transport = transport
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.refusal: Any = None
        self.on_call: Callable[[dict[str, Any]], Any] = lambda data: {"status": True}
        self.gone = asyncio.Event()
        self.sio.on("events", self._events)
        self.sio.on("connect_error", self._refused)
        self.sio.on("disconnect", self._gone)

    async def connect(self, url: str, auth: object = None, **headers: str) -> None:
        """Raises `socketio.exceptions.ConnectionError` where it is refused; `refusal` says why."""
        await self.sio.connect(
            url,
            headers=headers,
            auth=auth,
            transports=[self.transport],
            socketio_path=SOCKET_PATH,
            wait_timeout=SECONDS,
        )

    async def close(self) -> None:
        """Disconnects. It does not wait for a hanging poll."""
        transport = self.sio.eio
        tasks = [task for task in (transport.read_loop_task, transport.write_loop_task) if task is not None]
        await transport.disconnect(abort=self.transport == "polling")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if transport.http is not None:
            await transport.http.close()

    async def _events(self, message: dict[str, Any]) -> Any:
        self.told.put_nowait(message)
        if message["type"] == "request:chat:completion":
            answer = self.on_call(message["data"])
            return await answer if asyncio.iscoroutine(answer) else answer
        return None

    async def _refused(self, said: Any = None) -> None:
        self.refusal = said

    async def _gone(self, *_: object) -> None:
        self.gone.set()

    @property
    def session_id(self) -> str:
        return str(self.sio.get_sid())

    async def call(self, event: str, data: Any = None) -> Any:
        """The acknowledgement of an event."""
        return await self.sio.call(event, data, timeout=SECONDS)

    async def next(self, *types: str) -> dict[str, Any]:
        """The next message of one of these types; others are passed over."""
        async with asyncio.timeout(SECONDS):
            while True:
                message = await self.told.get()
                if message["type"] in types:
                    return message

    async def event(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """The next event of an open chat of that kind, with these fields."""
        while True:
            data: dict[str, Any] = (await self.next("chat:event"))["data"]
            if data["kind"] == kind and all(data.get(name) == value for name, value in wanted.items()):
                return data

    async def run_state(self, *states: str) -> dict[str, Any]:
        """The next event that says that a run is in one of these states."""
        while True:
            run: dict[str, Any] = (await self.event("run"))["run"]
            if run["state"] in states:
                return run


@asynccontextmanager
async def connected(
    url: str, auth: object = None, *, transport: str = "websocket", **headers: str
) -> AsyncIterator[Client]:
    """A client for as long as the block lasts."""
    client = Client(transport)
    try:
        await client.connect(url, auth, **headers)
        yield client
    finally:
        await client.close()


class Executor:
    """A framed executor on a client."""

    def __init__(self, client: Client, executor_id: str = "desk", models: tuple[str, ...] = ("m",)) -> None:
        self.client = client
        self.announcement: dict[str, Any] = {
            "executor_id": executor_id,
            "secret": "a secret of the test",
            "instance": "instance-1",
            "name": executor_id,
            "connections": [{"id": "c1", "provider": executor_id, "models": [{"id": model} for model in models]}],
            "max_runs": 20,
        }
        client.on_call = self.accept

    def accept(self, data: dict[str, Any]) -> Any:
        """The callback that accepts an offer."""
        return {"status": True, "run_id": data["run_id"], "attempt": data["attempt"]}

    async def ready(self, *holds: dict[str, Any]) -> Any:
        """Announces itself with the offers that it holds."""
        held = [{"run_id": offer["run_id"], "attempt": offer["attempt"]} for offer in holds]
        ack = await self.client.call("executor:ready", {**self.announcement, "holds": held})
        assert ack["ok"], ack
        return ack

    async def offer(self) -> dict[str, Any]:
        data: dict[str, Any] = (await self.client.next("request:chat:completion"))["data"]
        return data

    async def send(self, offer: dict[str, Any], index: int, *lines: str, **more: Any) -> Any:
        """A frame; returns its acknowledgement."""
        frame = {"attempt": offer["attempt"], "index": index, "lines": list(lines), **more}
        return await self.client.call(offer["channel"], frame)

    async def claim(self, offer: dict[str, Any]) -> None:
        assert await self.send(offer, 0) == {"ok": True, "expected": 0}

    async def finish(self, offer: dict[str, Any], index: int, *lines: str, reason: str = "stop") -> Any:
        return await self.send(offer, index, *lines, done=True, finish={"reason": reason})


@asynccontextmanager
async def executing(url: str, executor_id: str = "desk", *, auth: object = None) -> AsyncIterator[Executor]:
    """A connected executor that offers the model `<id>/m`."""
    async with connected(url, auth) as client:
        executor = Executor(client, executor_id)
        await executor.ready()
        yield executor


class RawSocket:
    """A socket without a client library: it sends and receives packets as text."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._early: list[str] = []

    async def send(self, packet: str | bytes) -> None:
        await self._socket.send(packet)

    async def receive(self, start: str = "") -> str:
        """The next packet with this prefix. Pings are answered; other packets are kept for later."""
        found = next((packet for packet in self._early if packet.startswith(start)), None)
        if found is not None:
            self._early.remove(found)
            return found
        async with asyncio.timeout(SECONDS):
            while True:
                packet = await self._socket.recv()
                assert isinstance(packet, str)
                if packet == "2":
                    await self._socket.send("3")
                elif packet.startswith(start):
                    return packet
                else:
                    self._early.append(packet)

    def passed_over(self, type: str) -> list[dict[str, Any]]:
        """The data of messages of a type that arrived during other waits."""
        found = [json.loads(packet[2:])[1] for packet in self._early if packet.startswith('42["events"')]
        return [message["data"] for message in found if message["type"] == type]

    async def call(self) -> tuple[int, dict[str, Any]]:
        """The next completion request, with the number of its callback."""
        while True:
            packet = await self.receive("42")
            number, found, rest = packet[2:].partition("[")
            message = json.loads(found + rest)[1]
            if message["type"] == "request:chat:completion":
                return int(number), message["data"]

    async def event(self, name: str, data: Any = None) -> Any:
        """Emits an event and returns its acknowledgement."""
        await self.send(f"429{json.dumps([name, data])}")
        return json.loads((await self.receive("439["))[3:])[0]


@asynccontextmanager
async def raw_socket(url: str, auth: object = None, **headers: str) -> AsyncIterator[tuple[RawSocket, str]]:
    """A Socket.IO connection without a client library, and its session id."""
    address = f"{url.replace('http', 'ws', 1)}{SHORT_PATH}/?EIO=4&transport=websocket"
    async with websocket(address, additional_headers=headers, max_size=None, ping_interval=None) as connection:
        raw = RawSocket(connection)
        await raw.receive("0")
        await raw.send("40" + ("" if auth is None else json.dumps(auth)))
        answer = await raw.receive("40")
        yield raw, json.loads(answer[2:])["sid"]


async def new_chat(http: httpx.AsyncClient) -> int:
    answer = await http.post("/api/chats", json={})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def ask(http: httpx.AsyncClient, *, model: str = "desk/m", chat_id: int | None = None, **more: Any) -> Any:
    """Begins a run in a chat (a new one, if none is named); returns the answer's body."""
    chat_id = chat_id or await new_chat(http)
    body = {"model": model, "message": {"content": "hello"}, **more}
    answer = await http.post(f"/api/chats/{chat_id}/runs", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def message_of(http: httpx.AsyncClient, started: Any) -> Any:
    """The assistant's message as HTTP shows it."""
    chat_id, id = started["run"]["chat_id"], started["assistant_message"]["id"]
    return (await http.get(f"/api/chats/{chat_id}/messages/{id}")).json()["message"]


async def events_of(
    http: httpx.AsyncClient, run_id: str, headers: dict[str, str] | None = None, begun: asyncio.Semaphore | None = None
) -> list[tuple[int, dict[str, Any]]]:
    """The run's server-sent events until it has ended: each number, and the event. `begun` is released at once."""
    found: list[tuple[int, dict[str, Any]]] = []
    async with http.stream("GET", f"/api/runs/{run_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        if begun is not None:
            begun.release()
        body = (await answer.aread()).decode()
    for block in body.split("\n\n")[:-1]:
        id, data = block.split("\n")
        found.append((int(id.removeprefix("id: ")), json.loads(data.removeprefix("data: "))))
    return found


async def ended(http: httpx.AsyncClient, started: Any) -> tuple[str, str | None, str]:
    """Waits for the run's end: its state, its error's code, and the text that is kept."""
    run_id = started["run"]["id"]
    async with asyncio.timeout(SECONDS):
        await events_of(http, run_id)
    run = (await http.get(f"/api/runs/{run_id}")).json()
    error = run["error"]
    return run["state"], error and error["code"], (await message_of(http, started))["content"]
