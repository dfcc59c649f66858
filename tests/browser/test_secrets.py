"""A key that is typed into the page reaches its provider, and nobody else."""

from __future__ import annotations

import base64
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.chromium import INSECURE_HOST
from tests.browser.conftest import Serve, Visit
from tests.browser.kit.answers import TIDES
from tests.browser.kit.processes import Keyside
from tests.browser.kit.recorder import Recorder
from tests.browser.kit.tab import Tab
from tests.browser.kit.upstream import Call, Reply, Upstream


def spellings(key: str) -> set[bytes]:
    """The encodings of a key to search for."""
    raw = key.encode()
    # Three base64 texts, for the three places at which it can begin; their ends depend on what stands around it.
    encoded = {base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)}
    return {raw, raw[10:], raw[::-1], raw.hex().encode(), key.encode("utf-16-le")} | encoded


def stored(data_dir: Path) -> Iterator[bytes]:
    """Every file of the data directory, and every value of its database, unpacked."""
    for file in data_dir.iterdir():
        yield file.read_bytes()
    for file in data_dir.glob("*.db"):
        with closing(sqlite3.connect(file)) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):
                    yield from unpacked(row)


def unpacked(row: tuple[object, ...]) -> Iterator[bytes]:
    """The values of a row. Compressed ones are also returned decompressed."""
    for value in row:
        found = value if isinstance(value, bytes) else str(value).encode()
        yield found
        with suppress(zlib.error):
            yield zlib.decompress(found)


@pytest.mark.rule("S1", "E13")
async def test_a_key_is_in_no_byte_that_the_server_received_stored_logged_or_sent(
    visit: Visit, serve: Serve, recorder: Recorder, model_server: Upstream, key: str
) -> None:
    server = await serve(public_url=f"http://127.0.0.1:{recorder.port}", log_level="debug")
    recorder.target = server.port
    visitor = await visit()
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    await tab.send("Why are there tides?")
    await tab.reads(TIDES)
    await tab.ended()
    await echo_the_key(tab, model_server)
    await visitor.context.close()
    await server.stop()

    assert f"Bearer {key}" == model_server.chats[0].headers["authorization"]
    assert b"Why are there tides?" in recorder.sent  # so what is masked can be read here
    everything = [recorder.sent, recorder.got, server.log.read_bytes(), *stored(server.data_dir)]
    assert any(b"bulges" in one for one in everything[3:])  # and what is stored, too
    for spelling in spellings(key):
        assert not any(spelling in one for one in everything), f"found as {spelling!r}"


async def echo_the_key(tab: Tab, model_server: Upstream) -> None:
    """An upstream says the key in a refusal, and in the middle of a stream."""

    def refusal(call: Call) -> Reply:
        said = {"error": {"message": f"Incorrect API key provided: {call.headers['authorization'][7:]}"}}
        return Reply(401, "application/json", json.dumps(said))

    def stream(call: Call) -> Reply:
        chunk = {"choices": [{"delta": {"content": f"You sent {call.headers['authorization']}."}}]}
        return Reply(200, "text/event-stream", f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")

    model_server.reply = refusal
    await tab.get("new-chat").click()
    await tab.send("What is my key?")
    await tab.ended("error")
    await expect(tab.get("message-error")).to_contain_text("refused the key")
    await expect(tab.get("message-error")).to_contain_text("Incorrect API key provided: ")
    model_server.reply = stream
    await tab.get("regenerate").click()
    await tab.ended()
    await expect(tab.text).to_contain_text("You sent Bearer ")


@pytest.mark.rule("S4")
async def test_the_page_cannot_reach_what_its_worker_reaches(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    visitor = await visit()
    tab = await visitor.sign_in(server)
    await tab.connect(model_server, key)
    before = len(model_server.calls)
    assert before > 0  # by the worker; and no policy complained
    visitor.expected += ["connect-src", "Fetch API cannot load"]
    async with tab.page.expect_console_message(lambda message: "policy: connect-src stopped" in message.text):
        outcome = await tab.page.evaluate("url => fetch(url).catch(error => error.name)", model_server.url)
    assert outcome == "TypeError"
    assert len(model_server.calls) == before


@pytest.mark.rule("S4")
async def test_an_image_of_the_page_cannot_call_its_own_server(visit: Visit, server: Keyside) -> None:
    visitor = await visit()
    tab = await visitor.sign_in(server)
    visitor.expected += ["img-src"]
    async with tab.page.expect_console_message(lambda message: "policy: img-src stopped" in message.text):
        await tab.page.evaluate("() => { new Image().src = '/api/auth/me'; }")


async def test_on_plain_http_keys_live_in_memory_only_and_the_page_says_so(
    visit: Visit, serve: Serve, recorder: Recorder, model_server: Upstream, key: str
) -> None:
    server = await serve(public_url=f"http://{INSECURE_HOST}:{recorder.port}")
    recorder.target = server.port
    visitor = await visit()
    visitor.expected.append("Cross-Origin-Opener-Policy header has been ignored")
    tab = await visitor.sign_in(server)
    assert await tab.page.evaluate("() => [isSecureContext, typeof crypto.randomUUID]") == [False, "undefined"]
    await tab.open_connection_form()
    await expect(tab.page.get_by_text("Keys are kept in memory only")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await tab.connect(model_server, key)
    await tab.send("Why are there tides?")
    await tab.reads(TIDES)
    await tab.ended()
    await tab.page.reload()
    await tab.reads(TIDES)
    assert tab.origin == f"http://{INSECURE_HOST}:{recorder.port}"
