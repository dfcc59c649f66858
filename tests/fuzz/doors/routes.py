"""Requests to every route of the OpenAPI document, by schemathesis, and what their answers must be."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from random import Random
from typing import Any

import httpx
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.doors.target import CALLERS, Target
from tests.fuzz.doors.values import drawn, encoded, id_marks, mark, nearly, wild

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]

AT_ONCE = 8
SECONDS = 10
"""The most that an answer may take."""
STREAM_SECONDS = 0.5
"""How long an answer is read that may go on for ever."""
STREAMS = frozenset({"/api/runs/{run_id}/events", "/api/chat/completions"})
_IDS = {"chat_id": "chat", "message_id": "message", "run_id": "run"}
_OWNERS = {"/api/tokens/{id}": "token", "/api/auth/sessions/{id}": "sign_in", "/api/executors/{id}": "executor"}
"""What the parameters of paths are the ids of, by their names and, where those say too little, by their paths."""


@dataclass(frozen=True)
class Request:
    """One request. `body` is a value whose marks are replaced when it is sent; else schemathesis' own is sent."""

    case: Any
    caller: str
    path_ids: dict[str, Any]
    body: Any = None


def requests(document: dict[str, Any], each: int, seed: int) -> list[Request]:
    """For each operation: requests that fit its description, that do not, and with bodies of our own."""
    dice = Random(seed)
    schema = schemathesis.openapi.from_dict(document)
    definitions = document["components"]["schemas"]
    found: list[Request] = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        cases = list(_cases(operation, each, seed))
        for case in cases:
            found.append(Request(case, dice.choice(CALLERS), _path_ids(operation.path, case, dice)))
        for body in _bodies(document, operation, definitions, each, seed):
            case = dice.choice(cases)
            caller = dice.choice(("cookie", *CALLERS))
            found.append(Request(case, caller, _path_ids(operation.path, case, dice), {"json": body}))
        # Nobody's and everybody's plain requests, for the ids of others.
        for caller in CALLERS:
            of_others = {name: mark("other", _kind(operation.path, name)) for name in cases[0].path_parameters or {}}
            found.append(Request(cases[0], caller, of_others))
    dice.shuffle(found)
    return found


def _cases(operation: Any, each: int, seed: int) -> Iterator[Any]:
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        with suppress(Unsatisfiable):  # there may be nothing that such a route can be asked wrongly
            yield from drawn(operation.as_strategy(generation_mode=mode), each, seed)


def _bodies(document: Any, operation: Any, definitions: Any, each: int, seed: int) -> list[Any]:
    described = document["paths"][operation.path][operation.method].get("requestBody")
    if described is None:
        return []
    schema = described["content"]["application/json"]["schema"]
    return drawn(nearly(schema, definitions), each * 2, seed) + drawn(wild(), each // 2, seed)


def _kind(path: str, name: str) -> str:
    return _IDS.get(name) or _OWNERS.get(path, "nothing")


def _path_ids(path: str, case: Any, dice: Random) -> dict[str, Any]:
    """Most of the ids in a path are somebody's: schemathesis guesses ids that nobody has."""
    names = case.path_parameters or {}
    if dice.random() < 0.3:
        return {}
    return {name: dice.choice(id_marks(_kind(path, name))) for name in names}


class Routes:
    """Sends requests to a target and checks the answers."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def play(self, requests: list[Request]) -> None:
        """Sends all, a few at the same time."""
        waiting = iter(requests)
        async with self._target.server.http() as http:

            async def work() -> None:
                for request in waiting:
                    await self._send(http, request)

            await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    async def _send(self, http: httpx.AsyncClient, request: Request) -> None:
        case, target = request.case, self._target
        if request.path_ids:
            named = {name: str(json.loads(encoded(id, target.known))) for name, id in request.path_ids.items()}
            case.path_parameters = {**case.path_parameters, **named}
        http.cookies.clear()
        asked = _asked(case.as_transport_kwargs(base_url=target.server.url), request, target)
        what = f"{request.caller}: {asked['method']} {asked['url']} {asked.get('content') or asked.get('params')!r}"
        streams = case.operation.path in STREAMS
        try:
            answer = await _answer(http, asked, STREAM_SECONDS if streams else SECONDS)
        except (httpx.LocalProtocolError, UnicodeEncodeError):  # the client cannot say this
            return
        except TimeoutError:
            if not streams:
                target.blame("no answer", what)
            return
        except httpx.HTTPError as error:
            return target.blame("no whole answer", what, repr(error))
        if request.caller == "cookie" and answer.status_code == HTTPStatus.UNAUTHORIZED:
            await target.admit()  # it has signed itself out
        self._check(case, answer, what)

    def _check(self, case: Any, answer: httpx.Response, what: str) -> None:
        told = [answer.text, *(f"{name}: {value}" for name, value in answer.headers.items())]
        self._target.hear("\n".join(told), what)
        if answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
            self._target.blame("500", what)
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                self._target.blame(f"{answer.status_code} is not as documented", what, str(failure), answer.text)


def _asked(said: dict[str, Any], request: Request, target: Target) -> dict[str, Any]:
    """What httpx takes, of what schemathesis has made for requests."""
    method = request.case.method
    headers = {name: value for name, value in said["headers"].items() if name != "User-Agent"}
    asked = {"method": method, "url": said["url"], "params": said.get("params"), "headers": headers}
    body = request.body if request.body is not None else {"json": said["json"]} if "json" in said else None
    if body is not None:
        asked["content"] = encoded(body["json"], target.known)
        headers["Content-Type"] = "application/json"
    elif said.get("data") is not None:
        asked["content" if isinstance(said["data"], bytes | str) else "data"] = said["data"]
    headers.update(target.headers[request.caller])
    return asked


async def _answer(http: httpx.AsyncClient, asked: dict[str, Any], seconds: float) -> httpx.Response:
    """The answer, as far as it comes in time. Raises `TimeoutError` where not even its head does."""
    content = b""
    async with asyncio.timeout(SECONDS), AsyncExitStack() as stack:
        async with asyncio.timeout(seconds):
            answer = await stack.enter_async_context(http.stream(**asked))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for part in answer.aiter_raw():
                    content += part
    whole = httpx.Response(answer.status_code, headers=answer.headers, content=content, request=answer.request)
    whole.elapsed = timedelta()
    return whole
