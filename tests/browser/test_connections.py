"""A connection is added and tested; what is wrong with it is said in plain words."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit
from tests.browser.kit.answers import GHOST, MODEL
from tests.browser.kit.processes import Keyside, free_port
from tests.browser.kit.tab import Tab
from tests.browser.kit.upstream import Call, Reply, Upstream

PROVIDERS = [
    "OpenAI",
    "DeepSeek",
    "OpenRouter",
    "Groq",
    "Ollama",
    "LM Studio",
    "llama.cpp",
    "Any OpenAI-compatible server",
]
PAGE = "<!doctype html><title>Welcome</title><p>It works!"


async def try_connection(visit: Visit, server: Keyside, url: str, key: str, ok: bool) -> Tab:
    """A tab whose connection form has been filled in and tested."""
    tab = await (await visit()).sign_in(server)
    await tab.fill_connection(url, key)
    await tab.get("connection-test").click()
    await expect(tab.get("connection-result")).to_have_attribute("data-ok", "true" if ok else "false")
    return tab


async def test_eight_providers_are_offered_and_the_base_url_is_filled_in(visit: Visit, server: Keyside) -> None:
    tab = await (await visit()).sign_in(server)
    await tab.open_connection_form()
    assert await tab.get("connection-provider").locator("option").all_inner_texts() == PROVIDERS
    await tab.get("connection-provider").select_option("deepseek")
    await expect(tab.get("connection-url")).to_have_value("https://api.deepseek.com")
    await expect(tab.get("connection-key")).to_have_attribute("type", "password")
    await tab.get("connection-provider").select_option("ollama")
    await expect(tab.get("connection-url")).to_have_value("http://localhost:11434/v1")
    await expect(tab.get("connection-key")).to_have_count(0)


async def test_a_test_lists_the_models_and_stores_nothing(
    visit: Visit, server: Keyside, model_server: Upstream, key: str
) -> None:
    tab = await try_connection(visit, server, model_server.url, key, ok=True)
    await expect(tab.get("connection-result")).to_contain_text("It works: 2 models.")
    await expect(tab.get("connection-result").locator("li")).to_have_text([MODEL, GHOST])
    assert model_server.calls[0].headers["authorization"] == f"Bearer {key}"
    await tab.page.reload()
    await expect(tab.status).to_contain_text("No connection yet")


async def test_a_connection_is_there_after_a_reload_and_its_key_is_not_shown(tab: Tab, key: str) -> None:
    await tab.page.reload()
    await expect(tab.status).to_contain_text("This browser is ready")
    await tab.get("settings").click()
    await tab.get("connection-edit").click()
    await expect(tab.get("connection-key")).to_have_value("")
    assert key not in await tab.page.content()
    await tab.get("connection-label").fill("The moon's server")
    await tab.get("connection-save").click()
    await expect(tab.get("connection")).to_contain_text("The moon's server")
    await expect(tab.get("connection")).to_contain_text("2 models")
    await tab.get("connection-remove").click()
    await tab.get("confirm").click()
    await expect(tab.get("connection")).to_have_count(0)


@pytest.mark.rule("S1")
async def test_a_key_is_not_sent_to_another_base_url_and_the_form_says_so(
    tab: Tab, model_server: Upstream, key: str
) -> None:
    await tab.get("settings").click()
    await tab.get("connection-edit").click()
    await expect(tab.get("connection-key")).to_have_attribute("placeholder", "Stored. Type to replace it")
    await tab.get("connection-url").fill(f"{model_server.url}/echo")
    await expect(tab.get("connection-key")).to_have_attribute("placeholder", "")
    await expect(tab.page.get_by_text("The stored key was entered for another base URL")).to_be_visible()
    calls = len(model_server.calls)
    await tab.get("connection-test").click()
    await expect(tab.get("connection-result")).to_be_visible()
    assert [call.headers.get("authorization") for call in model_server.calls[calls:]] == [None]
    await tab.get("connection-url").fill(f"{model_server.url}/")
    await expect(tab.get("connection-key")).to_have_attribute("placeholder", "Stored. Type to replace it")
    await tab.get("connection-test").click()
    await expect(tab.get("connection-result")).to_have_attribute("data-ok", "true")
    assert model_server.calls[-1].headers["authorization"] == f"Bearer {key}"


async def test_a_server_that_is_not_there_is_said_in_plain_words(visit: Visit, server: Keyside) -> None:
    tab = await try_connection(visit, server, f"http://127.0.0.1:{free_port()}/v1", "sk-any", ok=False)
    await expect(tab.get("connection-result")).to_contain_text("cannot be reached. Is it running")


async def test_a_wrong_key_is_said_in_plain_words(visit: Visit, server: Keyside, model_server: Upstream) -> None:
    tab = await try_connection(visit, server, model_server.url, "sk-wrong", ok=False)
    await expect(tab.get("connection-result")).to_contain_text("refused the key. Check it in the connection.")


async def test_a_web_page_in_place_of_a_model_server_is_said_in_plain_words(
    visit: Visit, server: Keyside, model_server: Upstream
) -> None:
    model_server.reply = lambda call: Reply(200, "text/html", PAGE)
    tab = await try_connection(visit, server, model_server.url, "sk-any", ok=False)
    await expect(tab.get("connection-result")).to_contain_text("Check the connection's base URL; most end with /v1.")


async def test_a_web_page_in_place_of_an_answer_is_said_in_the_chat(tab: Tab, model_server: Upstream) -> None:
    def page(call: Call) -> Reply | None:
        return Reply(200, "text/html", PAGE) if call in model_server.chats else None

    model_server.reply = page
    await tab.send("Why are there tides?")
    await tab.ended("error")
    await expect(tab.get("message-error")).to_contain_text("not a model's answer, such as a web page")


async def test_an_upstream_that_goes_away_is_said_in_the_chat(tab: Tab, model_server: Upstream) -> None:
    model_server.reply = lambda call: Reply(503, "application/json", '{"error": {"message": "Loading model"}}')
    await tab.send("Why are there tides?")
    await tab.ended("error")
    await expect(tab.get("message-error")).to_contain_text("answered with an error (503). It said: Loading model")


async def test_an_address_that_is_none_is_refused(visit: Visit, server: Keyside) -> None:
    tab = await try_connection(visit, server, "ftp://example.org", "", ok=False)
    await expect(tab.get("connection-result")).to_contain_text("http")
    await tab.get("connection-url").fill("not an address")
    await tab.get("connection-save").click()
    await expect(tab.get("connection-result")).to_contain_text("http")
    await expect(tab.get("connection")).to_have_count(0)
