"""The events of a run as server-sent events: in pieces, and encoded once for all readers."""

from collections.abc import AsyncIterator

import orjson

from keyside.core.changes import Entry, Removed
from keyside.web.http.event_stream import EventStreams


async def of(entries: list[Entry]) -> AsyncIterator[Entry]:
    for entry in entries:
        yield entry


async def test_a_large_event_comes_in_pieces() -> None:
    entries = [Entry(1, 1, 0.0, Removed(("x" * 200_000,))), Entry(1, 2, 0.0, Removed(("é",)))]
    pieces = [piece async for piece in EventStreams().of(of(entries))]
    assert max(map(len, pieces)) <= 64 * 1024 < sum(map(len, pieces)) / 3
    events = b"".join(pieces).split(b"\n\n")
    assert events.pop() == b""
    for event, entry in zip(events, entries, strict=True):
        head, data = event.split(b"\n")
        assert head == b"id: %d" % entry.seq
        assert orjson.loads(data.removeprefix(b"data: ")) == entry.payload


async def test_an_event_is_encoded_once_for_readers_at_the_same_time() -> None:
    streams = EventStreams()
    entries = [Entry(1, seq, 0.0, Removed(("x",))) for seq in range(10)]
    first = [piece async for piece in streams.of(of(entries))]
    again = [piece async for piece in streams.of(of(entries[-2:]))]
    assert again == first[-2:]
    assert [id(piece) for piece in again] == [id(piece) for piece in first[-2:]]
