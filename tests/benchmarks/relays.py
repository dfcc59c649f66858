"""The contenders that store nothing: a bare WebSocket relay on Starlette and a bare relay on python-socketio.

`python -m tests.benchmarks.relays starlette|socketio PORT` runs one, on the same uvicorn and with the same options as
Keyside. A relay sends what a producer says to whoever is in its room.
"""

import sys
from typing import Any

import socketio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect


async def health(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


def starlette_relay() -> ASGIApp:
    """`/produce/ROOM` is relayed to `/view/ROOM`, message by message."""
    rooms: dict[str, set[WebSocket]] = {}

    async def produce(websocket: WebSocket) -> None:
        await websocket.accept()
        viewers = rooms.setdefault(websocket.path_params["room"], set())
        async for text in websocket.iter_text():
            for viewer in tuple(viewers):
                await viewer.send_text(text)

    async def view(websocket: WebSocket) -> None:
        await websocket.accept()
        viewers = rooms.setdefault(websocket.path_params["room"], set())
        viewers.add(websocket)
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            viewers.discard(websocket)

    return Starlette(
        routes=[
            Route("/health", health),
            WebSocketRoute("/produce/{room}", produce),
            WebSocketRoute("/view/{room}", view),
        ]
    )


def socketio_relay() -> ASGIApp:
    """`join` enters a room, `line` is emitted to that room: one event a line."""
    sio: Any = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
    rooms: dict[str, str] = {}

    async def join(session_id: str, room: str) -> bool:
        rooms[session_id] = room
        await sio.enter_room(session_id, room)
        return True

    async def line(session_id: str, text: str) -> None:
        await sio.emit("line", text, room=rooms[session_id], skip_sid=session_id)

    sio.on("join", join)
    sio.on("line", line)
    app: ASGIApp = socketio.ASGIApp(sio, Starlette(routes=[Route("/health", health)]))
    return app


def main() -> None:
    kind, port = sys.argv[1:]
    app = starlette_relay() if kind == "starlette" else socketio_relay()
    uvicorn.run(
        app,
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
