"""The list of all private parts of other libraries that the sockets rest on."""

from typing import NamedTuple


class Part(NamedTuple):
    """A part of another library that is not promised to stay as it is."""

    module: str
    name: str
    expected: str
    """Its signature, or the beginning of the SHA-256 of its source."""
    use: str
    """What it is to the transport."""


_HTTP = "uvicorn.protocols.http.httptools_impl"
_UVICORN = "uvicorn.protocols.websockets.websockets_sansio_impl"
PRIVATE_PARTS = (
    Part(
        "engineio.base_server",
        "BaseServer.__init__",
        "a06b17502fbd",
        "it sets `_async`, `handlers`, `sockets` and the limits",
    ),
    Part("engineio.async_server", "AsyncServer.create_queue", "5ff5673a0c01", "each socket asks it for its queue"),
    Part(
        "engineio.async_server",
        "AsyncServer._handle_connect",
        "5bd7edc1d1ae",
        "it makes the socket, and serves a WebSocket to its end",
    ),
    Part(
        "engineio.base_socket",
        "BaseSocket.__init__",
        "8532b631a4dc",
        "it sets `queue`, `connected`, `upgraded` and `closed`",
    ),
    Part(
        "engineio.async_socket",
        "AsyncSocket._upgrade_websocket",
        "820b83efe96a",
        "it calls the class that stands in `_async`",
    ),
    Part(
        "engineio.async_socket",
        "AsyncSocket._websocket_handler",
        "27f120df4d71",
        "`DirectWebSocket` does this work instead",
    ),
    Part(
        "engineio.async_socket",
        "AsyncSocket.receive",
        "a91ae36ec2fb",
        "`DirectQueue` hands packets to it, and messages past it",
    ),
    Part("engineio.async_socket", "AsyncSocket.send", "0437276ccba7", "it puts into `queue`, a `DirectQueue`"),
    Part(
        "engineio.async_socket",
        "AsyncSocket.close",
        "faa2e9390254",
        "it tells of the disconnect, and puts a CLOSE packet into `queue`",
    ),
    Part("engineio.async_socket", "AsyncSocket.schedule_ping", "fe316639159c", "`DirectQueue` calls it for each pong"),
    Part("engineio.async_drivers.asgi", "WebSocket.__init__", "04b1e5346e13", "`DirectWebSocket` extends it"),
    Part("engineio.async_drivers.asgi", "WebSocket.__call__", "abbf7a49b225", "`DirectWebSocket` extends it"),
    Part("engineio.packet", "Packet.__init__", "26559aaf4a6f", "`Said` sets what it would set"),
    Part("engineio.packet", "Packet.encode", "8f3d5d869711", "`Said` overrides it"),
    Part("socketio.base_server", "BaseServer.__init__", "6b998e091b34", "it sets `eio`, `handlers` and `manager`"),
    Part(
        "socketio.base_server",
        "BaseServer.on",
        "(self, event, handler=None, namespace=None)",
        "handlers are registered by it",
    ),
    Part("socketio.async_server", "AsyncServer._engineio_server_class", "199c42bf1492", "`LeanServer` overrides it"),
    Part("socketio.async_server", "AsyncServer._handle_eio_message", "bef50fc0e163", "both servers override it"),
    Part("socketio.async_server", "AsyncServer._handle_event", "65178105ef8b", "`take_event` does this work instead"),
    Part(
        "socketio.async_server",
        "AsyncServer._handle_event_internal",
        "472e8b723a12",
        "`StockServer` counts its calls",
    ),
    Part("socketio.async_server", "AsyncServer._trigger_event", "01ba90cfa09b", "`take_event` does this work instead"),
    Part("socketio.async_server", "AsyncServer.call", "4b7ae754cf3d", "`StockCalls` cancels it"),
    Part("socketio.base_manager", "BaseManager.__init__", "bfee992d912f", "it sets `rooms` and `callbacks`"),
    Part("socketio.base_manager", "BaseManager._generate_ack_id", "ca3840d6559e", "`Manager` overrides it"),
    Part(
        "socketio.base_manager",
        "BaseManager.sid_from_eio_sid",
        "15467098a36b",
        "`take_event` asks it who sent an event",
    ),
    Part("socketio.base_manager", "BaseManager.is_connected", "d37721466718", "`take_event` and the calls ask it"),
    Part(
        "socketio.base_manager",
        "BaseManager.basic_enter_room",
        "3f509586d2d7",
        "the hub reads who is in a room of `rooms`",
    ),
    Part(
        "socketio.base_manager",
        "BaseManager.basic_leave_room",
        "e27f3eea06d1",
        "the hub takes a slow viewer out of a room",
    ),
    Part(
        "socketio.base_manager", "BaseManager.basic_disconnect", "2933b50bc4b2", "it forgets the callbacks of a socket"
    ),
    Part(
        "socketio.async_manager",
        "AsyncManager.trigger_callback",
        "9cf95a1d1a3a",
        "it looks for the callback of an answer",
    ),
    Part("socketio.packet", "Packet.__init__", "5fe2fa797e08", "`ServerPacket` extends it"),
    Part("socketio.packet", "Packet.decode", "61ad7904b539", "`ServerPacket` catches what it raises"),
    Part(_UVICORN, "WebSocketsSansIOProtocol.__init__", "631dcd744eab", "`Connection` extends it"),
    Part(
        _UVICORN,
        "WebSocketsSansIOProtocol.data_received",
        "c89d394077d8",
        "`Connection` reads most frames, and hands it the others",
    ),
    Part(_UVICORN, "WebSocketsSansIOProtocol.connection_lost", "dd116afc4d80", "it sets `disconnected`"),
    Part(
        _UVICORN,
        "WebSocketsSansIOProtocol.handle_connect",
        "fc648c2161ff",
        "it makes `scope`, which `Connection` adds to",
    ),
    Part(_UVICORN, "WebSocketsSansIOProtocol.handle_text", "6ae523180cf0", "it fills `frames`"),
    Part(
        _UVICORN, "WebSocketsSansIOProtocol.handle_cont", "d96fe1479da6", "it fills `frames`, whose number is bounded"
    ),
    Part(_UVICORN, "WebSocketsSansIOProtocol.handle_bytes", "2b22b21bf8fe", "it fills `frames`"),
    Part(_UVICORN, "WebSocketsSansIOProtocol.handle_close", "62fd412b1f5b", "it closes the transport"),
    Part(_UVICORN, "WebSocketsSansIOProtocol.handle_parser_exception", "ff5cf13c764f", "it sets `close_sent`"),
    Part(_UVICORN, "WebSocketsSansIOProtocol.send_receive_event_to_app", "a2b10de91477", "`Connection` overrides it"),
    Part(_UVICORN, "WebSocketsSansIOProtocol.shutdown", "e8ace796ada6", "`Connection` extends it"),
    Part(_UVICORN, "WebSocketsSansIOProtocol.pause_writing", "4830f7e0d81f", "it clears `writable`"),
    Part(_UVICORN, "WebSocketsSansIOProtocol.resume_writing", "ef79384e5fff", "it sets `writable`"),
    Part(_UVICORN, "WebSocketsSansIOProtocol.receive", "1dc0e7153900", "`Connection.end` makes it return"),
    Part(_UVICORN, "WebSocketsSansIOProtocol.send", "d4919ed760ce", "`Connection.write` writes frames beside it"),
    Part(
        "websockets.frames",
        "Frame.parse",
        "2964f6b18f3a",
        "`frames.py` reads text in its place, by the same `apply_mask`",
    ),
    Part(_HTTP, "HttpToolsProtocol.__init__", "4f0899941034", "`GuardedHttp` extends it"),
    Part(_HTTP, "HttpToolsProtocol.data_received", "010a7ae59a5d", "`GuardedHttp` hands it what may be read"),
    Part(_HTTP, "HttpToolsProtocol.connection_made", "6efb565ff3d3", "it sets `transport` and `client`"),
    Part(_HTTP, "HttpToolsProtocol.connection_lost", "c91a4c9bf2e2", "`GuardedHttp` extends it"),
    Part(_HTTP, "HttpToolsProtocol.on_message_begin", "96d377fdc7c2", "it makes `scope`, which `GuardedHttp` adds to"),
    Part(_HTTP, "HttpToolsProtocol.on_headers_complete", "1ea8589acfad", "it fills `pipeline`"),
    Part(_HTTP, "HttpToolsProtocol._start_asgi_task", "9c08c2571ae9", "it begins with the next request"),
    Part(
        _HTTP,
        "RequestResponseCycle.__init__",
        "4d2f220910c3",
        "`GuardedHttp` sets `disconnected`, `message_event`",
    ),
    Part(_HTTP, "HttpToolsProtocol.on_message_complete", "1fbad42dc31f", "`GuardedHttp` extends it"),
    Part(
        _HTTP,
        "HttpToolsProtocol.handle_websocket_upgrade",
        "179c4f769386",
        "it makes the WebSocket, and hands it the request",
    ),
    Part("uvicorn.server", "Server.startup", "2aa1d70a244b", "`GuardedServer` does this work instead"),
    Part(
        "engineio.async_server", "AsyncServer.disconnect", "8bb6448caae4", "it closes a session that does not sign in"
    ),
    Part("socketio.async_server", "AsyncServer._handle_eio_connect", "76704886d944", "`StockServer` extends it"),
    Part("socketio.async_server", "AsyncServer._handle_connect", "c97c480cf777", "`StockServer` extends it"),
    Part("socketio.async_server", "AsyncServer.disconnect", "7d2f76686c12", "`StockServer` extends it"),
    Part("socketio.async_server", "AsyncServer._handle_disconnect", "c0b32ada5b37", "`StockServer` extends it"),
    Part("socketio.async_server", "AsyncServer._handle_eio_disconnect", "9344593148b6", "`StockServer` extends it"),
    Part(_HTTP, "HttpToolsProtocol.on_header", "65d62c044f61", "`GuardedHttp` leaves trailers out"),
    Part(_HTTP, "HttpToolsProtocol.on_body", "dba9c32aeba3", "`GuardedHttp` extends it"),
    Part("websockets.streams", "StreamReader.discard", "8f7e50f91f35", "it frees what has come"),
    Part("websockets.utils", "apply_mask", "552db1b0bdf7", "that of `websockets.frames` is the same in C"),
)
"""All that is overridden, called or read in this folder and in `adapters/listener`.

A test compares it with the installed versions (`tests/contracts/test_private_parts.py`).
"""
