"""The OpenAI face: a chat completion that is answered by the user's own executor."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field, ValidationError
from starlette.types import Receive, Scope, Send

from keyside.core.reading import Delta
from keyside.core.run import Run, State
from keyside.core.transcript import Transcript
from keyside.protocol.base import Id, Ordinal, SocketId, Timeout, Wire
from keyside.protocol.commands import NewRun, UserTurn
from keyside.protocol.errors import ERRORS, KeysideError
from keyside.protocol.wire import MAX_REQUEST
from keyside.services.accounts import Identity
from keyside.services.api_calls import ApiCall, ApiCalls, Chunk, Ended
from keyside.web.auth import Authenticator
from keyside.web.http.disconnects import unless_gone
from keyside.web.http.errors import RETRY_SECONDS, documented, sentence
from keyside.web.http.json_body import JsonRoute, value_of

MAX_WAIT = 3600
"""Seconds."""
MAX_KEY = 300
"""Characters of an Idempotency-Key."""
_OURS = {"session_id", "executor_id", "chat_id", "first_line_timeout", "idle_timeout"}


class ChatCompletion(Wire):
    """What is read of the body; all of it but our own fields goes to the executor."""

    model: str = Field(min_length=1, max_length=400)
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False
    session_id: SocketId | None = None
    executor_id: Id | None = None
    chat_id: Ordinal | None = None
    first_line_timeout: Timeout | None = None
    idle_timeout: Timeout | None = None


class _Error(Wire):
    code: str
    message: str


class OpenAIError(Wire):
    """The body of an error, as far as it is the same in this face and in the native one."""

    error: _Error


def _documented() -> dict[int | str, dict[str, Any]]:
    """The `responses=` argument of the route: a run can end with any error of the table but a fault of the server."""
    answers = documented(*(code for code in ERRORS if code != "internal"))
    errors = {status: {**row, "model": OpenAIError} for status, row in answers.items()}
    return {HTTPStatus.OK.value: {"content": {"text/event-stream": {}}}, **errors}


def openai_router(authenticator: Authenticator, api_calls: ApiCalls) -> APIRouter:
    """`POST /api/chat/completions`."""
    router = APIRouter(tags=["openai"], route_class=JsonRoute)
    Caller = Annotated[Identity, Depends(authenticator.current("api"))]  # noqa: N806

    body = {"required": True, "content": {"application/json": {"schema": ChatCompletion.model_json_schema()}}}

    @router.post(
        "/api/chat/completions", response_model=None, responses=_documented(), openapi_extra={"requestBody": body}
    )
    async def completions(request: Request, who: Caller) -> Response:
        """An OpenAI chat completion. `session_id` names the socket that is to run it."""
        try:
            asked, new = _read(b"".join([part async for part in request.stream()]))
            if asked.chat_id is not None:
                who.require("chats")
            key, wait_seconds = _key(request), _wait(request)
            async with AsyncExitStack() as stack:
                opened = api_calls.open(who.user_id, asked.chat_id, new, key=key, wait_seconds=wait_seconds)
                call = await stack.enter_async_context(opened)
                answer = await unless_gone(request, _answer(call, asked, stack))
            return answer or Response(status_code=499)
        except KeysideError as error:
            return _error(error)

    return router


# --- what is asked for -------------------------------------------------------------------------------


def _read(content: bytes) -> tuple[ChatCompletion, NewRun]:
    """The body, checked before anything is begun. Raises `bad_request` or `too_large`."""
    try:
        body = value_of(content)
        asked = ChatCompletion.model_validate(body)
        params = {name: value for name, value in body.items() if name not in _OURS}
        provider = params.pop("provider") if isinstance(params.get("provider"), str) else None
        if len(orjson.dumps(params)) > MAX_REQUEST:
            raise KeysideError("too_large", "A request holds at most 4 MiB.")
        new = NewRun(
            model=asked.model,
            message=UserTurn(content=_last_user_text(asked.messages) or "(no text)"),
            provider=provider,  # an object of this name is OpenRouter's own, and passed on
            params=params,
            session_id=asked.session_id,
            executor_id=asked.executor_id,
            first_line_timeout=asked.first_line_timeout,
            idle_timeout=asked.idle_timeout,
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = [name for name in first["loc"] if name != "params"]  # here they are the body itself
        raise KeysideError("bad_request", sentence({**first, "loc": ("body", *place)})) from error
    return asked, new


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_KEY:
        raise KeysideError("bad_request", f"Idempotency-Key has 1 to {MAX_KEY} characters.")
    return key


def _wait(request: Request) -> float:
    """Seconds that the caller is ready to wait for a device, by the header `Keyside-Wait`."""
    said = request.headers.get("keyside-wait", "0")
    if not (said.isascii() and said.isdecimal() and len(said) <= 5 and int(said) <= MAX_WAIT):
        raise KeysideError("bad_request", f"Keyside-Wait is a number of seconds from 0 to {MAX_WAIT}.")
    return int(said)


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    content = next((m.get("content") for m in reversed(messages) if m.get("role") == "user"), "")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


# --- the answer --------------------------------------------------------------------------------------


async def _answer(call: ApiCall, asked: ChatCompletion, stack: AsyncExitStack) -> Response:
    """Waits for the first line, so that a call that fails before it gets its own status."""
    events = aiter(call)
    if not asked.stream:
        return await _whole(events, _head(call, asked))
    first = await anext(events, None)
    if isinstance(first, Ended):
        _raise_failed(first.run)
    # From here on the response keeps the call open.
    return _Streamed(_stream(first, events, _head(call, asked)), stack.pop_all())


def _head(call: ApiCall, asked: ChatCompletion) -> dict[str, Any]:
    return {"id": f"chatcmpl-{call.run.id}", "created": int(call.run.created_at), "model": asked.model}


async def _whole(events: AsyncIterator[Chunk | Ended], head: dict[str, Any]) -> Response:
    transcript = Transcript()
    async for event in events:
        if isinstance(event, Ended):
            _raise_failed(event.run)
        else:
            transcript.add(event.delta)
    return JSONResponse(_completion(transcript.draft, head))


def _completion(draft: Delta, head: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": draft.content}
    if draft.reasoning:
        message["reasoning_content"] = draft.reasoning
    if draft.tool_calls:
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in draft.tool_calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": draft.finish_reason or "stop"}
    body: dict[str, Any] = {**head, "object": "chat.completion", "choices": [choice]}
    if draft.usage:
        prompt, completion = draft.usage.prompt_tokens or 0, draft.usage.completion_tokens or 0
        body["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
    return body


class _Streamed(StreamingResponse):
    """Server-sent events. The call is open until they are sent, or their reader has gone."""

    def __init__(self, content: AsyncIterator[bytes], open_call: AsyncExitStack) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._open_call = open_call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._open_call:
            await super().__call__(scope, receive, send)


async def _stream(
    first: Chunk | Ended | None, events: AsyncIterator[Chunk | Ended], head: dict[str, Any]
) -> AsyncGenerator[bytes]:
    """What the upstream sent, under one id; `[DONE]` only after the message is stored."""
    if first is not None:
        yield _encoded(first, head)
        async for event in events:
            yield _encoded(event, head)


def _encoded(event: Chunk | Ended, head: dict[str, Any]) -> bytes:
    if isinstance(event, Chunk):
        chunk = {**event.body, **head, "object": "chat.completion.chunk"}
        return b"data: %s\n\n" % orjson.dumps(chunk)
    return _ending(event.run)


def _ending(run: Run) -> bytes:
    if run.state is State.DONE:
        return b"data: [DONE]\n\n"
    return b"data: %s\n\n" % orjson.dumps(_body(*_said_of(run)))


# --- errors ------------------------------------------------------------------------------------------


def _raise_failed(run: Run) -> None:
    if run.state is not State.DONE:
        raise _Failed(run)


def _said_of(run: Run) -> tuple[str, str]:
    """Code and sentence of how a run ended that is not done."""
    error = run.failure
    return (error.code, error.message) if error else (run.state.value, "The answer was stopped.")


class _Failed(KeysideError):
    """How a run ended. Its code may be one that only its executor knows, or none of the table where it was stopped."""

    def __init__(self, run: Run) -> None:
        code, message = _said_of(run)
        super().__init__(code if code in ERRORS else "upstream_error", message)
        self.code = code
        self.status = HTTPStatus.GONE if run.failure is None else self.kind.status


def _error(error: KeysideError) -> JSONResponse:
    status = error.status if isinstance(error, _Failed) else error.kind.status
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return JSONResponse(_body(error.code, str(error)), status, headers=headers)


def _body(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "keyside_error", "param": None, "code": code}}
