"""Makes the request that an executor is handed (E2): the OpenAI body, with the chat's messages."""

from collections.abc import AsyncIterator
from typing import Any

import orjson

from keyside.core.limits import Limits
from keyside.core.run import Run
from keyside.protocol import wire
from keyside.protocol.entities import Message
from keyside.protocol.errors import KeysideError
from keyside.services.ports import ChatLog


class RequestBody:
    """Builds requests from the log."""

    def __init__(self, chat_log: ChatLog, limits: Limits) -> None:
        self._log = chat_log
        self._limits = limits

    async def build(self, run: Run) -> dict[str, Any]:
        """The offer of the run's present attempt, as `Completion` on the wire. Raises `too_large`."""
        assignment = run.assignment
        assert assignment is not None
        form = {"stream": True, **run.request.params, "model": assignment.model}
        if "messages" not in form:
            form["messages"] = await self._history(run)
        if len(orjson.dumps(form)) > wire.MAX_REQUEST:
            raise _too_long()
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

    async def _history(self, run: Run) -> list[dict[str, Any]]:
        """What was said before, root first; a message that is continued comes last."""
        turns: list[dict[str, Any]] = []
        room = wire.MAX_REQUEST
        async for message in self._branch(run):
            said = run.prefix if message.id == run.message_id else message
            if said is None or not said.content:
                continue
            room -= len(said.content)
            if room < 0:
                raise _too_long()
            turns.append({"role": said.role, "content": said.content})
        return turns

    async def _branch(self, run: Run) -> AsyncIterator[Message]:
        """The messages down to the run's own, read in pieces that are no larger than a request."""
        cursor = None
        while True:
            piece = await self._log.branch(
                run.user_id, run.chat_id, run.message_id, cursor=cursor, most=wire.MAX_REQUEST
            )
            for message in piece.messages:
                yield message
            cursor = piece.next_cursor
            if cursor is None:
                return


def _too_long() -> KeysideError:
    return KeysideError("too_large", "This chat is longer than the 4 MiB that one request can hold.")
