"""What a viewer makes of a chat's events, as the rules for viewers say (V1 to V3)."""

from dataclasses import dataclass, field
from typing import Any

from tests.chaos.kit.text import Said

RUNNING = "streaming"


@dataclass
class Seen:
    """A message as a viewer shows it."""

    content: str = ""
    reasoning: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    status: str = ""

    @classmethod
    def of(cls, message: dict[str, Any]) -> "Seen":
        """A whole message."""
        seen = cls(status=message["status"])
        seen.add(message)
        return seen

    def add(self, delta: dict[str, Any]) -> None:
        """A delta; what it does not name it does not add."""
        self.content += delta.get("content", "")
        self.reasoning += delta.get("reasoning", "")
        for call in delta.get("tool_calls", ()):
            known = self.calls.setdefault(call["index"], ["", "", ""])
            known[0] = known[0] or call["id"]
            known[1] = known[1] or call["name"]
            known[2] += call["arguments"]

    @property
    def said(self) -> Said:
        """The text of the message."""
        calls = tuple((id, name, arguments) for _, (id, name, arguments) in sorted(self.calls.items()))
        return Said(self.content, self.reasoning, calls)


class Fold:
    """One chat in one viewer. `wrong` lists where the server broke the protocol's rules."""

    def __init__(self, chat_id: int, wrong: list[str]) -> None:
        self.chat_id = chat_id
        self.seq: int | None = None
        self.messages: dict[str, Seen] = {}
        self.head_id: str | None = None
        self.gone = False
        self.opening = False
        self._held: list[dict[str, Any]] = []
        self._wrong = wrong

    def snapshot(self, snapshot: dict[str, Any], seq: int) -> None:
        """Replaces everything by a snapshot."""
        self.messages = {message["id"]: Seen.of(message) for message in snapshot["messages"]}
        self.head_id = snapshot["chat"]["head_id"]
        self.seq = seq

    def missed(self, events: list[dict[str, Any]], seq: int) -> None:
        """Takes the events that were missed."""
        for event in events:
            if self.seq is None or event["seq"] != self.seq + 1:
                self._wrong.append(f"chat {self.chat_id}: {event['seq']} follows {self.seq} in what was missed")
            self.seq = event["seq"]
            self._apply(event, live=False)
        if self.seq != seq:
            self._wrong.append(f"chat {self.chat_id}: what was missed ends at {self.seq}, and not at {seq}")

    def take(self, event: dict[str, Any]) -> bool:
        """Takes a live event. Returns false if events are missing before it; then the chat must be opened again."""
        if self.opening:
            self._held.append(event)
            return True
        if self.seq is None or event["seq"] <= self.seq:
            return True
        if event["seq"] > self.seq + 1:
            self._wrong.append(f"chat {self.chat_id}: {event['seq']} came after {self.seq} on one connection")
            return False
        self.seq = event["seq"]
        self._apply(event, live=True)
        return True

    def opened(self) -> bool:
        """Takes the events that arrived before the acknowledgement."""
        self.opening = False
        held, self._held = self._held, []
        return all(self.take(event) for event in held)

    def lost(self) -> None:
        """Drops the events that waited for an acknowledgement, because the connection is gone."""
        self.opening = False
        self._held = []

    def _apply(self, event: dict[str, Any], live: bool) -> None:
        match event["kind"]:
            case "message":
                self._message(event["message"], live)
            case "removed":
                for id in event["message_ids"]:
                    self.messages.pop(id, None)
            case "delta" if event["message_id"] in self.messages:
                self.messages[event["message_id"]].add(event)
            case "chat":
                self.head_id = event["chat"]["head_id"]

    def _message(self, message: dict[str, Any], live: bool) -> None:
        """A message as it is now. One that was being written must be what its deltas have made of it."""
        known, told = self.messages.get(message["id"]), Seen.of(message)
        if live and known is not None and known.status == RUNNING and known.said != told.said:
            self._wrong.append(
                f"chat {self.chat_id}, {message['id']}: deltas up to {self.seq} made {known.said}, told is {told.said}"
            )
        self.messages[message["id"]] = told
