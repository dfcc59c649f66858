"""The events of the socket: name, direction, payload, acknowledgement, and the scope that a token needs."""

from dataclasses import dataclass
from typing import Any, Literal

from keyside.protocol import wire
from keyside.protocol.base import Wire


@dataclass(frozen=True)
class Event:
    """One row of the table. `scope` is what an API token must have; a browser's session has all."""

    direction: Literal["client", "server"]
    payload: Any
    ack: type[Wire] | None
    scope: str | None = None


CHANNEL = "<channel>"
"""Stands for the random name under which an attempt's frames travel (E5)."""

EVENTS: dict[str, Event] = {
    "executor:ready": Event("client", wire.ExecutorReady, wire.ReadyAck, "executor"),
    CHANNEL: Event("client", wire.Frame, wire.FrameAck, "executor"),
    "chat:open": Event("client", wire.ChatOpen, wire.OpenAck, "chats"),
    "chat:close": Event("client", wire.ChatClose, wire.Ack, "chats"),
    "events": Event("server", wire.ServerMessage, wire.Answer),
}
