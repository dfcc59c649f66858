"""WebSocket frames, however the network cuts them: the server reads most by itself, and leaves some to a library."""

import asyncio
import base64
import json
import os
import random
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import httpx
import pytest

from keyside.protocol.wire import MAX_PACKET
from keyside.testing import text_line
from tests.edge.live import SECONDS, SHORT_PATH, LiveServer, ask, ended

pytestmark = pytest.mark.rule("C1", "C4")
TEXT, CONTINUED, CLOSE, PING, PONG = 1, 0, 8, 9, 10
CLOSING_SECONDS = 8
"""Less than uvicorn waits for a client that does not answer its close frame."""
MASK = b"\x01\x80\x7f\xfe"


def frame(payload: bytes, kind: int = TEXT, *, last: bool = True, mask: bytes = MASK) -> bytes:
    """A frame as a client sends it; with an empty mask as it must not."""
    size = len(payload)
    masked = 0x80 if mask else 0
    if size < 126:
        length = bytes([masked | size])
    elif size < 65536:
        length = bytes([masked | 126]) + struct.pack("!H", size)
    else:
        length = bytes([masked | 127]) + struct.pack("!Q", size)
    if any(mask):
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([(0x80 if last else 0) | kind]) + length + mask + payload


def event(number: int, size: int = 0) -> bytes:
    """An event that the server answers under this number."""
    return b'42%d["chat:close",{"chat_id":%d,"more":"%s"}]' % (number, number + 1, b"x" * size)


class Wire:
    """A WebSocket's bytes, as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.connected = b""
        self.pongs: list[bytes] = []

    async def send(self, *pieces: bytes) -> None:
        """Each piece goes on its way by itself."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0)

    async def frame(self) -> tuple[int, bytes]:
        """The server's next frame: its kind and payload."""
        head = await self._reader.readexactly(2)
        size = head[1]
        if size >= 126:
            size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8))
        return head[0] & 0x0F, await self._reader.readexactly(size)

    async def said(self) -> bytes:
        """The server's next message that is no ping of its own."""
        async with asyncio.timeout(SECONDS):
            while True:
                kind, payload = await self.frame()
                if kind == PONG:
                    self.pongs.append(payload)
                elif payload == b"2":
                    await self.send(frame(b"3"))
                else:
                    return payload

    async def call(self) -> tuple[int, Any]:
        """The server's next call: the number of its answer, and what it asks for."""
        while True:
            found = re.fullmatch(rb"42(\d+)(\[.*)", await self.said())
            if found:
                return int(found[1]), json.loads(found[2])[1]["data"]

    async def answers(self, count: int) -> list[int]:
        """The numbers of the next answers, each of which says that all is well."""
        said = [await self.said() for _ in range(count)]
        found = [re.fullmatch(rb'43(\d+)\[\{"ok":true.*', one) for one in said]
        assert all(found), said
        return [int(one[1]) for one in found if one]

    async def end(self) -> bytes:
        """What comes until the server closes the connection."""
        return await asyncio.wait_for(self._reader.read(), SECONDS)


