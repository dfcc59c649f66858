"""The upstream's answers. Each key has a fixed answer of any length and script; some have reasoning and tool calls."""

import json
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_ASCII = ("the ", "answer ", "is", ", ", "`code` ", "</think>", "\n", "x" * 40 + " ", '"quoted" ', "\\ ", "data: ")
_CJK = ("你好", "世界", "。", "東京 ", "한국어", "日本語、", "𠮷野")
_EMOJI = ("🙂", "👩‍👩‍👧‍👦 ", "🇩🇪", "👍🏽", "ไทย ", "ña", "e\u0301", "\u202e", "\u2028", "\ufeff")
_VOICES = (_ASCII, _CJK, _EMOJI, _ASCII + _CJK + _EMOJI)
_ENDS = ("stop",) * 6 + ("length", "content_filter", "no_done", "truncated")


@dataclass(frozen=True)
class Said:
    """A message's text: tool calls as (id, name, arguments)."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()

    def begins(self, whole: "Said") -> bool:
        """Whether this text is a beginning of the whole text."""
        return (
            whole.content.startswith(self.content)
            and whole.reasoning.startswith(self.reasoning)
            and len(self.calls) <= len(whole.calls)
            and all(
                mine[:2] == full[:2] and full[2].startswith(mine[2])
                for mine, full in zip(self.calls, whole.calls, strict=False)
            )
        )

    def __str__(self) -> str:
        return f"{len(self.content)}/{len(self.reasoning)}/{[len(call[2]) for call in self.calls]} characters"


@dataclass(frozen=True)
class Script:
    """An answer: its lines, how long the upstream takes for them, and what they say."""

    lines: tuple[str, ...]
    seconds: float
    said: Said
    complete: bool
    """Whether the answer has an end mark. Without it the run fails with `upstream_truncated`."""
    reason: str = "stop"


def _line(delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more}
    return "data: " + json.dumps(chunk, ensure_ascii=False)


@lru_cache(maxsize=512)
def script(key: str) -> Script:
    """The answer to a key."""
    rng = random.Random(key)
    tokens = 20_000 if rng.random() < 0.02 else int(10 ** rng.uniform(0, 2.7))
    voice = rng.choice(_VOICES)
    thoughts = [rng.choice(voice) for _ in range(tokens // 3)] if rng.random() < 0.3 else []
    words = [rng.choice(voice) for _ in range(tokens)]
    lines = [_line({"role": "assistant", "content": ""})]
    spelling = rng.choice(("reasoning_content", "reasoning"))
    lines += [_line({spelling: word}) for word in thoughts]
    lines += [_line({"content": word}) for word in words]
    calls = _calls(rng) if rng.random() < 0.25 else []
    for index, (id, name, parts) in enumerate(calls):
        head = {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        lines.append(_line({"tool_calls": [head]}))
        lines += [_line({"tool_calls": [{"index": index, "function": {"arguments": part}}]}) for part in parts]
    end = rng.choice(_ENDS)
    reason = {"no_done": "stop"}.get(end, "tool_calls" if calls and end == "stop" else end)
    if end != "truncated":
        lines.append(_line({}, reason, usage={"prompt_tokens": 1, "completion_tokens": tokens}))
        lines += [] if end == "no_done" else ["data: [DONE]"]
    said = Said("".join(words), "".join(thoughts), tuple((id, name, "".join(parts)) for id, name, parts in calls))
    return Script(tuple(lines), rng.choice((0.05, 0.5, 1.0, 1.5, 2.0, 3.0)), said, end != "truncated", reason)


def _calls(rng: random.Random) -> list[tuple[str, str, list[str]]]:
    found = []
    for index in range(rng.randint(1, 3)):
        arguments = json.dumps({"q": "".join(rng.choice(_CJK + _ASCII) for _ in range(20))}, ensure_ascii=False)
        cuts = sorted(rng.sample(range(1, len(arguments)), 5))
        parts = [arguments[a:b] for a, b in zip([0, *cuts], [*cuts, len(arguments)], strict=True)]
        found.append((f"call_{index}", f"tool_{index}", parts))
    return found
