"""Bytes on HTTP and WebSocket connections that are broken in seeded ways, each connection bounded in time."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from random import Random

from tests.fuzz.doors.target import ARRIVAL_SECONDS, Target

AT_ONCE = 40
END_SECONDS = 20
"""Within this a connection must have ended on which nobody has signed in: idle ones are kept for five seconds."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")

_CRLF = b"\r\n"


@dataclass(frozen=True)
class Spell:
    """What is sent on one connection: some pieces, with a turn of the event loop between them."""

    caller: str
    handshake: bytes
    """What is sent ahead of the pieces, and answered before they are sent. It may be nothing."""
    pieces: tuple[bytes, ...]
    stays: bool
    """Whether somebody may have signed in there, so that the connection may stay."""


# --- HTTP ----------------------------------------------------------------------------------------


def _request(line: str, *headers: str, body: bytes = b"") -> bytes:
    head = [line, "Host: {host}", "{credentials}", *headers]
    return "\r\n".join(head).encode() + _CRLF * 2 + body


def _json(method: str, path: str, body: bytes) -> bytes:
    sized = (f"Content-Length: {len(body)}", "Content-Type: application/json")
    return _request(f"{method} {path} HTTP/1.1", *sized, body=body)


def _chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return _request("POST /api/chats HTTP/1.1", "Transfer-Encoding: chunked", body=body)


_POLL = "/ws?EIO=4&transport=polling"
REQUESTS = (
    _request("GET /health HTTP/1.1"),
    _request("GET / HTTP/1.1", "Accept: text/html"),
    _request("GET /api/chats?limit=3 HTTP/1.1"),
    _request(f"GET {_POLL} HTTP/1.1"),
    _request(f"GET {_POLL}&sid=%0a2026-01-01%20forged HTTP/1.1"),
    _request("POST /api/auth/logout HTTP/1.1", "Content-Length: 0"),
    _json("POST", f"{_POLL}&sid=AAAA", b"40"),
    _json("POST", "/api/auth/redeem", b'{"code": "abc"}'),
    _json("POST", "/api/chats", b'{"title": "t"}'),
    _json("POST", "/api/chat/completions", b'{"model": "nobody/none", "messages": [{"role": "user", "content": "x"}]}'),
    _chunked(b'{"title":', b' "t"}', b""),
)
_HEADERS = (
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: 40000000",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Expect: 100-continue",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AA==",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA",
    b"Connection: close, keep-alive",
    b"Host: elsewhere",
    b"Cookie: keyside_session=\xff\xfe.x",
    b"Authorization: Bearer ks_\xf0\x28",
    b"Keyside-Wait: " + b"9" * 4_301,
    b"Last-Event-ID: " + b"9" * 4_301,
    b"X-Long: " + b"x" * 20_000,
    b"X-Longer: " + b"x" * 200_000,
    b"Range: bytes=0-0,1-1,2-" + b",3-3" * 500,
    b"X-Folded: a\r\n b",
    b"No-Colon",
)
_LINES = (b"PRI * HTTP/2.0", b"GET /\0 HTTP/1.1", b"GET http://elsewhere/ HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET /")
_CHUNKS = (
    b"-1\r\n",
    b"fffffffffffffffff\r\n",
    b"3;x=" + b"y" * 9_000 + b"\r\n",
    b"5\r\nab",
    b"0\r\nTrailer: x\r\n\r\n",
    b"z\r\n",
)


def _broken(data: bytes, dice: Random) -> bytes:
    """The bytes with a few mistakes of any kind."""
    for _ in range(dice.randint(0, 3)):
        at = dice.randint(0, len(data))
        kind = dice.randrange(5)
        if kind == 0:
            data = data[:at]
        elif kind == 1 and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + dice.randbytes(dice.randint(1, 9)) + data[at:]
        elif kind == 3:
            data = data[:at] + data[at : at + 40] * dice.randint(2, 400) + data[at:]
        else:
            data = data[:at] + dice.choice((b"\0", b"\r", b"\n", _CRLF * 2, b"\xff")) + data[at:]
    return data


def _http(dice: Random) -> bytes:
    data = dice.choice(REQUESTS)
    if dice.random() < 0.5:
        head, _, body = data.partition(_CRLF * 2)
        data = _CRLF.join([head, dice.choice(_HEADERS)]) + _CRLF * 2 + body
    if dice.random() < 0.15:
        data = dice.choice(_LINES) + _CRLF + data.partition(_CRLF)[2]
    if dice.random() < 0.15:
        data = _chunked(b"{")[:-2] + dice.choice(_CHUNKS) * dice.choice((1, 50))
    if dice.random() < 0.15:
        data *= dice.choice((3, 40))
    return data if dice.random() < 0.3 else _broken(data, dice)


# --- WebSocket -----------------------------------------------------------------------------------

_HANDSHAKE = _request(
    "GET /ws?EIO=4&transport=websocket HTTP/1.1",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)
