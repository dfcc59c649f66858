"""The bodies of the native HTTP face: what is asked for, and what is answered (docs/reference/http.md)."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field

from keyside.protocol.base import Id, Time, Timeout, Wire
from keyside.protocol.entities import Chat, Executor, Message, ModelChoice, Role, Run, Status
from keyside.protocol.wire import MAX_REQUEST

MAX_CONTENT = 1024 * 1024
"""Characters of one message."""


class NewChat(Wire):
    """`POST /api/chats`."""

    title: str = Field(default="", max_length=300)


class ChatPatch(Wire):
    """`PATCH /api/chats/{id}`: what is left out stays."""

    title: str | None = Field(default=None, max_length=300)
    head_id: Id | None = None
    """Shows another branch: the message that is to be its last."""


class NewMessage(Wire):
    """`POST /api/chats/{id}/messages`: stores one message and runs nothing."""

    id: Id | None = None
    role: Role
    content: str = Field(max_length=MAX_CONTENT)
    status: Status = "sent"
    parent_id: Id | None = None


class MessagePatch(Wire):
    """`PATCH /api/chats/{id}/messages/{mid}`: a correction in place."""

    content: str = Field(max_length=MAX_CONTENT)


class UserTurn(Wire):
    """The user's message of a run: at most as long as the request that it becomes a part of."""

    id: Id | None = None
    content: str = Field(min_length=1, max_length=MAX_REQUEST)


def _writable(params: dict[str, Any]) -> dict[str, Any]:
    """Refuses what could be read as JSON and not be written again, and what is larger than a request."""
    try:
        size = len(orjson.dumps(params))
    except TypeError as error:
        raise ValueError("nested too deeply, or a text that is not well formed, or a number out of range") from error
    if size > MAX_REQUEST:
        raise ValueError("larger than the 4 MiB that one request can hold")
    return params


Params = Annotated[dict[str, Any], AfterValidator(_writable)]
"""Options of the OpenAI body, passed on as they are."""


class NewRun(Wire):
    """`POST /api/chats/{id}/runs`.

    `reply` adds `message` below `parent_id` (left out: the head; null: at the root) and asks for its answer.
    `regenerate` asks for another answer to the user's message `parent_id`. `continue` goes on with the assistant's
    message `parent_id`.
    """

    model: str = Field(min_length=1, max_length=400)
    provider: str | None = Field(default=None, max_length=60)
    message: UserTurn | None = None
    parent_id: Id | None = None
    mode: Literal["reply", "regenerate", "continue"] = "reply"
    params: Params = {}
    run_id: Id | None = None
    session_id: str | None = Field(default=None, max_length=100)
    executor_id: Id | None = None
    prefer_executor_id: Id | None = None
    """A hint. The same run asked for again with another hint is the same run (R6)."""
    first_line_timeout: Timeout | None = None
    """Seconds that the upstream may take to begin, for this run alone (E8)."""
    idle_timeout: Timeout | None = None
    """Seconds that the upstream may be silent in mid-answer, for this run alone (E8)."""


class Started(Wire):
    """202: the run and the messages that it belongs to."""

    run: Run
    user_message: Message | None
    assistant_message: Message


class ChatPage(Wire):
    """A page of chats, newest first."""

    items: list[Chat]
    next_cursor: str | None


class MessagePage(Wire):
    """A page of messages, oldest first."""

    items: list[Message]
    next_cursor: str | None


class ExecutorPage(Wire):
    """All executors of the user."""

    items: list[Executor]
    next_cursor: str | None = None


class ModelPage(Wire):
    """All models of the user's executors, those that can run now first."""

    items: list[ModelChoice]
    next_cursor: str | None = None


class Redeem(Wire):
    """`POST /api/auth/redeem`: the code of a one-time sign-in link."""

    code: str = Field(min_length=1, max_length=100)


class Account(Wire):
    """`GET /api/auth/me`."""

    id: int
    name: str
    auth: Literal["local", "off"]


class Link(Wire):
    """A one-time sign-in link, valid once, until `expires_at`."""

    url: str
    expires_at: Time


class SignIn(Wire):
    """A browser that is signed in."""

    id: str
    agent: str
    current: bool
    created_at: Time


class SignInPage(Wire):
    """All browsers that are signed in."""

    items: list[SignIn]
    next_cursor: str | None = None


Scope = Literal["api", "chats", "executor", "executor:shared"]


class NewToken(Wire):
    """`POST /api/tokens`."""

    name: str = Field(min_length=1, max_length=100)
    scopes: list[Scope] = Field(default=["api"], min_length=1)


class Token(Wire):
    """An API token; `token` itself is shown once, when it is made."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: Time
    token: str | None = None


class TokenPage(Wire):
    """All tokens of the user."""

    items: list[Token]
    next_cursor: str | None = None


class ErrorBody(Wire):
    """Every error of the native face."""

    error: "ErrorDetail"


class ErrorDetail(Wire):
    """See `errors.py`."""

    code: str
    message: str
    retryable: bool


ErrorBody.model_rebuild()
