"""Makes the request that an executor is handed (E2): the OpenAI body, with the chat's messages."""

from collections.abc import Sequence
from typing import Any

import orjson

from keyside.core.limits import Limits
from keyside.core.run import Run
from keyside.protocol import wire
from keyside.protocol.entities import Message
from keyside.protocol.errors import KeysideError
from keyside.services.ports import ChatLog

_AROUND = len(orjson.dumps(["", {"data": {"form_data": {}}}])) - len("{}")
"""Bytes around the body, where it is measured at the depth at which it is sent."""


class RequestBody:
    """Builds requests from the log."""

    def __init__(self, chat_log: ChatLog, limits: Limits) -> None:
        self._log = chat_log
        self._limits = limits

    async def build(self, run: Run) -> dict[str, Any]:
        """The offer of the run's present attempt, as `Completion` on the wire. Raises `too_large` or `bad_request`."""
        assignment = run.assignment
        assert assignment is not None
        form = await self._form(run, assignment.model)
        model = wire.ModelRef(id=assignment.model, provider=assignment.provider, connection_id=assignment.connection_id)
        data = wire.CompletionRequest(
            run_id=run.id,
            attempt=run.attempt,
            channel=run.channel_name,
            session_id=assignment.session_id,
            chat_id=run.chat_id,
            message_id=run.message_id,
            model=model,
            form_data=form,
            first_line_timeout=assignment.first_line_timeout or self._limits.first_line,
            idle_timeout=assignment.idle_timeout or self._limits.idle,
        )
        return wire.Completion(data=data).model_dump()

    async def check(self, run: Run, user_message: Message | None) -> None:
        """Raises what `build` would raise for a run that is about to be stored, with the message that it answers.

        So what could never be sent is refused at once, and does not wait for an executor.
        """
        params = run.request.params
        said: list[Message] = []
        if "messages" in params:
            pass
        elif run.prefix is not None:
            said = await self._before(run, run.message_id)
        else:
            assert user_message is not None
            if user_message.parent_id is not None:
                said = await self._before(run, user_message.parent_id)
            said.append(user_message)
        _sendable(_form_of(run, run.request.model, said))

    async def _form(self, run: Run, model: str) -> dict[str, Any]:
        """The body, with what was said before, root first; a message that is continued comes last."""
        said: list[Message] = []
        if "messages" not in run.request.params:
            said = await self._before(run, run.message_id)
            said[-1:] = [run.prefix] if run.prefix else []
        return _sendable(_form_of(run, model, said))

    async def _before(self, run: Run, leaf_id: str) -> list[Message]:
        """The messages down to `leaf_id`, read in pieces. Raises `too_large` where they are more than can be sent."""
        found: list[Message] = []
        room, cursor = wire.MAX_REQUEST, None
        while True:
            piece = await self._log.branch(run.user_id, run.chat_id, leaf_id, cursor=cursor, most=wire.MAX_REQUEST)
            room -= sum(len(message.content) for message in piece.messages)
            if room < 0:
                raise _too_long()
            found += piece.messages
            cursor = piece.next_cursor
            if cursor is None:
                return found


def _form_of(run: Run, model: str, said: Sequence[Message]) -> dict[str, Any]:
    form = {"stream": True, **run.request.params, "model": model}
    if "messages" not in form:
        form["messages"] = [{"role": message.role, "content": message.content} for message in said if message.content]
    return form


def _sendable(form: dict[str, Any]) -> dict[str, Any]:
    """The same, if it is written as JSON in an offer, and is not too long. Raises `bad_request` or `too_large`."""
    try:
        size = len(orjson.dumps(["", {"data": {"form_data": form}}]))
    except TypeError as error:
        raise KeysideError(
            "bad_request", "The request is nested too deeply, or has a number of more than 64 bits."
        ) from error
    if size - _AROUND > wire.MAX_REQUEST:
        raise _too_long()
    return form


def _too_long() -> KeysideError:
    return KeysideError("too_large", "This chat is longer than the 4 MiB that one request can hold.")
