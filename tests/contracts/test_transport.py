"""`KEYSIDE_TRANSPORT` decides on every class that the sockets are made of, and `stock` takes none of the lean ones."""

import importlib
from pathlib import Path

import engineio
import pytest
import socketio
from engineio.async_drivers.asgi import WebSocket

from keyside.adapters.listener.websocket import GuardedWebSocket
from keyside.adapters.socketio.calls import SocketCalls, StockCalls
from keyside.adapters.socketio.connection import Connection
from keyside.adapters.socketio.hub import SocketHub, StockHub
from keyside.adapters.socketio.lean import LeanServer
from keyside.adapters.socketio.stock import StockServer
from keyside.adapters.socketio.transport import DirectWebSocket, LeanTransport
from keyside.app import Application, MemoryStore, create_app
from keyside.settings import load


def application(transport: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Application:
    """A server that is not started, as the environment asks for it."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KEYSIDE_TRANSPORT", transport)
    return create_app(load(data_dir=folder), store=MemoryStore(), static=folder)


def parts(made: Application) -> list[type]:
    """The classes of the server, its engine, its WebSockets, the hub and the calls."""
    sio = made.sio
    return [type(sio), type(sio.eio), sio.eio._async["websocket"], type(made.services.hub), type(made.services.calls)]


def test_stock_runs_the_libraries_own_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = application("stock", tmp_path, monkeypatch)
    assert parts(made) == [StockServer, engineio.AsyncServer, WebSocket, StockHub, StockCalls]
    # What is done at each event is left to the library, too.
    for name in ("_handle_event", "_trigger_event", "call", "emit"):
        assert getattr(StockServer, name) is getattr(socketio.AsyncServer, name), name


def test_lean_runs_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = application("lean", tmp_path, monkeypatch)
    assert parts(made) == [LeanServer, LeanTransport, DirectWebSocket, SocketHub, SocketCalls]


@pytest.mark.parametrize(("transport", "protocol"), [("lean", Connection), ("stock", GuardedWebSocket)])
def test_only_lean_reads_frames_by_our_own_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str, protocol: object
) -> None:
    made = application(transport, tmp_path, monkeypatch)
    serve = importlib.import_module("keyside.cli.serve")  # `keyside.cli.serve` is a command, too
    assert serve._config(load(data_dir=tmp_path), made.asgi).ws == protocol


def test_lean_is_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parts(application("", tmp_path, monkeypatch))[0] is LeanServer
