"""What both faces, socket and HTTP, show: chats, messages, runs, executors and models."""

from typing import Any, Literal

from pydantic import Field

from keyside.protocol.base import Id, Time, Timeout, Wire

Role = Literal["user", "assistant", "system"]
Status = Literal["sent", "streaming", "error", "aborted", "interrupted"]
RunState = Literal["queued", "offered", "streaming", "suspended", "done", "failed", "aborted", "interrupted"]
ExecutorKind = Literal["browser", "companion", "shared", "plain"]


class Failure(Wire):
    """What went wrong: a code of `errors.py`, a sentence for a person, and whether to try again."""

    code: str
    message: str
    retryable: bool = False


class ToolCall(Wire):
    """One tool call of an assistant message; `arguments` is the JSON text as the model wrote it."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Citation(Wire):
    """A source that the upstream named."""

    url: str
    title: str = ""


class Chat(Wire):
    """A conversation, without its messages."""

    id: int
    title: str
    head_id: str | None
    """The last message of the branch that is shown."""
    model: str | None
    """The model that was asked last, as `provider/id`."""
    running: bool = False
    """Whether a run of this chat has not ended yet."""
    created_at: Time
    updated_at: Time


class Message(Wire):
    """One turn, at its place in the chat's tree."""

    id: str
    chat_id: int
    parent_id: str | None
    role: Role
    content: str
    status: Status
    error: Failure | None = None
    reasoning: str = ""
    tool_calls: list[ToolCall] = []
    images: list[str] = []
    citations: list[Citation] = []
    provider: str | None = None
    model: str | None = None
    run_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    created_at: Time
    updated_at: Time


class RunExecutor(Wire):
    """Which executor a run was handed to."""

    id: str
    name: str
    kind: ExecutorKind


class Run(Wire):
    """One request for one assistant message, as it stands now."""

    id: str
    chat_id: int
    message_id: str
    state: RunState
    attempt: int
    model: str
    provider: str | None = None
    executor: RunExecutor | None = None
    error: Failure | None = None
    finish_reason: str | None = None
    created_at: Time
    started_at: Time | None = None
    ended_at: Time | None = None


class Model(Wire):
    """A model that a connection offers. `context_length` is in tokens; prices are US dollars per million tokens."""

    id: str = Field(min_length=1, max_length=300)
    name: str | None = Field(default=None, max_length=300)
    context_length: int | None = None
    input: float | None = None
    output: float | None = None


class Connection(Wire):
    """One provider account or local server inside an executor. Its key and its URL never leave the executor."""

    id: Id
    provider: str = Field(min_length=1, max_length=60)
    label: str = Field(default="", max_length=200)
    models: list[Model] = Field(default=[], max_length=5000)
    error: Failure | None = None
    first_line_timeout: Timeout | None = None
    """Seconds that its upstream may take to begin an answer, where it is another time than the server's (E8)."""
    idle_timeout: Timeout | None = None
    """Seconds that its upstream may be silent in mid-answer, where it is another time than the server's (E8)."""


class Executor(Wire):
    """Something connected that can run model calls, or a known one that is away (`online: false`)."""

    id: str
    name: str
    kind: ExecutorKind
    online: bool
    connections: list[Connection]
    max_runs: int
    running: int = 0
    last_active_at: Time


class ModelChoice(Wire):
    """A model that can be asked for, and through which executors."""

    id: str
    """`provider/model`: what a run names."""
    model: str
    provider: str
    name: str
    online: bool
    executors: list[str]
    """The ids of the executors that offer it."""


FormData = dict[str, Any]
"""An OpenAI chat-completion body: `model, messages, stream, ...` with provider options beside it."""
