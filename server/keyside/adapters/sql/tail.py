"""The lines of one run in memory, compressed, with the events in which they came."""

import codecs
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import orjson

from keyside.core.frames import EndMark, end_mark_of
from keyside.core.reading import read

_BLOCK = 64
"""Frames that are compressed together, unless they are long."""
_LONG = 256 * 1024
"""Characters that are compressed at once, however few frames they are in: to read one frame is to unpack its block."""
BEGINNING = 512
"""Bytes of a packed value that are enough to know with which event it begins."""
_STEP = 64 * 1024
"""Bytes that are unpacked at a time."""


class StoredFrame(NamedTuple):
    """One `delta` event of a run: its number, its time, the index of its first line, and its lines."""

    seq: int
    at: float
    index: int  # type: ignore[assignment]  # not the method of tuples
    lines: Sequence[str]


class Tail:
    """What a running run has stored so far, and the version of its row. Appending is cheap; reading unpacks."""

    def __init__(self, version: int, frames: Iterable[StoredFrame] = (), end_mark: EndMark | None = None) -> None:
        self._blocks: list[tuple[int, bytes]] = []
        self._open: list[StoredFrame] = []
        self._open_size = 0
        self.version = version
        self.expected = 0
        self.seq = 0
        """The number of its newest frame."""
        self.end_mark = end_mark
        """The end that the lines hold."""
        self.journal_id: int | None = None
        """The first row of the journal that it needs; `None`: it needs none."""
        for frame in frames:
            self.append(frame, None)

    def append(self, frame: StoredFrame, end_mark: EndMark | None) -> None:
        """Adds the run's next frame, and the end that it holds."""
        self._open.append(frame)
        self.seq = frame.seq
        self.expected = frame.index + len(frame.lines)
        if end_mark is not None:
            self.end_mark = self.end_mark.then(end_mark) if self.end_mark else end_mark
        self._open_size += sum(map(len, frame.lines))
        if len(self._open) >= _BLOCK or self._open_size >= _LONG:
            self._blocks.append((frame.seq, pack(self._open, at_once=True)))
            self._open, self._open_size = [], 0

    def frames(self, after: int = 0) -> Iterator[StoredFrame]:
        """All frames after the event `after`, in order; what lies before is not unpacked."""
        blocks = (unpack(block) for last, block in list(self._blocks) if last > after)
        for frame in chain(chain.from_iterable(blocks), list(self._open)):
            if frame.seq > after:
                yield frame


def mark_of(frames: Iterable[StoredFrame]) -> EndMark | None:
    """The end that the lines of some frames hold."""
    return end_mark_of(read(line) for frame in frames for line in frame.lines)


def pack(frames: Iterable[StoredFrame], *, at_once: bool = False) -> bytes:
    """Frames as one compressed value; with `at_once` a little larger, for a tenth of the time."""
    body = orjson.dumps([list(frame) for frame in frames])
    return compress_at_once(body) if at_once else zlib.compress(body)


def compress_at_once(body: bytes) -> bytes:
    """Compresses something short that is on its way: zlib needs longer for its usual tables than for the text."""
    small = zlib.compressobj(level=1, wbits=13, memLevel=6)
    return small.compress(body) + small.flush()


def unpack(body: bytes) -> list[StoredFrame]:
    """What `pack` made."""
    return [StoredFrame(*frame) for frame in orjson.loads(zlib.decompress(body))]


def first_seq_of(beginning: bytes) -> int:
    """The number of the first frame of a packed value, of which the `BEGINNING` is enough."""
    text = zlib.decompressobj().decompress(beginning, 40)
    return int(text[2:].partition(b",")[0])


def unpack_each(body: bytes) -> Iterator[StoredFrame]:
    """What `pack` made, one by one, so that of many lines only what is asked for takes memory."""
    inflate, utf8, scan = zlib.decompressobj(), codecs.getincrementaldecoder("utf-8")(), json.JSONDecoder().raw_decode
    text, at, step = "", 0, _STEP  # `at` is the bracket or the comma before the next frame
    while True:
        try:
            frame, at = scan(text, at + 1)
        except ValueError:  # not all of it is here yet
            if inflate.eof:
                return
            more = inflate.decompress(body, step)
            if not more and not inflate.eof:
                raise zlib.error("the value is cut off") from None
            text, at = text[at:] + utf8.decode(more), 0
            body, step = inflate.unconsumed_tail, 2 * step
        else:
            step = _STEP
            yield StoredFrame(*frame)
