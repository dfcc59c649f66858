"""Folds what lines say into the message that they make."""

from collections.abc import Iterable

from keyside.core.reading import Delta, Reading, Usage, read
from keyside.protocol.entities import Citation, ToolCall

Draft = Delta
"""A message in the making has the same fields as what is added to it."""

MOST_PARTS = 1000
"""How many tool calls, images and citations a message has at the most, each; the text has no such limit (D2)."""
_BLOCK = 256
"""Deltas that are merged into one as a transcript grows, so that reading it costs little at any time."""


class Transcript:
    """The message that a run's lines make, as it grows."""

    def __init__(self, readings: Iterable[Reading] = ()) -> None:
        self._blocks: list[Delta] = []
        self._newest: list[Delta] = []
        for reading in readings:
            if isinstance(reading, Delta):
                self.add(reading)

    def add(self, delta: Delta) -> None:
        """Adds what the next lines say."""
        self._newest.append(delta)
        if len(self._newest) >= _BLOCK:
            self._blocks.append(merge(self._newest))
            self._newest = []

    @property
    def draft(self) -> Draft:
        """The message as far as it has come."""
        if self._newest or len(self._blocks) != 1:
            self._blocks, self._newest = [merge([*self._blocks, *self._newest])], []
        return self._blocks[0]


def fold(draft: Draft, delta: Delta) -> Draft:
    """The draft with the delta added: text is appended, tool calls grow by index, lists get longer."""
    return merge((draft, delta))


def merge(deltas: Iterable[Delta]) -> Delta:
    """Several deltas as one; linear in their size."""
    content: list[str] = []
    reasoning: list[str] = []
    calls: list[ToolCall] = []
    images: list[str] = []
    citations: dict[str, Citation] = {}
    finish_reason: str | None = None
    usage: Usage | None = None
    for delta in deltas:
        content.append(delta.content)
        reasoning.append(delta.reasoning)
        if delta.tool_calls:
            calls.extend(delta.tool_calls)
        if delta.images:
            images.extend(delta.images[: MOST_PARTS - len(images)])
        for citation in delta.citations:
            if citation.url in citations or len(citations) < MOST_PARTS:
                citations[citation.url] = citation
        finish_reason = delta.finish_reason or finish_reason
        usage = delta.usage or usage
    return Delta(
        "".join(content),
        "".join(reasoning),
        _merge_calls(calls),
        tuple(images),
        tuple(citations.values()),
        finish_reason,
        usage,
    )


def transcribe(lines: Iterable[str]) -> Draft:
    """The message that the lines make."""
    return merge(reading for reading in map(read, lines) if isinstance(reading, Delta))


def _merge_calls(calls: list[ToolCall]) -> tuple[ToolCall, ...]:
    if not calls:
        return ()
    parts: dict[int, list[ToolCall]] = {}
    for call in calls:
        parts.setdefault(call.index, []).append(call)
    return tuple(
        ToolCall(
            index=index,
            id=next((call.id for call in some if call.id), ""),
            name=next((call.name for call in some if call.name), ""),
            arguments="".join(call.arguments for call in some),
        )
        for index, some in sorted(parts.items())[:MOST_PARTS]  # the same ones, in whatever order deltas are merged
    )
