"""The socket door: decodes an event, calls one service method, and encodes its answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import socketio
from pydantic import ValidationError
from socketio.exceptions import ConnectionRefusedError as Refuse

from keyside.core.allowance import Allowance
from keyside.core.fitting import json_size
from keyside.core.run import Run
from keyside.core.step import Refused
from keyside.protocol import wire
from keyside.protocol.entities import ExecutorKind
from keyside.protocol.errors import KeysideError, failure
from keyside.protocol.events import CHANNEL, EVENTS
from keyside.services.accounts import Identity
from keyside.services.connections import Connections, Socket
from keyside.services.executors import Executors
from keyside.services.frames import Frames
from keyside.services.later import Later
from keyside.services.notices import CredentialRevoked, Notice
from keyside.services.ports import ACCOUNT, EVERYONE, Clock, Gone, Hub, Unavailable, user_room
from keyside.services.viewers import Viewers
from keyside.web.auth import Authenticator
from keyside.web.http.errors import sentence

log = logging.getLogger(__name__)

Answer = dict[str, Any]

_BURST_SECONDS = 10
"""For how many seconds a socket can save up the events that it may send."""
_COSTS = {"executor:ready": 10, "chat:open": 10}
"""What an event counts that takes more work than others."""
_BYTES_COST = 8 * 1024
"""For so many bytes an event counts one more."""


@dataclass(frozen=True)
class SocketLimits:
    """How many sockets a user may have, and how many events a socket may send in a second, as a mean."""

    sockets: int = 500
    events: int = 100


class Sockets:
    """The handlers of one Socket.IO server."""

    def __init__(
        self,
        sio: socketio.AsyncServer,
        authenticator: Authenticator,
        connections: Connections,
        executors: Executors,
        frames: Frames,
        viewers: Viewers,
        hub: Hub,
        clock: Clock,
        limits: SocketLimits,
    ) -> None:
        self._sio = sio
        self._authenticator = authenticator
        self._connections = connections
        self._executors = executors
        self._frames = frames
        self._viewers = viewers
        self._hub = hub
        self._clock = clock
        self._limits = limits
        self._allowances: dict[str, Allowance] = {}
        self._dropping: set[asyncio.Task[None]] = set()
        sio.on("connect", self._connect)
        sio.on("disconnect", self._disconnect)
        for event, handler in {
            "executor:ready": self._ready,
            "chat:open": self._open,
            "chat:close": self._close,
        }.items():
            sio.on(event, self._answering(event, handler))
        sio.on("*", self._channel)

    # --- connecting ------------------------------------------------------------------------------

    async def _connect(self, session_id: str, environ: dict[str, Any], auth: object = None) -> None:
        """C2, C3: refused here is refused at connect, with the error's code as the message."""
        try:
            said = wire.ConnectAuth.model_validate(auth or {})
        except ValidationError as error:
            raise Refuse("bad_request") from error
        if said.client is not None and said.client.protocol != wire.PROTOCOL:
            raise Refuse("protocol_unsupported", {"protocols": [wire.PROTOCOL]})
        headers = _headers(environ)
        try:
            identity = await self._authenticator.identify(headers, method="GET", for_socket=True, token=said.token)
            if said.user_id not in {None, identity.user_id}:
                raise KeysideError("unauthorized")
        except KeysideError as error:
            raise Refuse(error.code) from error
        except Exception as error:
            log.exception("a socket could not be let in")
            raise Refuse("internal") from error
        self._check_number(identity)
        environ["asgi.scope"][ACCOUNT] = identity.user_id
        kind = _kind(identity, headers)
        try:
            await self._hub.join(session_id, user_room(identity.user_id))
            await self._hub.join(session_id, EVERYONE)
        except Gone as error:  # while it was identified: no disconnect will be told
            raise Refuse("bad_request") from error
        events = self._limits.events
        self._allowances[session_id] = Allowance(events, events * _BURST_SECONDS, self._clock.now())
        self._viewers.connect(session_id)
        self._executors.connect(Socket(session_id, identity.user_id, kind, identity.scopes, identity.credential_id))

    def _check_number(self, identity: Identity) -> None:
        """A token has half of the account's sockets, so that one in wrong hands does not keep everybody else out."""
        most = self._limits.sockets
        mine = len(self._connections.signed_in_by(identity.credential_id)) if identity.kind == "token" else 0
        if len(self._connections.of(identity.user_id)) >= most or mine >= max(1, most // 2):
            raise Refuse("too_many_connections")

    async def _disconnect(self, session_id: str, reason: str = "") -> None:
        self._allowances.pop(session_id, None)
        self._viewers.gone(session_id)
        await self._executors.gone(session_id)

    def hear(self, notice: Notice) -> None:
        """Closes the sockets of a credential that was revoked (C7)."""
        if not isinstance(notice, CredentialRevoked):
            return
        for session_id in self._connections.signed_in_by(notice.credential_id):
            self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        task = asyncio.ensure_future(self._sio.disconnect(session_id))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    # --- events ----------------------------------------------------------------------------------

    async def _ready(self, socket: Socket, payload: object) -> Answer:
        ready = wire.ExecutorReady.model_validate(payload)
        self._require_websocket(socket)
        return (await self._executors.ready(socket.session_id, ready)).model_dump()

    def _require_websocket(self, socket: Socket) -> None:
        """C1: long polling is for viewers."""
        if self._sio.transport(socket.session_id) != "websocket":
            raise KeysideError("websocket_required")

    async def _open(self, socket: Socket, payload: object) -> Answer:
        asked = wire.ChatOpen.model_validate(payload)
        return await self._viewers.open(socket.session_id, socket.user_id, asked.chat_id, asked.after)

    async def _close(self, socket: Socket, payload: object) -> Answer:
        asked = wire.ChatClose.model_validate(payload)
        await self._viewers.close(socket.session_id, asked.chat_id)
        return wire.Ack().model_dump()

    def _channel(self, event: str, session_id: str, *args: object) -> Awaitable[Answer]:
        """Any other event is a channel's, or unknown (C4).

        There is no task for a frame that can be taken at once, as nearly all can.
        """
        payload = args[0] if args else None
        socket = self._connections.get(session_id)
        if socket is not None and self._may_send(socket):
            try:
                answer = self._take_frame(socket, event, payload)
            except (Refused, ValidationError, KeysideError):
                answer = None  # the other way refuses it again, and says why
            if answer is not None:
                return answer
        return self._slow_channel(event, session_id, payload)

    def _may_send(self, socket: Socket) -> bool:
        return "executor" in socket.scopes or "executor:shared" in socket.scopes

    def _take_frame(self, socket: Socket, event: str, payload: object) -> Later[Answer] | None:
        answer: Later[Answer] = Later()

        def done(result: Run | Exception) -> None:
            answer.set(_frame_answer(result))

        return answer if self._frames.receive_now(socket, event, payload, done) else None

    async def _slow_channel(self, event: str, session_id: str, payload: object) -> Answer:
        async def frame(socket: Socket, payload: object) -> Answer:
            if not self._frames.is_from_its_executor(socket, event):
                self._check_pace(socket, event, payload)
            self._require_websocket(socket)
            return (await self._frames.receive(socket, event, payload)).model_dump()

        return await self._answering(CHANNEL, frame)(session_id, payload)

    def _check_pace(self, socket: Socket, event: str, payload: object) -> None:
        """Raises `slow_down` where a socket sends too many events. One that goes on nevertheless is closed."""
        allowance = self._allowances.get(socket.session_id)
        cost = _COSTS.get(event, 1) + _size(payload) // _BYTES_COST
        if allowance is None or allowance.take(cost, self._clock.now()):
            return
        if allowance.overdrawn:
            self._drop(socket.session_id)
        raise KeysideError("slow_down")

    def _answering(
        self, event: str, handler: Callable[[Socket, object], Awaitable[Answer]]
    ) -> Callable[..., Awaitable[Answer]]:
        """Acknowledges whatever happens: an error answers, and changes nothing (C4)."""

        async def handle(session_id: str, *args: object) -> Answer:
            try:
                socket = self._connections.get(session_id)
                if socket is None:
                    raise KeysideError("unauthorized")
                if event != CHANNEL:
                    self._check_pace(socket, event, args[0] if args else None)
                _require(socket, EVENTS[event].scope)
                return await handler(socket, args[0] if args else None)
            except Refused as refused:
                return _refusal(KeysideError(refused.code), refused.expected)
            except ValidationError as error:
                return _refusal(KeysideError("bad_request", _wrong_field(error)))
            except KeysideError as error:
                return _refusal(error)
            except Unavailable:
                return _refusal(KeysideError("store_unavailable"))
            except Gone:  # in the middle of it: nobody reads the answer
                return _refusal(KeysideError("unauthorized"))
            except Exception:
                log.exception("%s could not be handled", event)
                return _refusal(KeysideError("internal"))

        return handle


def _size(payload: object) -> int:
    """About how many bytes it had on the wire."""
    try:
        return json_size(payload)
    except TypeError:  # numbers that no other JSON writer takes
        return len(str(payload))


def _frame_answer(result: Run | Exception) -> Answer:
    if isinstance(result, Run):
        return {"ok": True, "expected": result.expected}
    if isinstance(result, Refused):
        return _refusal(KeysideError(result.code), result.expected)
    if isinstance(result, KeysideError):
        return _refusal(result)
    log.error("a frame could not be handled", exc_info=result)
    return _refusal(KeysideError("internal"))


def _wrong_field(error: ValidationError) -> str:
    first = error.errors()[0]
    return sentence({**first, "loc": ("payload", *first["loc"])})


def _refusal(error: KeysideError, expected: int | None = None) -> Answer:
    return wire.Refusal(error=failure(error.code, str(error)), expected=expected).model_dump()


def _require(socket: Socket, scope: str | None) -> None:
    """E12: what a token may do. One for a shared executor may do what one for a companion may."""
    held = socket.scopes | ({"executor"} if "executor:shared" in socket.scopes else set())
    if scope is not None and scope not in held:
        raise KeysideError("forbidden", f"This needs the scope '{scope}', which the token does not have.")


def _kind(identity: Identity, headers: dict[str, str]) -> ExecutorKind:
    """What an executor on this socket is (E12). Without sign-in only a browser sends an Origin."""
    if identity.kind == "session":
        return "browser"
    if identity.kind == "off":
        return "browser" if "origin" in headers else "companion"
    return "shared" if "executor:shared" in identity.scopes else "companion"


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    """The request's headers, from the WSGI-like environment that Socket.IO hands over."""
    prefix = "HTTP_"
    return {
        name[len(prefix) :].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith(prefix) and isinstance(value, str)
    }
