"""The messages of the socket: one class for each, and one union for each direction (docs/protocol.md)."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from keyside.protocol.base import Count, Id, Name, Ordinal, Time, Wire
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
"""The version of the protocol. A client sends its own as `auth.client.protocol` (C3)."""

MAX_LINE = 1024 * 1024
MAX_FRAME = 2 * MAX_LINE
MAX_REQUEST = 4 * MAX_LINE
MAX_PACKET = 8 * MAX_LINE
MAX_FRAGMENT = 256 * 1024
"""Size limits of a line, a frame (E10), a request (E2), a packet (C4) and a fragment (E6), in bytes of UTF-8."""
MAX_ANNOUNCEMENT = MAX_LINE
MAX_MODELS = 5000
"""The size limit of an announcement, in bytes of JSON, and how many models all its connections may have (E1)."""
MAX_LINES = 100_000
"""How many lines a frame may have (E10)."""
MAX_PARTS = 120_000
"""How many values the JSON of a packet may have (C4)."""

MOST_ANSWER = 1024 * 1024
"""The most bytes that the acknowledgement of `chat:open` may have as JSON (V1)."""


class ClientInfo(Wire):
    """`auth.client`: the program that connects (C3)."""

    name: str = Field(default="", max_length=200)
    version: str = Field(default="", max_length=60)
    protocol: Count = PROTOCOL


class ConnectAuth(Wire):
    """`auth`: what a client may send when it connects (C2, C3)."""

    token: str | None = Field(default=None, max_length=300)
    user_id: Ordinal | None = None
    client: ClientInfo | None = None


# --- client to server ------------------------------------------------------------------------------


class Hold(Wire):
    """An attempt at a run that an executor still holds."""

    run_id: Id
    attempt: Ordinal


class ExecutorReady(Wire):
    """`executor:ready`: announces an executor, updates what it offers, and resumes the runs that it holds (E1)."""

    executor_id: Id
    secret: str = Field(min_length=16, max_length=200)
    instance: Id
    name: Name
    connections: list[Connection] = Field(default=[], max_length=100)
    max_runs: int = Field(default=8, ge=1, le=100)
    holds: list[Hold] = Field(default=[], max_length=2000)


class ChatOpen(Wire):
    """`chat:open`: starts to follow a chat, with a snapshot or with the events after `after` (V1)."""

    chat_id: Ordinal
    after: Count | None = None


class ChatClose(Wire):
    """`chat:close`: stops following a chat."""

    chat_id: Ordinal


FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "aborted", "error", "truncated"]


class Finish(Wire):
    """How an attempt ended; part of its last frame (E7)."""

    reason: FinishReason
    error: Failure | None = None


class Frame(Wire):
    """Lines of an answer, sent on the channel of an attempt (E5). `index` is the first line's number, from 0."""

    attempt: Annotated[Ordinal, Field(strict=True)]
    index: Annotated[Count, Field(strict=True)]
    lines: list[str] = Field(max_length=MAX_LINES)
    done: bool = False
    finish: Finish | None = None


ClientMessage = ExecutorReady | ChatOpen | ChatClose | Frame

# --- acknowledgements of client messages -----------------------------------------------------------


class Ack(Wire):
    """The acknowledgement of a client's event (C4)."""

    ok: Literal[True] = True


class Refusal(Wire):
    """The acknowledgement of a client's event that was refused and has changed nothing (C4)."""

    ok: Literal[False] = False
    error: Failure
    expected: int | None = None
    """For frames: the index of the line that the server expects next."""


class Verdict(Wire):
    """Whether an executor continues or drops a run that it holds. It resends lines from `expected` on (E1)."""

    run_id: str
    attempt: int
    verdict: Literal["continue", "drop"]
    expected: int | None = None


class ReadyAck(Ack):
    """The acknowledgement of `executor:ready`."""

    executor: Executor
    runs: list[Verdict]


class FrameAck(Ack):
    """The acknowledgement of a frame: all lines before `expected` are stored durably (E5)."""

    expected: int


class Snapshot(Wire):
    """A chat as of one event: the newest messages of the shown branch, and the runs that have not ended (V1).

    Only the last message may be `partial`.
    """

    chat: Chat
    messages: list[Message]
    runs: list[Run]
    siblings: dict[str, list[str]]
    """For each message of `messages`: the ids of the messages with the same parent, itself included, oldest first.

    Of very many these are the 100 before it and the 100 after it.
    """
    earlier: bool
    """Whether the branch has older messages. They can be read by HTTP."""


