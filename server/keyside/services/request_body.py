"""Makes the request that an executor is handed (E2): the OpenAI body, with the chat's messages."""

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
            raise KeysideError("too_large", "This chat is longer than the 4 MiB that one request can hold.")
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
        path = list(await self._log.branch(run.user_id, run.chat_id, run.message_id))
        path[-1:] = [run.prefix] if run.prefix else []
        return [_turn(message) for message in path if message.content]


def _turn(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content}
