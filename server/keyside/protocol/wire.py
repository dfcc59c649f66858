"""The socket's messages: one class each, one union per direction (docs/protocol.md)."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from keyside.protocol.base import Id, Name, Time, Wire
from keyside.protocol.entities import (
    Chat,
    Citation,
    Connection,
    Executor,
    Failure,
    FormData,
    Message,
    Run,
    ToolCall,
)

PROTOCOL = 1
"""The version of this wire; a client names it as `auth.client.protocol` (C3)."""

MAX_LINE = 1024 * 1024
MAX_FRAME = 2 * MAX_LINE
MAX_REQUEST = 4 * MAX_LINE
MAX_PACKET = 8 * MAX_LINE
MAX_FRAGMENT = 256 * 1024
"""Limits in bytes of UTF-8 (E10, E2, C4, E6)."""


class ClientInfo(Wire):
    """`auth.client`: who connects (C3)."""

    name: str = Field(default="", max_length=200)
    version: str = Field(default="", max_length=60)
    protocol: int = PROTOCOL


class ConnectAuth(Wire):
    """What a socket may send with its connection (C2, C3)."""

    token: str | None = Field(default=None, max_length=300)
    client: ClientInfo | None = None


# --- client to server ------------------------------------------------------------------------------


class Hold(Wire):
    """A run that an executor still has in hand."""

    run_id: Id
    attempt: int = Field(ge=1)


class ExecutorReady(Wire):
    """`executor:ready`: announces, updates and resumes an executor (E1)."""

    executor_id: Id
    secret: str = Field(min_length=16, max_length=200)
    instance: Id
    name: Name
    connections: list[Connection] = Field(default=[], max_length=100)
    max_runs: int = Field(default=8, ge=1, le=100)
    holds: list[Hold] = Field(default=[], max_length=1000)


class ChatOpen(Wire):
    """`chat:open`: follow a chat, from its snapshot or from the event after `after` (V1)."""

    chat_id: int
    after: int | None = Field(default=None, ge=0)


class ChatClose(Wire):
    """`chat:close`: stop following a chat."""

    chat_id: int


FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "aborted", "error", "truncated"]


class Finish(Wire):
    """How an attempt ended, in its last frame (E7)."""

    reason: FinishReason
    error: Failure | None = None


class Frame(Wire):
    """A few lines on the channel of an attempt (E5). `index` counts the run's lines from 0."""

    attempt: int = Field(ge=1)
    index: int = Field(ge=0)
    lines: list[str]
    done: bool = False
    finish: Finish | None = None


ClientMessage = ExecutorReady | ChatOpen | ChatClose | Frame

# --- acknowledgements of client messages -----------------------------------------------------------


class Ack(Wire):
    """The answer to a client event (C4)."""

    ok: Literal[True] = True


class Refusal(Wire):
    """The answer to a client event that was refused; nothing was changed (C4)."""

    ok: Literal[False] = False
    error: Failure
    expected: int | None = None
    """For frames: the index of the line that the server waits for."""


class Verdict(Wire):
    """What becomes of a run that an executor holds; it resends from `expected` (E1)."""

    run_id: str
    attempt: int
    verdict: Literal["continue", "drop"]
    expected: int | None = None


class ReadyAck(Ack):
    """The answer to `executor:ready`."""

    executor: Executor
    runs: list[Verdict]


class FrameAck(Ack):
    """All lines before `expected` are stored durably (E5)."""

    expected: int


class Snapshot(Wire):
    """A chat as it stands at `seq`: its branch's newest messages, and the runs that have not ended (V1)."""

    chat: Chat
    messages: list[Message]
    runs: list[Run]
    siblings: dict[str, list[str]]
    """For each message of `messages`: the ids that share its parent, itself included, oldest first."""
    earlier: bool
    """Whether the branch has older messages; they come by HTTP."""


class OpenAck(Ack):
    """The answer to `chat:open`: a snapshot, or the events after `after`."""

    snapshot: Snapshot | None = None
    events: "list[ChatEvent] | None" = None
    seq: int


# --- events of a chat ------------------------------------------------------------------------------


class _ChatEvent(Wire):
    chat_id: int
    seq: int
    at: Time


class MessageEvent(_ChatEvent):
    """A message was added or changed; it is shown as it is now."""

    kind: Literal["message"] = "message"
    message: Message


