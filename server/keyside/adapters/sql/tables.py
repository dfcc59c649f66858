"""The tables, as SQLModel rows. Times are seconds since the epoch. JSON is stored as text."""

from sqlalchemy import Index, Table, text
from sqlmodel import Field, SQLModel


class UserRow(SQLModel, table=True):
    """An account."""

    __tablename__ = "user"
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    created_at: float


class ChatRow(SQLModel, table=True):
    """A chat. `seq` is the number of its newest event that is not a delta.

    Events with a number above `floor` can be read; older ones may be missing.
    """

    __tablename__ = "chat"
    __table_args__ = (
        Index("chat_list", "user_id", "hidden", "updated_at", "id"),
        Index("chat_hidden", "updated_at", sqlite_where=text("hidden = 1")),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True)
    user_id: int = Field(foreign_key="user.id")
    title: str
    head_id: str | None = None
    model: str | None = None
    hidden: bool = False
    seq: int = 0
    floor: int = 0
    created_at: float
    updated_at: float


class MessageRow(SQLModel, table=True):
    """A message. `n` numbers the messages in the order of their creation; `extra` is JSON of rarely set fields."""

    __tablename__ = "message"
    __table_args__ = (
        Index("message_id", "user_id", "id", unique=True),
        Index("message_chat", "chat_id", "n"),
        Index("message_parent", "chat_id", "parent_id"),
    )
    n: int | None = Field(default=None, primary_key=True)
    user_id: int = Field(foreign_key="user.id")
    id: str
    chat_id: int = Field(foreign_key="chat.id")
    parent_id: str | None = None
    role: str
    content: str
    reasoning: str = ""
    status: str
    run_id: str | None = None
    provider: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    extra: str = "{}"
    created_at: str
    updated_at: str


class RunRow(SQLModel, table=True):
    """A run; `body` is what `stored_run` writes, of which the columns repeat what is searched for."""

    __tablename__ = "run"
    __table_args__ = (
        Index("run_id", "user_id", "id", unique=True),
        Index("run_chat", "chat_id"),
        Index("run_message", "user_id", "message_id"),
        Index("run_open", "chat_id", sqlite_where=text("open = 1")),
        Index("run_state", "state", sqlite_where=text("open = 1")),
        Index("run_user_state", "user_id", "state", sqlite_where=text("open = 1")),
        Index("run_held", "held", sqlite_where=text("held = 1")),
        Index("run_deadline", "deadline", sqlite_where=text("deadline IS NOT NULL")),
        Index("run_executor", "executor", sqlite_where=text("executor IS NOT NULL")),
        Index("run_channel", "channel", sqlite_where=text("channel IS NOT NULL")),
    )
    n: int | None = Field(default=None, primary_key=True)
    user_id: int = Field(foreign_key="user.id")
    id: str
    chat_id: int = Field(foreign_key="chat.id")
    message_id: str
    state: str
    open: bool
    """Whether the run can still change. An interrupted run can come back until it is closed (R4)."""
    version: int
    body: str
    held: bool = Field(default=False, sa_column_kwargs={"server_default": text("0")})
    """Whether it is lost with the process: an executor has it in hand, or a caller waits for it (R8)."""
    deadline: float | None = None
    """When it has waited long enough: of queued runs, and of interrupted ones that can come back."""
    executor: str | None = None
    """The key of its last assignment, until it has ended for good."""
    channel: str | None = None


class RemovedRunRow(SQLModel, table=True):
    """The id of a run that was removed with its message or chat. It stays taken for `ID_SECONDS` (R6)."""

    __tablename__ = "removed_run"
    __table_args__ = (Index("removed_run_created_at", "created_at"), {"sqlite_with_rowid": False})
    user_id: int = Field(foreign_key="user.id", primary_key=True)
    id: str = Field(primary_key=True)
    created_at: float
    """When the run was asked for."""
    unanswered: bool
    """As in `Run`."""


class EventRow(SQLModel, table=True):
    """An event that is not a delta. It only refers to what changed, whose present state is in its own table."""

    __tablename__ = "event"
    __table_args__ = ({"sqlite_with_rowid": False},)
    chat_id: int = Field(foreign_key="chat.id", primary_key=True)
    seq: int = Field(primary_key=True)
    at: float
    kind: str
    ref: str
    """The id of the message or run; for `removed`, a JSON list of message ids; for `chat`, empty."""


class JournalRow(SQLModel, table=True):
    """All lines of one commit, of one or more runs. Rows are compressed, appended, and never updated (D3)."""

    __tablename__ = "journal"
    id: int | None = Field(default=None, primary_key=True)
    body: bytes


class LinesRow(SQLModel, table=True):
    """All lines of a run that has ended, or the first ones of a running one, and the events in which they came."""

    __tablename__ = "lines"
    __table_args__ = (Index("lines_chat", "chat_id", "last_seq"),)
    run_n: int = Field(foreign_key="run.n", primary_key=True)
    chat_id: int = Field(foreign_key="chat.id")
    last_seq: int
    body: bytes


class ExecutorRow(SQLModel, table=True):
    """A framed executor that has announced itself at least once."""

    __tablename__ = "executor"
    user_id: int = Field(foreign_key="user.id", primary_key=True)
    executor_id: str = Field(primary_key=True)
    secret_hash: str
    name: str
    kind: str
    connections: str
    max_runs: int
    last_active_at: float


class LinkRow(SQLModel, table=True):
    """A one-time sign-in link. Only the hash of its code is stored."""

    __tablename__ = "link"
    code_hash: str = Field(primary_key=True)
    user_id: int = Field(foreign_key="user.id")
    expires_at: float
    used_at: float | None = None


class SignInRow(SQLModel, table=True):
    """A browser that is signed in. `hash` is that of the value in its cookie, which is not stored itself."""

    __tablename__ = "signin"
    id: str = Field(primary_key=True)
    hash: str = Field(unique=True)
    user_id: int = Field(foreign_key="user.id", index=True)
    agent: str
    created_at: float
    expires_at: float
    revoked_at: float | None = None


class TokenRow(SQLModel, table=True):
    """An API token. Only its hash is stored."""

    __tablename__ = "token"
    id: str = Field(primary_key=True)
    user_id: int = Field(foreign_key="user.id", index=True)
    name: str
    hash: str = Field(unique=True)
    scopes: str
    created_at: float
    revoked_at: float | None = None


class MetaRow(SQLModel, table=True):
    """Values of the installation, such as the address of the running server. No secret is among them."""

    __tablename__ = "meta"
    key: str = Field(primary_key=True)
    value: str


def _table(row: type[SQLModel]) -> Table:
    return row.__table__  # type: ignore[attr-defined,no-any-return]


CHAT, MESSAGE, RUN, EVENT = _table(ChatRow), _table(MessageRow), _table(RunRow), _table(EventRow)
LINES, META, REMOVED_RUN = _table(LinesRow), _table(MetaRow), _table(RemovedRunRow)
"""The same tables, for the writer: it works without rows as objects."""
