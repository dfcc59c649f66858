"""One tab of a browser, with methods for what a person does and sees in it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Route, WebError, expect

from tests.browser.kit.answers import TIDES, after
from tests.browser.kit.processes import Keyside
from tests.browser.kit.upstream import BOUND, Call, Upstream

MILLISECONDS = BOUND * 1000

CSP_WATCH = """addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} stopped ${event.blockedURI}`));"""


class HasAddress(Protocol):
    """An upstream that can be added as a connection."""

    @property
    def url(self) -> str:
        """The address that is entered as base URL."""


@dataclass
class Tab:
    """One page of one browser profile."""

    page: Page

    def get(self, name: str) -> Locator:
        """An element by its `data-testid`."""
        return self.page.get_by_test_id(name)

    @property
    def composer(self) -> Locator:
        """Where messages are typed."""
        return self.get("composer")

    @property
    def status(self) -> Locator:
        """The line below the composer."""
        return self.get("status-line")

    @property
    def questions(self) -> Locator:
        """The user's messages."""
        return self.page.locator('[data-testid="message"][data-role="user"]')

    @property
    def answer(self) -> Locator:
        """The newest message of the model."""
        return self.page.locator('[data-testid="message"][data-role="assistant"]').last

    @property
    def text(self) -> Locator:
        """The text of the newest message of the model."""
        return self.answer.get_by_test_id("message-text")

    @property
    def chats(self) -> Locator:
        """The list at the side."""
        return self.get("chat-item")

    async def ready(self) -> None:
        """Waits until messages can be written."""
        await expect(self.composer).to_be_visible()

    async def open_connection_form(self) -> None:
        """The form of a new connection."""
        await self.get("add-connection").first.click()
        await expect(self.get("connection-provider")).to_be_visible()

    async def fill_connection(self, url: str, key: str, provider: str = "custom") -> None:
        """Types a connection into the form, and leaves it there."""
        await self.open_connection_form()
        await self.get("connection-provider").select_option(provider)
        await self.get("connection-url").fill(url)
        await self.get("connection-key").fill(key)

    async def connect(self, upstream: HasAddress, key: str) -> None:
        """Adds the upstream as a connection, and waits until its models can be asked."""
        await self.fill_connection(upstream.url, key)
        await self.get("connection-save").click()
        await expect(self.get("connection")).to_have_count(1)
        await self.page.keyboard.press("Escape")
        await expect(self.page.locator("dialog[open]")).to_have_count(0)
        await expect(self.status).to_contain_text("This browser is ready")

    async def link_for_another_device(self) -> str:
        """Makes a link in the settings."""
        await self.get("settings").click()
        await self.get("settings-devices").click()
        await self.get("add-device").click()
        link = await self.get("device-link").input_value()
        await self.page.keyboard.press("Escape")
        await expect(self.page.locator("dialog[open]")).to_have_count(0)
        return link

    async def choose(self, model: str) -> None:
        """Chooses a model."""
        await self.get("model-picker").click()
        await self.page.locator(f'[data-testid="model-option"][data-model$="{model}"]').click()

    async def send(self, text: str) -> None:
        """Sends a message."""
        await self.composer.fill(text)
        await self.get("send").click()

    async def begin(
        self, upstream: Upstream, question: str = "Why are there tides?", answer: str = TIDES, events: int = 5
    ) -> Call:
        """Asks, and returns the upstream's call once the answer is held back in its middle."""
        number = len(upstream.chats)
        upstream.hold_after = events
        await self.send(question)
        await self.reads(after(events, answer))
        upstream.hold_after = None
        return await upstream.chat(number)

    @asynccontextmanager
    async def holding(self, pattern: str) -> AsyncIterator[None]:
        """Holds back requests to matching addresses while the block runs."""
        over = asyncio.Event()

        async def hold(route: Route) -> None:
            await over.wait()
            await route.continue_()

        await self.page.route(pattern, hold)
        try:
            yield
        finally:
            over.set()
            await self.page.unroute_all(behavior="wait")

    async def reads(self, text: str) -> None:
        """Waits until the answer's present text is exactly this."""
        await expect(self.text).to_have_text(text)

    async def ended(self, status: str = "sent") -> None:
        """Waits until the answer has this state."""
        await expect(self.answer).to_have_attribute("data-status", status)

    @property
    def origin(self) -> str:
        """The server's."""
        parts = urlsplit(self.page.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def path(self) -> str:
        """The address without the origin."""
        return self.page.url.removeprefix(self.origin)

    async def stored(self) -> list[dict[str, Any]]:
        """The messages of the open chat as the server has stored them."""
        number = self.path.removeprefix("/c/")
        found = await self.page.request.get(f"{self.origin}/api/chats/{number}/messages")
        assert found.ok, await found.text()
        items: list[dict[str, Any]] = (await found.json())["items"]
        return items

    async def executors(self) -> list[dict[str, Any]]:
        """What the server knows of the account's devices."""
        found = await self.page.request.get(f"{self.origin}/api/executors")
        items: list[dict[str, Any]] = (await found.json())["items"]
        return items


@dataclass
class Visitor:
    """One browser profile: its tabs share cookies, storage and the executor."""

    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    """What the pages wrote to the console about errors."""
    expected: list[str] = field(default_factory=list)
    """Patterns of complaints that belong to the test."""

    async def tab(self, address: str) -> Tab:
        """A new tab at an address."""
        page = await self.context.new_page()
        await page.goto(address)
        return Tab(page)

    async def sign_in(self, server: Keyside | str) -> Tab:
        """A new tab, signed in by a link and a click."""
        tab = await self.tab(server if isinstance(server, str) else server.link)
        await tab.get("signin-confirm").click()
        await tab.ready()
        return tab

    def hear(self, message: ConsoleMessage) -> None:
        """Notes one line of the console."""
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def crash(self, error: WebError) -> None:
        """Notes an uncaught error of a script."""
        self.complaints.append(f"uncaught: {error.error}")

    def unexpected(self) -> list[str]:
        """Complaints that no test expects."""
        return [text for text in self.complaints if not any(re.search(pattern, text) for pattern in self.expected)]


async def visitor(browser: Browser, scripts: Sequence[str], options: dict[str, Any]) -> Visitor:
    """A fresh profile; `scripts` run before those of each page."""
    context = await browser.new_context(
        **{"viewport": {"width": 1100, "height": 760}, "locale": "en-US", "reduced_motion": "reduce", **options}
    )
    context.set_default_timeout(MILLISECONDS)
    made = Visitor(context)
    context.on("console", made.hear)
    context.on("weberror", made.crash)
    for script in (CSP_WATCH, *scripts):
        await context.add_init_script(script)
    return made