class OpenAck(Ack):
    """The acknowledgement of `chat:open`: a snapshot, or the events after `after`."""

    snapshot: Snapshot | None = None
    events: "list[ChatEvent] | None" = None
    seq: int


# --- events of a chat ------------------------------------------------------------------------------


class _ChatEvent(Wire):
    chat_id: int
    seq: int
    at: Time


class MessageEvent(_ChatEvent):
    """A message was added or changed. The event contains its new state."""

    kind: Literal["message"] = "message"
    message: Message


class RemovedEvent(_ChatEvent):
    """Messages were removed."""

    kind: Literal["removed"] = "removed"
    message_ids: list[str]


class RunEvent(_ChatEvent):
    """A run was added or changed. The event contains its new state."""

    kind: Literal["run"] = "run"
    run: Run


class DeltaEvent(_ChatEvent):
    """What a frame added to a message that is being written. Parts that it did not add to are omitted."""

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
    """The title, the model or the head of the chat changed."""

    kind: Literal["chat"] = "chat"
    chat: Chat


ChatEvent = Annotated[
    MessageEvent | RemovedEvent | RunEvent | DeltaEvent | ChatChangedEvent, Field(discriminator="kind")
]

# --- server to client: everything is the event `events` with {type, data} (C6) ---------------------


class ModelRef(Wire):
    """The model to call. `id` is the upstream's name for it; `connection_id` is the executor's connection to use."""

    id: str
    provider: str | None = None
    connection_id: str | None = None


class CompletionRequest(Wire):
    """A model call that is offered to an executor (E2)."""

    run_id: str
    attempt: int
    channel: str
    session_id: str
    chat_id: int
    message_id: str
    model: ModelRef
    form_data: FormData
    first_line_timeout: float | None = None
    """Seconds that the upstream may take to begin its answer. If null, the executor sets no limit (E8)."""
    idle_timeout: float | None = None
    """Seconds that the upstream may be silent during its answer. Every byte that it sends restarts them (E8)."""


class AbortRequest(Wire):
    """The attempt at a run that its executor must stop (E9)."""

    run_id: str
    attempt: int
    channel: str


class Completion(Wire):
    """`request:chat:completion`: offers a model call. The callback is an `Answer`."""

    type: Literal["request:chat:completion"] = "request:chat:completion"
    data: CompletionRequest


class Abort(Wire):
    """`request:chat:abort`: stops a model call. It has no callback; the attempt's last frame says `aborted`."""

    type: Literal["request:chat:abort"] = "request:chat:abort"
    data: AbortRequest


class Answer(Wire):
    """A framed executor's callback to `request:chat:completion` (E3, C8)."""

    status: bool
    run_id: Id
    attempt: Ordinal
    error: Failure | None = None


class NoData(Wire):
    """The data of an event whose type says everything."""


class Replaced(Wire):
    """A newer instance of this executor has connected. This one must not reconnect (E12)."""

    type: Literal["executor:replaced"] = "executor:replaced"
    data: NoData = NoData()


class ChatEventMessage(Wire):
    """An event of a chat that this socket follows (V2)."""

    type: Literal["chat:event"] = "chat:event"
    data: ChatEvent


class ChatsChanged(Wire):
    """The list of chats changed (V4)."""

    type: Literal["chats:changed"] = "chats:changed"
    data: NoData = NoData()


class ExecutorsChanged(Wire):
    """An executor connected, disconnected, or offers other models (V4)."""

    type: Literal["executors:changed"] = "executors:changed"
    data: NoData = NoData()


class ChatRef(Wire):
    """The chat that an event is about."""

    chat_id: int


class ChatGone(Wire):
    """The chat was deleted (R9)."""

    type: Literal["chat:gone"] = "chat:gone"
    data: ChatRef


class ChatReopen(Wire):
    """This viewer was too slow and has missed events. It must open the chat again with `after` (V5)."""

    type: Literal["chat:reopen"] = "chat:reopen"
    data: ChatRef


class ChatsHeads(Wire):
    """The newest `seq` of every chat that this socket follows, by chat id (V6)."""

    type: Literal["chats:heads"] = "chats:heads"
    data: dict[str, int]


class StoreState(Wire):
    """Whether the server can write to its store (D4)."""

    ok: bool


class Store(Wire):
    """The server's store became unavailable or is available again (D4)."""

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
