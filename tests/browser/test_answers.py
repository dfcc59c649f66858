"""A message is sent, and its answer is shown word by word, whole, and as safe text."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.kit.answers import GHOST, HOSTILE, MARKDOWN, MODEL, SHORT, TIDES, after
from tests.browser.kit.tab import Tab
from tests.browser.kit.upstream import Upstream


@pytest.mark.rule("E2", "E5", "V2")
async def test_an_answer_appears_word_by_word_and_is_stored_as_it_was_sent(tab: Tab, model_server: Upstream) -> None:
    model_server.hold_after = 3
    await tab.send("Why are there tides?")
    await tab.reads(after(3))
    call = await model_server.chat()
    await call.let(8)
    await tab.reads(after(8))
    await expect(tab.answer).to_have_attribute("data-status", "streaming")
    await call.let(None)
    await tab.reads(TIDES)
    await tab.ended()
    question, answer = await tab.stored()
    assert (question["content"], answer["content"], answer["status"]) == ("Why are there tides?", TIDES, "sent")
    assert len(model_server.chats) == 1
    assert call.json["messages"] == [{"role": "user", "content": "Why are there tides?"}]
    assert call.json["model"] == MODEL


async def test_an_answer_that_was_said_before_is_sent_along_with_the_next_question(
    tab: Tab, model_server: Upstream
) -> None:
    await tab.send("Are you there?")
    await tab.reads(SHORT)
    await tab.ended()
    first = await tab.stored()
    # Nothing in the fixtures answers a second turn: what matters here is what was asked.
    await tab.send("And now?")
    asked = (await model_server.chat(1)).json["messages"]
    assert [one["content"] for one in asked] == ["Are you there?", SHORT, "And now?"]
    await tab.ended("error")
    assert (await tab.stored())[:2] == first


async def test_markdown_is_rendered_and_code_is_highlighted(tab: Tab) -> None:
    await tab.send("How do I add two numbers?")
    await tab.ended()
    await expect(tab.text.locator("strong")).to_have_text("how")
    code = tab.text.locator("pre code")
    await expect(code).to_have_text("def add(a: int, b: int) -> int:\n    return a + b")
    await expect(code.locator("span[style*=color]", has_text="def")).to_have_count(1)
    await expect(tab.text.locator("table td")).to_have_text(["add(1, 2)", "3"])
    await expect(tab.text.locator("li")).to_have_text(["exact", "quick"])
    link = tab.text.get_by_role("link", name="the manual")
    await expect(link).to_have_attribute("href", "https://example.org/add")
    await expect(link).to_have_attribute("rel", re.compile("noopener"))
    assert (await tab.stored())[1]["content"] == MARKDOWN


@pytest.mark.rule("S4")
async def test_an_answer_cannot_run_scripts_or_load_anything(tab: Tab) -> None:
    requested: list[str] = []
    tab.page.context.on("request", lambda request: requested.append(request.url))
    await tab.send("Be hostile")
    await tab.ended()
    link = tab.text.get_by_role("link", name="a picture")
    # To be followed by a click; it is not loaded.
    await expect(link).to_have_attribute("href", "https://tracker.invalid/pixel.png")
    await expect(tab.text.get_by_role("link", name="a call")).to_have_attribute("href", "/api/auth/sessions")
    await expect(tab.text).to_contain_text("The end.")
    await expect(tab.text).to_contain_text("<script>window.hacked='script'</script>")
    await expect(tab.text.locator("img, script, iframe, svg")).to_have_count(0)
    await tab.text.get_by_text("click me").click()
    assert await tab.page.evaluate("() => 'hacked' in window") is False
    assert [url for url in requested if not url.startswith(tab.origin)] == []
    assert [url for url in requested if url.endswith(("/sessions", "/tokens"))] == []
    assert (await tab.stored())[1]["content"] == HOSTILE


@pytest.mark.rule("E7")
async def test_a_stream_that_ends_without_its_end_mark_is_said_to_be_incomplete(
    tab: Tab, model_server: Upstream
) -> None:
    model_server.close_after = 8
    await tab.send("Why are there tides?")
    await tab.ended("error")
    await tab.reads(after(8))
    await expect(tab.get("message-error")).to_contain_text("The upstream ended before the answer was complete.")
    assert (await tab.stored())[1]["content"] == after(8)


@pytest.mark.rule("E7")
async def test_a_connection_that_breaks_in_mid_stream_is_said_and_the_text_is_kept(tab: Tab) -> None:
    await tab.send("Something broken")
    await tab.ended("error")
    await expect(tab.get("message-error")).to_contain_text("The upstream ended before the answer was complete.")
    kept = (await tab.stored())[1]["content"]
    assert kept
    assert TIDES.startswith(kept)
    await tab.reads(kept.strip())


async def test_a_model_that_does_not_exist_is_said_in_plain_words_and_the_question_stays(
    tab: Tab, model_server: Upstream
) -> None:
    await tab.choose(GHOST)
    await tab.send("Why are there tides?")
    await tab.ended("error")
    await expect(tab.get("message-error")).to_contain_text(f"does not know the model {GHOST}. Choose another one.")
    await expect(tab.questions).to_have_text(["Why are there tides?"])
    await tab.choose(MODEL)
    await tab.get("regenerate").click()
    await tab.reads(TIDES)
    await tab.ended()


@pytest.mark.rule("E9", "R5")
async def test_stop_ends_the_request_upstream_and_keeps_what_was_there(tab: Tab, model_server: Upstream) -> None:
    model_server.hold_after = 5
    await tab.send("Why are there tides?")
    await tab.reads(after(5))
    await tab.get("stop").click()
    await (await model_server.chat()).until_left()
    await tab.ended("aborted")
    await expect(tab.get("stopped")).to_be_visible()
    await tab.reads(after(5))
    assert (await tab.stored())[1]["content"] == after(5)
    model_server.hold_after = None
    await tab.get("regenerate").click()
    await tab.reads(TIDES)
    await expect(tab.get("branches")).to_have_text("2/2")
