"""JSON as Socket.IO wants it, written and read by orjson."""

import json
from typing import Any

import orjson

from keyside.core.parts import has_more_parts
from keyside.protocol.wire import MAX_PARTS

_SMALL = 64 * 1024
"""Bytes of a text whose values are not counted: even if it has no others, its objects take little memory."""


class TooManyParts(ValueError):
    """A text is not parsed, because it has more than `MAX_PARTS` values."""


class Json:
    """orjson in the shape of the standard module. Text that is not well formed is mended, not refused."""

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        """JSON text."""
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        """The value; lone surrogates become U+FFFD. Raises `ValueError` or `RecursionError`."""
        if len(text) > _SMALL and has_more_parts(text if isinstance(text, bytes) else text.encode(), MAX_PARTS):
            raise TooManyParts
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return _mended(json.loads(text))


def encoded(value: Any) -> bytes:
    """JSON as bytes, for what is sent as it is."""
    return orjson.dumps(value)


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(item) for name, item in value.items()}
    return value
