"""The table of the socket's events: name, direction, payload, acknowledgement, and the scope that a token needs."""

from dataclasses import dataclass
from typing import Any, Literal

from keyside.protocol import wire
from keyside.protocol.base import Wire


@dataclass(frozen=True)
class Event:
    """A row of the table. `scope` is what an API token needs to send the event; a browser's session has all scopes."""

    direction: Literal["client", "server"]
    payload: Any
    ack: type[Wire] | None
    scope: str | None = None


CHANNEL = "<channel>"
"""Stands for the random event name of an attempt's frames (E5)."""

EVENTS: dict[str, Event] = {
    "executor:ready": Event("client", wire.ExecutorReady, wire.ReadyAck, "executor"),
    CHANNEL: Event("client", wire.Frame, wire.FrameAck, "executor"),
    "chat:open": Event("client", wire.ChatOpen, wire.OpenAck, "chats"),
    "chat:close": Event("client", wire.ChatClose, wire.Ack, "chats"),
    "events": Event("server", wire.ServerMessage, wire.Answer),
}
