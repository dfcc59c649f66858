"""Answers every error of the native API in one shape: `{"error": {"code", "message", "retryable"}}`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from keyside.core.step import Refused
from keyside.protocol.commands import ErrorBody, ErrorDetail
from keyside.protocol.errors import ERRORS, KeysideError
from keyside.services.ports import Unavailable


class BodyRefused(HTTPException):
    """Raised to whoever reads the body of a request, where no more of it is taken. `error` says why."""

    def __init__(self, error: KeysideError) -> None:
        super().__init__(error.kind.status, str(error))
        self.error = error


RETRY_SECONDS = 5
"""The value of `Retry-After` in every answer with status 503."""
_MOST_OF_PATH = 200
"""How many characters of an unknown path are repeated."""


def answer(error: KeysideError, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response for an error. `status` replaces the HTTP status that the error table has for it."""
    failure = error.failure
    detail = ErrorDetail(code=failure.code, message=failure.message, retryable=failure.retryable)
    status = status or error.kind.status
    later = {"Retry-After": str(RETRY_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return JSONResponse(ErrorBody(error=detail).model_dump(), status, headers=later | dict(headers or {}))


def nothing_at(method: str, path: str) -> KeysideError:
    """The error for a path that is not served."""
    hint = " Leave out the slash at its end." if path.endswith("/") and path != "/" else ""
    return KeysideError("not_found", f"There is no {method} {path[:_MOST_OF_PATH]}.{hint}")


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses=` argument of a route: documents in OpenAPI the errors that it can answer with."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = ERRORS[code]
        row = by_status.setdefault(kind.status, {"model": ErrorBody, "description": ""})
        row["description"] = f"{row['description']} `{code}`: {kind.message}".strip()
    return by_status


EVERYWHERE = documented(
    "unauthorized", "too_slow", "too_large", "bad_host", "too_many_connections", "store_unavailable", "server_busy"
)
"""What may answer a request of any route: before the route sees it, or while the store is away."""


def handle_errors(app: FastAPI) -> None:
    """Makes the application answer every error in this shape. Tracebacks are written to the log only."""
    app.add_exception_handler(KeysideError, _keyside)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(BodyRefused, _body_refused)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _unforeseen)


async def _keyside(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KeysideError)
    return answer(error)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return answer(KeysideError(error.code))


async def _body_refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BodyRefused)
    return answer(error.error)


async def _unavailable(_request: Request, _error: Exception) -> JSONResponse:
    return answer(KeysideError("store_unavailable"))


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["loc"][:1] == ("path",):  # an id that cannot be one is the id of nothing
        return answer(KeysideError("not_found"))
    return answer(KeysideError("bad_request", sentence(first)))


async def _http(request: Request, error: Exception) -> JSONResponse:
    """Errors of the framework itself, such as an unknown path or method, or a malformed body."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        told = KeysideError("bad_request", f"{request.method} is not possible here.")
    elif status == HTTPStatus.NOT_FOUND:
        told = nothing_at(request.method, request.url.path)
    elif status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        told = KeysideError("too_large")
    else:
        told = KeysideError("internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_request")
    return answer(told, status=status, headers=error.headers)


async def _left(_request: Request, _error: Exception) -> Response:
    """The client has gone in the middle of its body: nobody reads this."""
    return Response(status_code=499)


async def _unforeseen(_request: Request, _error: Exception) -> JSONResponse:
    # Starlette raises the exception again after this, and the server logs it.
    return answer(KeysideError("internal"))


def sentence(error: Mapping[str, Any]) -> str:
    """Makes a sentence of one of pydantic's errors. It says which field is wrong and why."""
    place, *path = [str(part) for part in error["loc"]] or ["body"]
    message = str(error["msg"]).removeprefix("Value error, ")
    message = f"{message[:1].lower()}{message[1:]}"
    if not path:
        return f"The {place} is not as it should be: {message}."
    return f"'{'.'.join(path)}' in the {place} is not as it should be: {message}."
