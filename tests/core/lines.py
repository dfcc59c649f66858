"""Lines as upstreams send them. The tests of the core need the core alone."""

import json
from typing import Any

DONE = "data: [DONE]"


def text_line(text: str, **choice: Any) -> str:
    """An upstream's line that adds text."""
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None, **choice}]}
    return "data: " + json.dumps(chunk, ensure_ascii=False)
