"""The upstream's answers to the questions of the tests, as fixtures of aimock."""

from __future__ import annotations

from typing import Any

MODEL = "moon-1"
GHOST = "ghost-1"
CHUNK = 6
"""Characters in one event of an answer. Its first event has the role and no text."""

TIDES = (
    "The moon pulls the sea toward itself, and on the far side the water is left behind. So there are two bulges, "
    "and the turning earth carries every coast through both of them each day. The sun does the same with less force; "
    "when both stand in one line, at new and full moon, the tides are highest."
)
RIVERS = (
    "A river begins where the ground can hold no more water, and ends in the sea. On the way it wears down its bed, "
    "carries the sand along, and lets it fall where the current is slow."
)
MARKDOWN = (
    "Here is **how** to add two numbers:\n\n"
    "```python\ndef add(a: int, b: int) -> int:\n    return a + b\n```\n\n"
    "| call | result |\n|---|---|\n| `add(1, 2)` | 3 |\n\n- exact\n- quick\n\nSee [the manual](https://example.org/add).\n"
)
HOSTILE = (
    "Before <img src=x onerror=\"window.hacked='img'\"> and <script>window.hacked='script'</script> after.\n\n"
    "<iframe src='https://tracker.invalid/frame'></iframe>\n\n<svg onload=\"window.hacked='svg'\"></svg>\n\n"
    "[click me](javascript:window.hacked='link') and [me](data:text/html,<script>1</script>)\n\n"
    "![a picture](https://tracker.invalid/pixel.png) and <img src='https://tracker.invalid/raw.png'>\n\n"
    "![a call](/api/auth/sessions) and ![another](/uploads/../api/tokens)\n\nThe end.\n"
)
LURES = (
    "Read [one](/#signin=canary-1), [two](#signin=canary-2), [three](http://127.0.0.1:1/#signin=canary-3), "
    "<http://localhost:1/#signin=canary-4> and ![four](https://localhost:1/#signin=canary-5). A note[^1] "
    "is fine, and so is [this](https://example.org/#top).\n\n[^1]: Said below.\n"
)
"""Sign-in links, as a model may write them, and a footnote."""
SECOND_HALF = " And here it goes on to its end."
SHORT = "Yes, I am here."


def fixture(question: str, answer: str, turn: int = 0, **options: Any) -> dict[str, Any]:
    """An answer to any message that has `question` in it, after so many answers."""
    match = {"userMessage": question, "model": MODEL, "turnIndex": turn}
    return {"match": match, "response": {"content": answer}, "chunkSize": CHUNK, **options}


def going_on(question: str) -> dict[str, Any]:
    """An answer to a request that contains the first half of an answer."""
    match = {"userMessage": question, "model": MODEL, "turnIndex": 1}
    return {"match": match, "response": {"content": SECOND_HALF}, "chunkSize": CHUNK}


def ghost() -> dict[str, Any]:
    """A model that is listed but does not exist."""
    error = {
        "message": f"The model `{GHOST}` does not exist",
        "type": "invalid_request_error",
        "code": "model_not_found",
    }
    return {"match": {"model": GHOST}, "response": {"error": error, "status": 404}}


FIXTURES = [
    fixture("tides", TIDES),
    going_on("tides"),
    fixture("rivers", RIVERS),
    fixture("two numbers", MARKDOWN),
    fixture("hostile", HOSTILE),
    fixture("lures", LURES),
    fixture("lures", LURES, turn=1),
    fixture("broken", TIDES, truncateAfterChunks=8, latency=20),
    fixture("there?", SHORT),
    ghost(),
]


def after(events: int, answer: str = TIDES) -> str:
    """The text of an answer after the given number of events."""
    return answer[: (events - 1) * CHUNK]
