"""The one door for JSON bodies: what could not be kept or sent on is refused here, with a sentence that says why."""

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from keyside.core.parts import has_more_parts
from keyside.protocol.errors import KeysideError

MAX_PARTS = 200_000
"""How many values a body may have. A body of 32 MiB could be 700 MB of empty lists."""

_LONG_NUMBER = re.compile(rb"[\s:\[,]-?\d{19}")
"""Digits that may be a number beyond 64 bits. The fast parser would make a float of it, and lose digits."""
_DEEP = 200
"""Brackets that a body may have before it is looked at whether they are nested deeper than JSON can be written."""


def value_of(body: bytes) -> Any:
    """The value of a JSON text, which can be written again as it is. Raises `bad_request` or `too_large`."""
    if has_more_parts(body, MAX_PARTS):
        raise KeysideError("too_large", f"The body has more than {MAX_PARTS} values.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise KeysideError("bad_request", f"The body is not valid JSON: {error.msg}, at {error.pos}.") from error
    if body.count(b"[") + body.count(b"{") > _DEEP:
        _refuse_what_is_deep(value)
    if _LONG_NUMBER.search(body):
        json.loads(body, parse_int=_refuse_what_is_long)
    return value


def _refuse_what_is_deep(value: Any) -> None:
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise KeysideError("bad_request", "The body is nested too deeply.") from error


def _refuse_what_is_long(digits: str) -> None:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise KeysideError("bad_request", "The body has a whole number of more than 64 bits.")


class JsonRoute(APIRoute):
    """A route whose body is read by `value_of`. Every router of the API has it as its `route_class`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute`."""
        handle = super().get_route_handler()

        async def handle_with_body(request: Request) -> Response:
            try:
                return await handle(_JsonRequest(request.scope, request.receive))
            except HTTPException as error:  # the framework's own sentence for whatever its request raises
                if isinstance(error.__cause__, KeysideError):
                    raise error.__cause__ from error
                raise

        return handle_with_body


class _JsonRequest(Request):
    async def json(self) -> Any:
        """See `Request`."""
        return value_of(await self.body())
