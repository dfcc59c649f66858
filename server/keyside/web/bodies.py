"""Bounds the bodies of requests: little before sign-in, more after it, all of them together, and none too slowly."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

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
    """How many bytes must come in a second, as a mean, once `silence` has passed."""


MostBytes = Callable[[Scope], Awaitable[int]]
"""The most bytes that the sender of a request may send; it raises `KeysideError` where it may send nothing large."""


class Bodies:
    """ASGI middleware around everything that reads bodies."""

    def __init__(self, app: ASGIApp, most_bytes: MostBytes, limits: BodyLimits) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._limits = limits
        self._held = 0
        """Bytes of all bodies that are being read or handled."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one HTTP request; everything else is passed on."""
        if scope["type"] != "http" or not _has_body(scope):
            return await self._app(scope, receive, send)
        body = _Body(self, receive, send, self._limits, partial(self._most_bytes, scope))
        try:
            await body.expect(_length(scope))
            await self._app(scope, body.listen if scope["method"] in _MEANINGLESS else body.receive, body.send)
        except (KeysideError, BodyRefused) as error:
            known = error.error if isinstance(error, BodyRefused) else error
            await answer(known)(scope, body.receive, body.send)
        finally:
            body.release()

    def hold(self, size: int) -> None:
        """Counts bytes that have come. Raises `server_busy` where all bodies together are too much."""
        if self._held + size > self._limits.together:
            raise KeysideError("server_busy")
        self._held += size

    def release(self, size: int) -> None:
        """Counts bytes that are handled."""
        self._held -= size


class _Body:
    """The body of one request, as it comes in."""

    def __init__(
        self, bodies: Bodies, receive: Receive, send: Send, limits: BodyLimits, most_bytes: Callable[[], Awaitable[int]]
    ) -> None:
        self._most = limits.stranger
        self._most_bytes = most_bytes
        self._bodies = bodies
        self._receive = receive
        self._send = send
        self._limits = limits
        self._held = 0
        self._come = 0
        self._waited = 0.0
        self._whole = False
        self._is_answered = False
        self._is_listened_to = False

    async def expect(self, size: int | None) -> None:
        """The request says that its body has so many bytes, or so many have come. Raises `KeysideError`.

        Who sends it is looked at only where it is more than anybody may send.
        """
        if size is None or size <= self._most:
            return
        self._most = await self._most_bytes()
        if size > self._most:
            raise KeysideError("too_large", f"This is larger than the {self._most:,} bytes that the server takes here.")

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
        try:
            await self.expect(self._come)
            self._bodies.hold(size)
        except KeysideError as error:
            if not self._is_answered:
                raise BodyRefused(error) from None
        else:
            self._held += size

    async def _next(self) -> Message:
        loop = asyncio.get_running_loop()
        began = loop.time()
        left = self._limits.silence + self._come / self._limits.rate - self._waited
        try:
            async with asyncio.timeout(min(left, self._limits.silence)):
                return await self._receive()
        except TimeoutError:
            if self._is_answered:
                return await self._receive()
            raise BodyRefused(KeysideError("too_slow")) from None
        finally:
            self._waited += loop.time() - began

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
        self._bodies.release(self._held)
        self._held = 0


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _length(scope: Scope) -> int | None:
    """How long the request says that its body is; `None` where it does not."""
    said = Headers(scope=scope).get("content-length", "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 19 else None
