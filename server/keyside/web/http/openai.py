"""The OpenAI face: a chat completion that is answered by the user's own executor."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field, ValidationError

from keyside.core.changes import Entry, Written
from keyside.core.run import ENDED, Run, State
from keyside.core.transcript import Delta, End, Noise, UpstreamError, read, transcribe
from keyside.protocol.base import Wire
from keyside.protocol.commands import NewRun, UserTurn
from keyside.protocol.errors import KeysideError
from keyside.services.accounts import Identity
from keyside.services.api_calls import ApiCalls
from keyside.services.catchup import Catchup
from keyside.services.chats import Chats
from keyside.web.auth import Authenticator
from keyside.web.http.errors import RETRY_SECONDS, sentence

MAX_WAIT = 3600
"""Seconds."""
_OURS = {"session_id", "executor_id", "chat_id", "provider"}


class ChatCompletion(Wire):
    """What is read of the body; all of it but our own fields goes to the executor."""

    model: str = Field(min_length=1, max_length=400)
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False
    session_id: str | None = None
    executor_id: str | None = None
    chat_id: int | None = None


def openai_router(authenticator: Authenticator, chats: Chats, api_calls: ApiCalls, catchup: Catchup) -> APIRouter:
    """`POST /api/chat/completions`."""
    router = APIRouter(tags=["openai"])
    Caller = Annotated[Identity, Depends(authenticator.current("api"))]  # noqa: N806

    @router.post("/api/chat/completions", response_model=None)
    async def completions(request: Request, who: Caller) -> Response:
        """An OpenAI chat completion. `session_id` names the socket that is to run it."""
        try:
            call = await _start(request, who, api_calls)
            return await _unless_gone(request, _answer(call, chats, catchup))
        except KeysideError as error:
            return _error(error)

    return router


class Call:
    """One call that was begun: its run, and what the body asked for."""

    def __init__(self, run: Run, asked: ChatCompletion) -> None:
        self.run = run
        self.asked = asked
        self.head = {"id": f"chatcmpl-{run.id}", "created": int(run.created_at), "model": asked.model}


async def _start(request: Request, who: Identity, api_calls: ApiCalls) -> Call:
    try:
        body = orjson.loads(await request.body())
        asked = ChatCompletion.model_validate(body)
    except orjson.JSONDecodeError as error:
        raise KeysideError("bad_request", "The body is not valid JSON.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise KeysideError("bad_request", sentence({**first, "loc": ("body", *first["loc"])})) from error
    new = NewRun(
        model=asked.model,
        message=UserTurn(content=_last_user_text(asked.messages) or "(no text)"),
        params={name: value for name, value in body.items() if name not in _OURS},
        session_id=asked.session_id,
        executor_id=asked.executor_id,
    )
    key = request.headers.get("idempotency-key")
    run = await api_calls.call(who.user_id, asked.chat_id, new, key=key, wait_seconds=_wait(request))
    return Call(run, asked)


def _wait(request: Request) -> float:
    """Seconds that the caller is ready to wait for a device, by the header `Keyside-Wait`."""
    said = request.headers.get("keyside-wait", "0")
    if not said.isdecimal() or int(said) > MAX_WAIT:
        raise KeysideError("bad_request", f"Keyside-Wait is a number of seconds from 0 to {MAX_WAIT}.")
    return int(said)


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    content = next((m.get("content") for m in reversed(messages) if m.get("role") == "user"), "")
    if isinstance(content, list):
        content = "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


async def _unless_gone(request: Request, answer: Coroutine[Any, Any, Response]) -> Response:
    """The answer, or nothing at all as soon as the caller has gone away: what is cancelled stops its run (R9)."""
    working = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return Response(status_code=499)
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _answer(call: Call, chats: Chats, catchup: Catchup) -> Response:
    """Waits for the first line, so that a call that fails before it gets its own status."""
    entries = _until_ended(catchup.follow_run(call.run, 0), call, chats)
    if not call.asked.stream:
        async with aclosing(entries):
            return await _whole(entries, call)
    try:
        early = await _until_first_line(entries)
    except BaseException:
        await entries.aclose()
        raise
    return StreamingResponse(_chunks(early, entries, call), media_type="text/event-stream")


async def _until_first_line(entries: AsyncGenerator[Entry, None]) -> list[Entry]:
    early = []
    async for entry in entries:
        early.append(entry)
        if _has_ended(entry):
            _raise_failed(entry.change)
        if isinstance(entry.change, Written) or _has_ended(entry):
            break
    return early


async def _until_ended(entries: AsyncGenerator[Entry, None], call: Call, chats: Chats) -> AsyncGenerator[Entry, None]:
    """The entries; when they are not read to the end, the run is stopped."""
    ended = False
    try:
        async for entry in entries:
            ended = _has_ended(entry)
            yield entry
    finally:
        if not ended:
            await asyncio.shield(chats.stop(call.run.user_id, call.run.id))


def _has_ended(entry: Entry) -> bool:
    return isinstance(entry.change, Run) and entry.change.state in ENDED


def _raise_failed(run: Any) -> None:
    if isinstance(run, Run) and run.state is not State.DONE:
        error = run.failure
        raise _Failed(error.code if error else "upstream_error", error.message if error else None)


class _Failed(KeysideError):
    """A run's own error, whose code may be one that only its executor knows."""

    def __init__(self, code: str, message: str | None) -> None:
        super().__init__("upstream_error", message)
        self.code = code


