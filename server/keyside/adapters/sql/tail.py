"""The lines of one run in memory, compressed, with the events in which they came."""

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson

_BLOCK = 64
"""Frames that are compressed together."""


class StoredFrame(NamedTuple):
    """One `delta` event of a run: its number, its time, the index of its first line, and its lines."""

    seq: int
    at: float
    first: int
    lines: list[str]


class Tail:
    """What a run has stored so far. Appending is cheap; reading unpacks."""

    def __init__(self, frames: Iterable[StoredFrame] = ()) -> None:
        self._blocks: list[bytes] = []
        self._open: list[StoredFrame] = []
        self.expected = 0
        for frame in frames:
            self.append(frame)

    def append(self, frame: StoredFrame) -> None:
        """Adds the run's next frame."""
        self._open.append(frame)
        self.expected = frame.first + len(frame.lines)
        if len(self._open) >= _BLOCK:
            self._blocks.append(pack(self._open, 1))
            self._open = []

    def frames(self) -> Iterator[StoredFrame]:
        """All frames, in order."""
        for block in self._blocks:
            yield from unpack(block)
        yield from list(self._open)


def pack(frames: Iterable[StoredFrame], level: int = 6) -> bytes:
    """Frames as one compressed value."""
    return zlib.compress(orjson.dumps([list(frame) for frame in frames]), level)


def unpack(body: bytes) -> list[StoredFrame]:
    """What `pack` made."""
    return [StoredFrame(*frame) for frame in orjson.loads(zlib.decompress(body))]
