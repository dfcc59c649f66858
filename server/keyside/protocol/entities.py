"""The entities that both the socket and the HTTP API show: chats, messages, runs, executors and models."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from keyside.protocol.base import Count, Id, Number, Time, Timeout, Wire

Role = Literal["user", "assistant", "system"]
Status = Literal["sent", "streaming", "error", "aborted", "interrupted"]
RunState = Literal["queued", "offered", "streaming", "suspended", "done", "failed", "aborted", "interrupted"]
ExecutorKind = Literal["browser", "companion", "shared", "plain"]


MAX_SENTENCE = 2000
MAX_CODE = 100
"""How many characters of an error's message and code are kept."""

MAX_CONNECTION_MODELS = 20_000
"""The most models that one connection can name. An announcement may have fewer (E1)."""


class Failure(Wire):
    """An error: a code of `errors.py`, a sentence for people, and whether trying again can help.

    What is too long is cut and not refused: the error of an executor ends its run, however long it is.
    """

    code: Annotated[str, AfterValidator(lambda text: text[:MAX_CODE])]
    message: Annotated[str, AfterValidator(lambda text: text[:MAX_SENTENCE])]
    retryable: bool = False


class ToolCall(Wire):
    """A tool call in an assistant's message. `arguments` is JSON text as the model wrote it."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Citation(Wire):
    """A source that the upstream cited."""

    url: str
    title: str = ""


class Chat(Wire):
    """A conversation, without its messages."""

    id: int
    title: str
    head_id: str | None
    """The id of the last message of the branch that is shown."""
    model: str | None
    """The model of the last run, as it was requested, such as `provider/id`."""
    running: bool = False
    """Whether a run of this chat has not ended yet."""
    created_at: Time
    updated_at: Time


class Message(Wire):
    """A message in the chat's tree of messages."""

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
    partial: bool = False
    """Whether the beginning of its texts, or a list, is missing here, since a snapshot has no room for it (V1)."""
    provider: str | None = None
    model: str | None = None
    run_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    created_at: Time
    updated_at: Time


class RunExecutor(Wire):
    """The executor that a run was assigned to."""

    id: str
    name: str
    kind: ExecutorKind


class Run(Wire):
    """A request for one assistant's message, in its present state."""

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
    """A model of a connection. `context_length` is in tokens; `input` and `output` are dollars per million of them."""

    id: str = Field(min_length=1, max_length=300)
    name: str | None = Field(default=None, max_length=300)
    context_length: Count | None = None
    input: Number | None = None
    output: Number | None = None


class Connection(Wire):
    """A provider account or a local server that an executor uses. Its key and its URL never leave the executor."""

    id: Id
    provider: str = Field(min_length=1, max_length=60)
    label: str = Field(default="", max_length=200)
    models: list[Model] = Field(default=[], max_length=MAX_CONNECTION_MODELS)
    error: Failure | None = None
    first_line_timeout: Timeout | None = None
    """Seconds that its upstream may take to begin an answer, if not as long as the server's setting says (E8)."""
    idle_timeout: Timeout | None = None
    """Seconds that its upstream may be silent during an answer, if not as long as the server's setting says (E8)."""


class Executor(Wire):
    """A device or program that runs model calls. `online` is false while it is not connected."""

    id: str
    name: str
    kind: ExecutorKind
    online: bool
    connections: list[Connection]
    max_runs: int
    running: int = 0
    last_active_at: Time


class ModelChoice(Wire):
    """A model that a run can request, and the executors that offer it."""

    id: str
    """`provider/model`, the name to request it by."""
    model: str
    provider: str
    name: str
    online: bool
    executors: list[str]
    """The ids of the executors that offer it."""


FormData = dict[str, Any]
"""The body of an OpenAI chat completion: `model`, `messages`, `stream` and other fields, also those of a provider."""