async def _whole(entries: AsyncGenerator[Entry, None], call: Call) -> Response:
    lines: list[str] = []
    async for entry in entries:
        if isinstance(entry.change, Written):
            lines += entry.change.lines
        if _has_ended(entry):
            _raise_failed(entry.change)
    draft = transcribe(lines)
    message: dict[str, Any] = {"role": "assistant", "content": draft.content}
    if draft.reasoning:
        message["reasoning_content"] = draft.reasoning
    if draft.tool_calls:
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in draft.tool_calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": draft.finish_reason or "stop"}
    body: dict[str, Any] = {**call.head, "object": "chat.completion", "choices": [choice]}
    if draft.usage:
        prompt, completion = draft.usage.prompt_tokens or 0, draft.usage.completion_tokens or 0
        body["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
    return JSONResponse(body)


async def _chunks(early: list[Entry], entries: AsyncGenerator[Entry, None], call: Call) -> AsyncGenerator[bytes]:
    """What the upstream sent, under one id; `[DONE]` only after the message is stored."""
    async with aclosing(_chained(early, entries)) as all_entries:
        async for entry in all_entries:
            if isinstance(entry.change, Written):
                for line in entry.change.lines:
                    chunk = _chunk(line, call)
                    if chunk is not None:
                        yield chunk
            if _has_ended(entry):
                yield _ending(entry.change)


async def _chained(early: list[Entry], entries: AsyncGenerator[Entry, None]) -> AsyncGenerator[Entry]:
    for entry in early:
        yield entry
    async with aclosing(entries):
        async for entry in entries:
            yield entry


def _chunk(line: str, call: Call) -> bytes | None:
    match read(line):
        case Delta():
            chunk = orjson.loads(line.removeprefix("data:"))
            chunk |= {**call.head, "object": "chat.completion.chunk"}
            return b"data: %s\n\n" % orjson.dumps(chunk)
        case End() | Noise() | UpstreamError():
            return None  # an error is told at the end, once the run has ended with it


def _ending(run: Any) -> bytes:
    if run.state is State.DONE:
        return b"data: [DONE]\n\n"
    said = run.failure
    error = _body(said.code if said else run.state.value, said.message if said else "The answer was stopped.")
    return b"data: %s\n\n" % orjson.dumps(error)


def _error(error: KeysideError) -> JSONResponse:
    headers = {"Retry-After": str(RETRY_SECONDS)} if error.kind.status == 503 else None
    return JSONResponse(_body(error.code, str(error)), error.kind.status, headers=headers)


def _body(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "keyside_error", "param": None, "code": code}}