class RemovedEvent(_ChatEvent):
    """Messages were removed."""

    kind: Literal["removed"] = "removed"
    message_ids: list[str]


class RunEvent(_ChatEvent):
    """A run changed; it is shown as it is now."""

    kind: Literal["run"] = "run"
    run: Run


class DeltaEvent(_ChatEvent):
    """What a frame added to a running message; what it did not add is left out."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    kind: Literal["delta"] = "delta"
    run_id: str
    message_id: str
    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = []
    images: list[str] = []
    citations: list[Citation] = []


class ChatChangedEvent(_ChatEvent):
    """Title, model or head of the chat changed."""

    kind: Literal["chat"] = "chat"
    chat: Chat


ChatEvent = Annotated[
    MessageEvent | RemovedEvent | RunEvent | DeltaEvent | ChatChangedEvent, Field(discriminator="kind")
]

# --- server to client: everything is the event `events` with {type, data} (C6) ---------------------


class ModelRef(Wire):
    """The model to call: `id` as the upstream knows it, through that connection of the executor."""

    id: str
    provider: str | None = None
    connection_id: str | None = None


class CompletionRequest(Wire):
    """A model call handed to an executor (E2)."""

    run_id: str
    attempt: int
    channel: str
    session_id: str
    chat_id: int
    message_id: str
    model: ModelRef
    form_data: FormData
    first_line_timeout: float | None = None
    """Seconds that the upstream may take to begin; `None`: the executor has no limit of its own (E8)."""
    idle_timeout: float | None = None
    """Seconds that the upstream may be silent in mid-answer; any byte that it sends begins them anew (E8)."""


class AbortRequest(Wire):
    """A stop, told to the executor of a run (E9)."""

    run_id: str
    attempt: int
    channel: str


class Completion(Wire):
    """`request:chat:completion`: answered by an `Answer`."""

    type: Literal["request:chat:completion"] = "request:chat:completion"
    data: CompletionRequest


class Abort(Wire):
    """`request:chat:abort`: nothing is answered; the last frame says `aborted`."""

    type: Literal["request:chat:abort"] = "request:chat:abort"
    data: AbortRequest


class Answer(Wire):
    """A framed executor's callback to `request:chat:completion` (E3, C8)."""

    status: bool
    run_id: Id
    attempt: int
    error: Failure | None = None


class NoData(Wire):
    """An event that says all with its type."""


class Replaced(Wire):
    """A newer instance of this executor has connected; this one does not reconnect (E12)."""

    type: Literal["executor:replaced"] = "executor:replaced"
    data: NoData = NoData()


class ChatEventMessage(Wire):
    """One event of a chat that this socket has open (V2)."""

    type: Literal["chat:event"] = "chat:event"
    data: ChatEvent


class ChatsChanged(Wire):
    """The list of chats changed (V4)."""

    type: Literal["chats:changed"] = "chats:changed"
    data: NoData = NoData()


class ExecutorsChanged(Wire):
    """An executor came, went or offers other models (V4)."""

    type: Literal["executors:changed"] = "executors:changed"
    data: NoData = NoData()


class ChatRef(Wire):
    """Which chat."""

    chat_id: int


class ChatGone(Wire):
    """The chat was deleted (R9)."""

    type: Literal["chat:gone"] = "chat:gone"
    data: ChatRef


class ChatReopen(Wire):
    """This viewer could not keep up: open the chat again with `after` (V5)."""

    type: Literal["chat:reopen"] = "chat:reopen"
    data: ChatRef


class ChatsHeads(Wire):
    """The newest `seq` of every chat that this socket has open, by chat id (V6)."""

    type: Literal["chats:heads"] = "chats:heads"
    data: dict[str, int]


class StoreState(Wire):
    """Whether the server can store (D4)."""

    ok: bool


class Store(Wire):
    """The store went away or came back (D4)."""

    type: Literal["store"] = "store"
    data: StoreState


ServerMessage = Annotated[
    Completion
    | Abort
    | Replaced
    | ChatEventMessage
    | ChatsChanged
    | ExecutorsChanged
    | ChatGone
    | ChatReopen
    | ChatsHeads
    | Store,
    Field(discriminator="type"),
]

OpenAck.model_rebuild()