@asynccontextmanager
async def opened(server: LiveServer) -> AsyncIterator[Wire]:
    """A connected socket."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET {SHORT_PATH}?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    try:
        wire = Wire(reader, writer)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SECONDS)).startswith(b"HTTP/1.1 101 ")
        assert (await wire.said()).startswith(b"0{")
        await wire.send(frame(b"40"))
        wire.connected = await wire.said()
        assert wire.connected.startswith(b"40{")
        yield wire
    finally:
        writer.close()


async def test_a_frame_may_come_byte_by_byte(live: LiveServer) -> None:
    async with opened(live) as wire:
        for number, size in ((1, 0), (2, 200)):
            data = frame(event(number, size))
            await wire.send(*(data[at : at + 1] for at in range(len(data))))
        assert await wire.answers(2) == [1, 2]


async def test_frames_of_every_kind_may_come_in_one_piece(live: LiveServer) -> None:
    parted = event(3)
    data = [
        frame(event(1)),
        frame(b"ping", PING),
        frame(event(2, 70_000)),
        frame(parted[:9], last=False),
        frame(b"in between", PING),
        frame(parted[9:], CONTINUED),
        frame(event(4, 300)),
        frame(b"3"),
        frame(event(5)),
    ]
    async with opened(live) as wire:
        await wire.send(b"".join(data))
        assert await wire.answers(5) == [1, 2, 3, 4, 5]
        assert wire.pongs == [b"ping", b"in between"]


@pytest.mark.parametrize("seed", range(8))
async def test_however_the_bytes_are_cut_every_event_is_answered_in_order(live: LiveServer, seed: int) -> None:
    chance = random.Random(seed)
    data = b""
    for number in range(40):
        packet = event(number, chance.choice([0, 20, 125, 126, 400, 3000, 66_000]))
        if chance.random() < 0.2:
            at = chance.randrange(len(packet))
            data += frame(packet[:at], last=False) + frame(b"p", PING) + frame(packet[at:], CONTINUED)
        else:
            data += frame(packet, mask=chance.randbytes(4))
    cuts = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(chance.choice([3, 60, 400])))})
    async with opened(live) as wire:
        sending = asyncio.create_task(wire.send(*(data[at:to] for at, to in pairwise(cuts))))
        assert await wire.answers(40) == list(range(40))
        await sending


@pytest.mark.rule("E6")
@pytest.mark.parametrize("goodbye", [frame(b"41"), frame(struct.pack("!H", 1000), CLOSE)], ids=["41", "close"])
async def test_a_plain_executor_may_go_as_soon_as_it_has_sent_its_answer(
    live: LiveServer, http: httpx.AsyncClient, goodbye: bytes
) -> None:
    async with opened(live) as wire:
        session_id = json.loads(wire.connected[2:])["sid"]
        started = await ask(http, model="any", session_id=session_id)
        number, call = await wire.call()
        lines = [*(text_line(f"{at} ") for at in range(20)), "data: [DONE]"]
        packets = [f'43{number}[{{"status":true}}]', *(f"42{json.dumps([call['channel'], line])}" for line in lines)]
        await wire.send(b"".join(frame(packet.encode()) for packet in packets) + goodbye)
        state, _, text = await ended(http, started)
    assert (state, text) == ("done", "".join(f"{at} " for at in range(20)))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (frame(event(2), mask=b""), 1002),
        (frame(event(2), 3), 1002),
        (bytes([0xC1]) + frame(event(2))[1:], 1002),
        (frame(b"x" * 126, PING), 1002),
        (frame(b"be", last=False) + frame(event(2)), 1002),
        (b"\x81\xff" + struct.pack("!Q", 2**40) + MASK, 1009),
    ],
    ids=["not masked", "of no kind", "of an extension", "a long ping", "within a message", "too large"],
)
async def test_a_wrong_frame_ends_the_connection(live: LiveServer, wrong: bytes, code: int) -> None:
    async with opened(live) as wire:
        await wire.send(frame(event(1)))
        assert await wire.answers(1) == [1]
        await wire.send(wrong)
        rest = await wire.end()
    assert rest.startswith(bytes([0x80 | CLOSE]))
    assert int.from_bytes(rest[2:4]) == code


async def test_when_the_server_closes_the_clients_answer_ends_the_connection(live: LiveServer) -> None:
    async with opened(live) as wire:
        await wire.send(frame(b"4" + b"x" * MAX_PACKET, mask=b"\0\0\0\0"))
        assert (await asyncio.wait_for(wire.frame(), SECONDS))[0] == CLOSE
        await wire.send(frame(struct.pack("!H", 1000), CLOSE))
        async with asyncio.timeout(CLOSING_SECONDS):
            assert await wire.end() == b""


async def test_a_client_that_closes_is_answered(live: LiveServer) -> None:
    async with opened(live) as wire:
        await wire.send(frame(event(1)))
        assert await wire.answers(1) == [1]
        await wire.send(frame(struct.pack("!H", 1000), CLOSE))
        assert await wire.end() == bytes([0x80 | CLOSE, 2]) + struct.pack("!H", 1000)


@pytest.mark.rule("E6")
async def test_what_a_client_sends_behind_its_close_frame_does_not_count(
    live: LiveServer, http: httpx.AsyncClient
) -> None:
    async with opened(live) as wire:
        session_id = json.loads(wire.connected[2:])["sid"]
        started = await ask(http, model="any", session_id=session_id)
        number, call = await wire.call()
        before, behind = (
            frame(f"42{json.dumps([call['channel'], line])}".encode()) for line in (text_line("before"), "data: [DONE]")
        )
        claim = frame(f'43{number}[{{"status":true}}]'.encode())
        await wire.send(claim + before + frame(struct.pack("!H", 1000), CLOSE) + behind)
        state, _, text = await ended(http, started)
    assert (state, text) == ("interrupted", "before")
