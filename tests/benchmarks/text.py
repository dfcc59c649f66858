"""The text of the benchmark's upstreams: OpenAI chunks of one word each, always the same."""

import json
import random

POOL = 4096
"""The number of different lines. A stream begins at one of them and repeats them in a circle."""


def _pool() -> tuple[list[str], list[bytes]]:
    """Words, each with the one space that tells them apart, and their lines as a chunk of about 270 bytes."""
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    known = ["".join(chance.choices(letters, range(22, 0, -1), k=chance.randint(2, 9))) for _ in range(800)]
    words = [" " + chance.choice(known) for _ in range(POOL)]
    lines = [
        "data: "
        + json.dumps(
            {
                "id": "chatcmpl-CqX8mPLW2v3Jt6Rz9YbKd0Na5Fe1H",
                "object": "chat.completion.chunk",
                "created": 1767225600,
                "model": "test-model-2026-01-01",
                "system_fingerprint": "fp_3f8d1c2b7a",
                "choices": [{"index": 0, "delta": {"content": word}, "logprobs": None, "finish_reason": None}],
            },
            separators=(",", ":"),
        )
        for word in words
    ]
    return words, [line.encode() for line in lines]


WORDS, LINES = _pool()
QUOTED = [json.dumps(line.decode()).encode() for line in LINES]
"""The lines as JSON strings."""
