"""Bounds the bodies of requests: little before sign-in, more after it, all of them together, and none too slowly."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyside.protocol.errors import KeysideError
from keyside.web.http.errors import BodyRefused, answer

_LINGER_SECONDS: Final = 2
"""How long what a refused client still sends is passed over, so that it gets to read why it was refused."""
_MEANINGLESS: Final = frozenset({"GET", "HEAD"})
"""Methods of which nobody reads a body."""


@dataclass(frozen=True)
class BodyLimits:
    """Sizes are in bytes, times in seconds."""

    stranger: int = 8 * 1024
    """The most that may come before it is known who sends it."""
    together: int = 64 * 1024 * 1024
    """The most of all requests that are read or handled at the same time."""
    silence: float = 10
    """How long nothing may come."""
    rate: float = 8 * 1024
    """How many bytes must come in a second; who is behind by more than `silence` is too slow."""


class Sender(NamedTuple):
    """Who sends a request, and the most bytes that it may have."""

    account: Hashable
    most: int


SenderOf = Callable[[Scope], Awaitable[Sender]]
"""Finds the sender of a request. It raises `KeysideError` where nothing large may be sent."""


class Bodies:
    """ASGI middleware around everything that reads bodies."""

    def __init__(self, app: ASGIApp, sender_of: SenderOf, limits: BodyLimits) -> None:
        self._app = app
        self._sender_of = sender_of
        self._limits = limits
        self._held: Counter[Hashable] = Counter()
        """Bytes of the large bodies that are being read or handled, by account."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one HTTP request; everything else is passed on."""
        if scope["type"] != "http" or not _has_body(scope):
            return await self._app(scope, receive, send)
        body = _Body(self, receive, send, self._limits, partial(self._sender_of, scope))
        try:
            await body.expect(_length(scope))
            await self._app(scope, body.listen if scope["method"] in _MEANINGLESS else body.receive, body.send)
        except (KeysideError, BodyRefused) as error:
            known = error.error if isinstance(error, BodyRefused) else error
            await answer(known)(scope, body.receive, body.send)
        finally:
            body.release()

    def hold(self, account: Hashable, size: int) -> None:
        """Counts bytes that have come. Raises `server_busy` where they are too much, or half of that of one account."""
        together = self._limits.together
        if self._held.total() + size > together or self._held[account] + size > together // 2:
            raise KeysideError("server_busy")
        self._held[account] += size

    def release(self, account: Hashable, size: int) -> None:
        """Counts bytes that are handled."""
        self._held[account] -= size
        if not self._held[account]:
            del self._held[account]


class _Body:
    """The body of one request, as it comes in."""

    def __init__(
        self,
        bodies: Bodies,
        receive: Receive,
        send: Send,
        limits: BodyLimits,
        find_sender: Callable[[], Awaitable[Sender]],
    ) -> None:
        self._sender = Sender(None, limits.stranger)
        """Whoever it is, as long as the body is small."""
        self._find_sender = find_sender
        self._bodies = bodies
        self._receive = receive
        self._send = send
        self._limits = limits
        self._held = 0
        self._come = 0
        self._patience = limits.silence
        """How many seconds more may be waited for the next bytes."""
        self._whole = False
        self._is_answered = False
        self._is_listened_to = False

    async def expect(self, size: int | None) -> None:
        """The request says that its body has so many bytes, or so many have come. Raises `KeysideError`.

        Who sends it is looked at only where it is more than anybody may send.
        """
        if size is None or size <= self._sender.most:
            return
        self._sender = await self._find_sender()
        most = self._sender.most
        if size > most:
            raise KeysideError("too_large", f"This is larger than the {most:,} bytes that the server takes here.")

    async def receive(self) -> Message:
        """In place of the server's: the same, within limits. Raises `BodyRefused`, but not once an answer has begun.

        Whoever answers without the body may still listen for the client's going.
        """
        message = await (self._receive() if self._whole or self._is_answered else self._next())
        if message["type"] == "http.request" and not self._is_answered:
            await self._count(len(message.get("body", b"")))
        self._whole = not message.get("more_body", False)
        return message

    async def listen(self) -> Message:
        """In place of the server's where a body means nothing: there seems to be none; what comes is passed over."""
        if not self._is_listened_to:
            self._is_listened_to = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await self._receive())["type"] == "http.request":
            self._whole = not message.get("more_body", False)
        return message

    async def _count(self, size: int) -> None:
        self._come += size
        self._patience = min(self._limits.silence, self._patience + size / self._limits.rate)
        try:
            await self.expect(self._come)
            if self._sender.account is not None:  # small bodies are taken whatever others send
                self._bodies.hold(self._sender.account, size)
                self._held += size
        except KeysideError as error:
            if not self._is_answered:
                raise BodyRefused(error) from None

    async def _next(self) -> Message:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._patience):
                return await self._receive()
        except TimeoutError:
            if self._is_answered:
                return await self._receive()
            raise BodyRefused(KeysideError("too_slow")) from None
        finally:
            self._patience -= loop.time() - began

    async def send(self, message: Message) -> None:
        """In place of the server's: an answer that comes before the whole body is the last on its connection."""
        if message["type"] == "http.response.start":
            self.release()
            self._is_answered = True
            if not self._whole:
                headers = MutableHeaders(raw=list(message.get("headers", [])))
                headers["connection"] = "close"
                message = {**message, "headers": headers.raw}
        elif message["type"] == "http.response.body" and not self._whole and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._pass_over()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _pass_over(self) -> None:
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await self._receive()).get("more_body", False):
                    pass
        except TimeoutError:
            pass

    def release(self) -> None:
        """Its bytes are handled."""
        self._bodies.release(self._sender.account, self._held)
        self._held = 0


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _length(scope: Scope) -> int | None:
    """How long the request says that its body is; `None` where it does not."""
    said = Headers(scope=scope).get("content-length", "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 19 else None
