"""What a plain executor sends, made into lines: strings joined until whole, and answers that come at once (E6)."""

import json
from dataclasses import dataclass
from typing import Any

from keyside.core.reading import Noise, read
from keyside.protocol.wire import MAX_FRAGMENT

_FIELDS = (":", "event:", "id:", "retry:")


@dataclass(frozen=True)
class Joiner:
    """Joins strings that were cut in the middle of a line."""

    fragment: str = ""

    def take(self, text: str) -> tuple["Joiner", tuple[str, ...]]:
        """The joiner after this string, and the lines that are whole now (a lost fragment comes as it is)."""
        whole = self.fragment + text
        if "\n" in whole.rstrip("\r\n"):
            return _split(whole)
        if _is_whole(whole):
            return Joiner(), (whole,)
        if self.fragment and self._is_another(text):
            return Joiner(), (self.fragment, text)
        if len(whole.encode(errors="replace")) > MAX_FRAGMENT:
            return Joiner(), (whole,)
        return Joiner(whole), ()

    def _is_another(self, text: str) -> bool:
        """Whether the string alone is a whole event, so that the fragment's rest is not coming any more.

        A piece out of the middle of a line can look like a comment, or like an object of its own: with a
        `data:` in the fragment only another `data:` counts.
        """
        if isinstance(read(text), Noise):
            return False
        return text.startswith("data:") or not self.fragment.startswith("data:")


def _split(text: str) -> tuple[Joiner, tuple[str, ...]]:
    """Of a string with line ends in it, each line but the last is whole."""
    *ended, rest = text.rstrip("\r\n").split("\n")
    joiner, last = Joiner().take(rest)
    return joiner, (*(line.rstrip("\r") for line in ended if line.strip()), *last)


def _is_whole(line: str) -> bool:
    if line.startswith(_FIELDS) or not line.strip():
        return True
    return not isinstance(read(line), Noise)


def lines_of_answer(answer: object) -> tuple[str, ...] | None:
    """The lines that say the same as the answer to a call that did not stream; `None`: it is no completion."""
    if not isinstance(answer, dict):
        return None
    if isinstance(answer.get("result"), str):
        return _lines({"choices": [_choice({"content": answer["result"]}, "stop")]})
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    message = choices[0].get("message")
    if not isinstance(message, dict):
        return None
    choice = _choice(message, choices[0].get("finish_reason") or "stop")
    return _lines({**answer, "object": "chat.completion.chunk", "choices": [choice]})


def _choice(delta: dict[str, Any], reason: str) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}


def _lines(chunk: dict[str, Any]) -> tuple[str, ...]:
    return ("data: " + json.dumps(chunk, ensure_ascii=False), "data: [DONE]")