PACKETS = (
    *(b"", b"0", b"1", b"2", b"2probe", b"3", b"3x", b"4", b"5", b"6", b"7", b"8x", b"bAAAA", b"9" * 30, b"\xff\xfe"),
    *(b"40", b"40{}", b'40{"token":1}', b'40{"token":"ks_x"}', b"40/admin,", b"40[", b"41", b"41/admin,", b"44", b"46"),
    *(b"42", b"421", b"42[]", b"42[1]", b'42["chat:open"]', b'421["chat:open",{"chat_id":1}]', b'42/x,1["a"]', b"42{"),
    *(b'42["connect","x",{}]', b'421["disconnect"]', b'421["*"]', b'4299999999999999999999["a"]', b'42-1["a"]'),
    *(b"43", b"431[]", b"4399999[1]", b"43x", b'431-["a"]', b"451-", b'451-["a",{"_placeholder":true,"num":0}]'),
    *(
        b'451-1["chat:open",{"_placeholder":true,"num":0}]',
        b'45999999-["a"]',
        b"461-1[1]",
        b'462-1["a"]',
        b"47",
        b"4\0",
    ),
    *(b'421["executor:ready",' + b"[" * 5_000, b'421["' + b"x" * 3_000 + b'"]', b"4" + b"2" * 4_400 + b"[1]"),
)


def _frame(dice: Random, payload: bytes) -> bytes:
    """A frame that is right in most parts."""
    opcode = dice.choice((1, 1, 1, 1, 1, 1, 1, 0, 2, 8, 9, 10, 3, 15))
    first = opcode | (0x80 if dice.random() < 0.9 else 0) | (dice.choice((0x10, 0x40)) if dice.random() < 0.04 else 0)
    masked = 0x80 if dice.random() < 0.96 else 0
    size = len(payload) if dice.random() < 0.96 else dice.choice((0, 5, 126, 2**31, 2**63, 2**64 - 1))
    if size < 126 and dice.random() < 0.97:
        head = bytes([first, masked | size])
    elif size < 65536 and dice.random() < 0.97:
        head = bytes([first, masked | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, masked | 127]) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    mask = dice.randbytes(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def _flood(dice: Random) -> bytes:
    """Very many small frames of one kind."""
    first, payload = dice.choice(
        ((0x89, b"p" * 100), (0x8A, b""), (0x01, b"4"), (0x00, b"x"), (0x81, b""), (0x81, b"2"))
    )
    return (bytes([first, 0x80 | len(payload)]) + b"\0\0\0\0" + payload) * dice.choice((50, 1_200, 5_000))


def _websocket(dice: Random, signs_in: bool) -> bytes:
    frames = [_frame(dice, dice.choice(PACKETS)) for _ in range(dice.randint(1, 25))]
    if signs_in:
        frames.insert(0, b"\x81\x82\0\0\0\x0040")
    if dice.random() < 0.3:
        frames.insert(dice.randint(0, len(frames)), _flood(dice))
    data = b"".join(frames)
    return data if dice.random() < 0.7 else _broken(data, dice)


# --- playing -------------------------------------------------------------------------------------


def spells(count: int, seed: int) -> list[Spell]:
    """What is sent on so many connections."""
    dice = Random(seed)
    return [_spell(dice) for _ in range(count)]


def _spell(dice: Random) -> Spell:
    caller = dice.choice(("nobody", "cookie"))
    signs_in = caller == "cookie" and dice.random() < 0.7
    is_http = dice.random() < 0.5
    data = _http(dice) if is_http else _websocket(dice, signs_in)
    most = dice.choice((len(data), len(data), 1 + len(data) // 7, 1000))
    if dice.random() < 0.05:
        data = data[: dice.randint(0, 30)]  # half-open: what follows never comes
    pieces = tuple(data[at : at + most] for at in range(0, len(data), most or 1))
    return Spell(caller, b"" if is_http else _HANDSHAKE, pieces, stays=caller == "cookie")


async def play(target: Target, spells: Sequence[Spell]) -> None:
    """Sends all, many at the same time."""
    waiting = iter(spells)

    async def work() -> None:
        for spell in waiting:
            await _cast(target, spell)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def _cast(target: Target, spell: Spell) -> None:
    host, port = target.server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    heard = b""
    try:
        async with asyncio.timeout(ARRIVAL_SECONDS if spell.stays else END_SECONDS):
            if spell.handshake:
                writer.write(_filled(target, spell.caller, spell.handshake))
                heard += await reader.readuntil(_CRLF * 2)
            for piece in spell.pieces:
                writer.write(_filled(target, spell.caller, piece))
                await asyncio.sleep(0)
            while part := await reader.read(65536):
                heard += part
    except TimeoutError:
        if not spell.stays:
            target.blame("a connection was kept on which nobody has signed in", spell.caller, spell.pieces)
    except (OSError, EOFError):  # the server has cut it off
        pass
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
    target.hear(heard, spell.pieces)
    for status in _STATUS.findall(heard):
        if int(status) == HTTPStatus.INTERNAL_SERVER_ERROR:
            target.blame("500", spell.pieces)


def _filled(target: Target, caller: str, data: bytes) -> bytes:
    """The bytes with the server's address and the caller's credentials."""
    credentials = "\r\n".join(f"{name}: {value}" for name, value in target.headers[caller].items())
    host = target.server.url.removeprefix("http://")
    return data.replace(b"{host}", host.encode()).replace(b"{credentials}", credentials.encode() or b"X-Nobody: x")
