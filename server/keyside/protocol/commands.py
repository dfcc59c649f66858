"""The request and response bodies of the native HTTP API (docs/reference/http.md)."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field

from keyside.protocol.base import Id, SocketId, Time, Timeout, Wire
from keyside.protocol.entities import Chat, Executor, Message, ModelChoice, Role, Run, Status
from keyside.protocol.wire import MAX_REQUEST

MAX_CONTENT = 1024 * 1024
"""The most characters that one message may have."""


class NewChat(Wire):
    """`POST /api/chats`."""

    title: str = Field(default="", max_length=300)


class ChatPatch(Wire):
    """`PATCH /api/chats/{id}`. Omitted fields stay as they are."""

    title: str | None = Field(default=None, max_length=300)
    head_id: Id | None = None
    """The id of a message. The branch that contains it is shown from now on."""


class NewMessage(Wire):
    """`POST /api/chats/{id}/messages`: stores one message without starting a run."""

    id: Id | None = None
    role: Role
    content: str = Field(max_length=MAX_CONTENT)
    status: Status = "sent"
    parent_id: Id | None = None


class MessagePatch(Wire):
    """`PATCH /api/chats/{id}/messages/{mid}`: replaces the text of a message."""

    content: str = Field(max_length=MAX_CONTENT)


class UserTurn(Wire):
    """The user's message that a run answers. It may be as long as a whole request."""

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

    `reply` adds `message` below `parent_id` and asks for an answer to it. If `parent_id` is omitted, the parent is the
    chat's head; if it is null, the message has no parent. `regenerate` asks for another answer to the user's message
    `parent_id`. `continue` extends the assistant's message `parent_id`.
    """

    model: str = Field(min_length=1, max_length=400)
    provider: str | None = Field(default=None, max_length=60)
    message: UserTurn | None = None
    parent_id: Id | None = None
    mode: Literal["reply", "regenerate", "continue"] = "reply"
    params: Params = {}
    run_id: Id | None = None
    session_id: SocketId | None = None
    executor_id: Id | None = None
    prefer_executor_id: Id | None = None
    """The executor that is preferred if it can run the model. A repeated request may name another one (R6)."""
    first_line_timeout: Timeout | None = None
    """Seconds that the upstream may take to begin its answer, for this run only (E8)."""
    idle_timeout: Timeout | None = None
    """Seconds that the upstream may be silent during its answer, for this run only (E8)."""


class Started(Wire):
    """The answer to a new run (202): the run, the user's message and the assistant's message."""

    run: Run
    user_message: Message | None
    assistant_message: Message


class ChatPage(Wire):
    """A page of chats, newest first."""

    items: list[Chat]
    next_cursor: str | None


class MessagePage(Wire):
    """A page of messages, oldest first: of a long chat there are several, each with about 8 MiB of text."""

    items: list[Message]
    next_cursor: str | None


class MessageAt(Wire):
    """`GET /api/chats/{id}/messages/{mid}`: the whole message, as it stands after the event `seq` of its chat.

    If a run is writing it, its text so far is there, and only deltas with a greater number are to be added.
    """

    message: Message
    seq: int


class ExecutorPage(Wire):
    """All executors of the user."""

    items: list[Executor]
    next_cursor: str | None = None


class ModelPage(Wire):
    """All models of the user's executors. Those that can run now come first."""

    items: list[ModelChoice]
    next_cursor: str | None = None


class LinkCode(Wire):
    """`POST /api/auth/redeem` and `/api/auth/links/check`: the code of a one-time sign-in link."""

    code: str = Field(min_length=1, max_length=100)


class Account(Wire):
    """`GET /api/auth/me`: the account of the caller."""

    id: int
    name: str
    auth: Literal["local", "off"]


class LinkOwner(Wire):
    """The account that a sign-in link signs in to, and the one that this browser is signed in to now."""

    id: int
    name: str
    signed_in: Account | None


class Link(Wire):
    """A sign-in link. It is valid once, until `expires_at`."""

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
    scopes: list[Scope] = Field(default=["api"], min_length=1, max_length=50)


class Token(Wire):
    """An API token. The secret `token` is shown only once, in the answer that creates it."""

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
    """The body of every error of the native HTTP API."""

    error: "ErrorDetail"


class ErrorDetail(Wire):
    """An error: a code of `errors.py`, a sentence for people, and whether trying again can help."""

    code: str
    message: str
    retryable: bool


ErrorBody.model_rebuild()
