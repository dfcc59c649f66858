"""The settings. They come from the environment, from `.env`, or from options of `keyside serve`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from keyside.web.client_address import Network, networks_of
from keyside.web.origins import Origins, is_loopback, make_origin, origin_of, origins_of

OPTIONS = (
    "host",
    "port",
    "data_dir",
    "public_url",
    "auth",
    "tls_cert",
    "tls_key",
    "browser",
    "sync",
    "log_level",
)
"""The settings that are also options of `keyside serve`."""

LEAST_SECRET = 32
"""Characters."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1024, le=1024**3)]
Number = Annotated[int, Field(ge=1, le=1_000_000)]


class BadSettings(Exception):
    """A setting has an invalid value. The message is one sentence."""


def default_data_dir() -> Path:
    """The platform's standard directory for the data of an application."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "keyside"
    base = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification says that relative paths must be ignored.
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "keyside"


class Settings(BaseSettings):
    """The settings of one server. Times are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="KEYSIDE_",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="The address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="The port to listen on; 0 takes any free one.")
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="The directory of the database. It is created if it is missing, and only its owner can read it.",
        json_schema_extra={"shown": "the user's data directory, such as `~/.local/share/keyside`"},
    )
    public_url: str | None = Field(
        default=None,
        description="The origin at which people reach the server, such as `https://chat.example.org`. "
        "Host and Origin of every request must match it. Needed when `host` is not a loopback address.",
        json_schema_extra={"shown": "the loopback address"},
    )
    auth: Literal["local", "off"] = Field(
        default="local",
        description="`local`: one account, signed in by one-time links. `off`: no sign-in; whoever reaches the "
        "server is its owner, so it is allowed on loopback addresses only.",
    )
    secret: SecretStr | None = Field(
        default=None,
        description="What signs the cookies of signed-in browsers: at least 32 characters of chance. Without it, a "
        "file `secret` is made in the data directory, which only its owner may read, and which no backup contains.",
        json_schema_extra={"shown": "that file"},
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Addresses and networks of proxies, separated by commas, such as `127.0.0.1,10.0.0.0/8`. Only "
        "they are believed by whom they were called (`X-Forwarded-For`).",
        json_schema_extra={"shown": "none"},
    )
    tls_cert: Path | None = Field(
        default=None, description="A certificate chain (PEM). With it the server itself serves https."
    )
    tls_key: Path | None = Field(default=None, description="The private key of `tls_cert` (PEM).")
    browser: bool = Field(default=True, description="Whether `keyside serve` opens the browser if there is a screen.")
    sync: Literal["full", "normal"] = Field(
        default="full",
        description="`full`: what was stored survives a power loss. `normal` is faster, and covers only the death "
        "of the process.",
    )
    transport: Literal["lean", "stock"] = Field(
        default="lean",
        description="`lean`: sockets are served with little work for each message, which overrides parts of "
        "python-socketio, python-engineio and uvicorn. `stock`: these libraries run as they are, "
        "and need a third more CPU with few streams, up to three times as much with many.",
    )
    api_retention: Seconds = Field(
        default=7 * 86400, description="How long a call of the OpenAI API that names no chat is kept."
    )
    callback_timeout: Seconds = Field(
        default=10, description="How long an executor may take to answer the call of a run."
    )
    first_line_timeout: Seconds = Field(default=180, description="How long a model may take to begin its answer.")
    idle_timeout: Seconds = Field(default=120, description="How long a connected executor may be silent in mid-answer.")
    resume_grace: Seconds = Field(
        default=60, description="How long a run waits for an executor that went away, before it is interrupted."
    )
    late_resume: Seconds = Field(
        default=86400, description="How long an interrupted run can still be finished by its own executor."
    )
    queue_timeout: Seconds = Field(
        default=86400, description="How long a run waits for an executor that has its model."
    )
    run_timeout: Seconds = Field(default=3600, description="How long an answer may take in all.")
    max_header: Bytes = Field(
        default=32 * 1024, description="The most bytes that the first line and the headers of a request may have."
    )
    max_body: Bytes = Field(default=32 * 1024**2, description="The most bytes of a request whose sender is signed in.")
    max_bodies: Bytes = Field(
        default=64 * 1024**2,
        description="The most bytes of all large requests that are read or handled at the same time; one account gets "
        "half of it.",
    )
    stranger_body: Bytes = Field(
        default=8 * 1024, description="The most bytes of a request that are read before it is known who sends it."
    )
    stranger_socket: Bytes = Field(
        default=16 * 1024, description="The most bytes that a socket may send before it has signed in."
    )
    arrival_timeout: Seconds = Field(
        default=10,
        description="How long the headers of a request may take, a socket's sign-in, and a pause within a body.",
    )
    min_rate: Bytes = Field(
        default=8 * 1024,
        description="How many bytes of a body must arrive in a second. Who is behind by more than `arrival_timeout` is "
        "refused.",
    )
    strangers_per_address: Number = Field(
        default=200,
        description="How many connections of one address may be open on which nobody has signed in. With one more, "
        "the oldest of them is closed.",
    )
    strangers: Number = Field(default=1000, description="How many such connections may be open in all.")
    max_unread: Bytes = Field(
        default=128 * 1024**2,
        description="The most bytes that may wait for all clients together which do not read them. With more, "
        "connections of the account are cut off for which the most waits.",
    )
    user_sockets: Number = Field(
        default=500, description="How many sockets an account may have open. A token may have half of them."
    )
    user_requests: Number = Field(
        default=2000, description="How many requests of an account may be under way, streamed answers included."
    )
    user_runs: Number = Field(
        default=2000, description="How many answers of an account may be written at the same time. More of them wait."
    )
    socket_events: Number = Field(
        default=100,
        description="How many events a socket may send in a second, as a mean over ten seconds: `chat:open` and "
        "`executor:ready` count as ten, and frames of running answers do not count.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is logged, on standard error."
    )

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return Path(os.path.abspath(path.expanduser()))

    @field_validator("public_url")
    @classmethod
    def _origin(cls, url: str | None) -> str | None:
        return None if url is None else origin_of(url)

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < LEAST_SECRET:
            raise ValueError(f"it must have at least {LEAST_SECRET} characters")
        return secret

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, said: object) -> object:
        return networks_of(said) if isinstance(said, str) else said

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_bodies < 2 * self.max_body:
            raise ValueError("KEYSIDE_MAX_BODIES must be at least twice KEYSIDE_MAX_BODY: an account gets half of it")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("KEYSIDE_TLS_CERT and KEYSIDE_TLS_KEY must be set together")
        if self.auth == "off" and not (is_loopback(self.host) and self._public_is_loopback):
            raise ValueError(
                "KEYSIDE_AUTH=off lets in whoever reaches the server, so it needs a loopback KEYSIDE_HOST and "
                "KEYSIDE_PUBLIC_URL, such as 127.0.0.1"
            )
        if not is_loopback(self.host) and self.public_url is None:
            raise ValueError(
                f"KEYSIDE_HOST={self.host} is reached from other machines: set KEYSIDE_PUBLIC_URL to the address "
                "under which people open it"
            )
        return self

    @property
    def _public_is_loopback(self) -> bool:
        return self.public_url is None or is_loopback(urlsplit(self.public_url).hostname or "")

    @property
    def tls(self) -> bool:
        """Whether the server itself serves https."""
        return self.tls_cert is not None

    @property
    def url(self) -> str:
        """The origin at which people reach the server."""
        return self.public_url or make_origin("https" if self.tls else "http", self.host, self.port)

    @property
    def origins(self) -> Origins:
        """The hosts and origins of the server. `port` must be the port that is really used, not 0."""
        return origins_of(self.url, host=self.host, port=self.port, tls=self.tls)

    @property
    def warning(self) -> str | None:
        """A sentence about a setting that is allowed but unsafe, or `None`."""
        if self.url.startswith("https:") or self._public_is_loopback:
            return None
        return (
            f"{self.url} is plain http: others on the way can read the chats and take over sign-ins, and browsers "
            "keep keys in memory only. Use https (KEYSIDE_TLS_CERT, KEYSIDE_TLS_KEY, or a proxy)."
        )

    def make_data_dir(self) -> Path:
        """The data directory. It is created if it is missing."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.data_dir


def load(**given: Any) -> Settings:
    """Loads the settings. Options in `given` that are not `None` take precedence. Raises `BadSettings`."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise BadSettings(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return f"{message}."
    name = str(first["loc"][0]).lower()
    variable = f"KEYSIDE_{name.removeprefix('keyside_').upper()}"
    if first["type"] == "value_error":
        return f"{variable}: {message}."
    return f"{variable} cannot be '{first['input']}': {message[:1].lower()}{message[1:]}."


def settings_table() -> str:
    """The text of `docs/reference/settings.md`: every setting with its option, its default, and its purpose."""
    rows = "\n".join(_row(name) for name in Settings.model_fields)
    return (
        "# Settings\n\n"
        "Generated by `keyside schema` from `server/keyside/settings.py`.\n\n"
        "Each is read from the environment, or from a file `.env` in the directory in which `keyside` starts; an\n"
        "option of `keyside serve` wins over both. Times are in seconds.\n\n"
        f"| variable | option | default | what it does |\n|---|---|---|---|\n{rows}\n"
    )


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    option = "--no-browser" if name == "browser" else "--" + name.replace("_", "-")
    shown = extra.get("shown") or ("none" if field.default is None else f"`{_plain(field.default)}`")
    return f"| `KEYSIDE_{name.upper()}` | {f'`{option}`' if name in OPTIONS else ''} | {shown} | {field.description} |"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
