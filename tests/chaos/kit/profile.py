"""A profile of a real Chromium: the page in its tabs is a viewer, and the worker behind them is an executor."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.async_api import Error, expect

from tests.browser.kit.tab import Tab, Visitor
from tests.chaos.kit.proxy import Proxy
from tests.chaos.kit.upstream import Upstream

LOAD_SECONDS = 30
"""The most seconds for which loading the page is repeated."""
_TRY_MILLISECONDS = 4000
_AGAIN_SECONDS = 0.3
_SHOWN = """answers => answers.map(answer => [
  answer.dataset.messageId,
  answer.dataset.status,
  answer.querySelector('[data-testid="message-text"]').textContent,
])"""
_BROKEN = ("uncaught: ", "policy: ")

Shown = tuple[str, str, str]
"""Of an answer: its id, its state, and its letters."""


def letters(text: str) -> str:
    """The letters of a text: the characters that Markdown neither removes nor adds."""
    return re.sub(r"[\W_]", "", text)


class Profile:
    """A browser profile, which is one executor whatever happens to its tabs. `name` is the executor's id."""

    def __init__(self, visitor: Visitor, proxy: Proxy) -> None:
        self._visitor = visitor
        self._proxy = proxy
        self._tab: Tab | None = None
        self._turn = asyncio.Lock()
        """Held by whoever does something with the tabs."""
        self._switch = asyncio.Lock()
        """Held while the network is switched and while a tab is opened. A tab opened in between would stay offline."""
        self.name = ""
        self.chat_id = 0
        self.alive = True
        self.dead: set[str] = set()
        """`who`, if the profile was closed."""

    @property
    def who(self) -> str:
        """The name under which it asks the upstream: its key. It does not begin as a name that it tells the server."""
        return f"browser-{self.name}-1"

    @property
    def broken(self) -> list[str]:
        """Console messages that must not occur, whatever happens to the network."""
        return [text for text in self._visitor.complaints if any(word in text for word in _BROKEN)]

    async def start(self, upstream: Upstream) -> None:
        """Opens the page, waits until its executor is announced, and enters a connection."""
        self._tab = await self._open()
        while not self.name:
            found = [each for each in await self._tab.executors() if each["kind"] == "browser"]
            self.name = found[0]["id"] if found else ""
            await asyncio.sleep(0 if found else 0.05)
        await self._tab.get("settings").click()  # there is a model already, so the page offers no connection by itself
        await self._tab.connect(upstream, self.who)

    async def show(self, chat_id: int) -> None:
        """Opens a chat, and keeps it open."""
        assert self._tab is not None
        self.chat_id = chat_id
        await self._tab.page.locator(f'[data-testid="chat-item"][data-chat-id="{chat_id}"] a').click()

    async def shown(self) -> list[Shown]:
        """The answers of the chat, as they are shown."""
        assert self._tab is not None
        answers = self._tab.page.locator('[data-testid="message"][data-role="assistant"]')
        return [(id, status, letters(text)) for id, status, text in await answers.evaluate_all(_SHOWN)]

    # --- faults ----------------------------------------------------------------------------------

    async def reload(self) -> None:
        """Reloads its only tab."""
        async with self._turn:
            assert self._tab is not None
            await self._load(self._tab)

    async def move(self) -> None:
        """Opens another tab, then closes the first."""
        async with self._turn:
            first = self._tab
            assert first is not None
            with self._dying():
                self._tab = await self._open()
                await first.page.close()

    async def lose_network(self, seconds: float) -> None:
        """Takes the browser offline for some seconds."""
        await self._set_offline(True)
        await self._proxy.swallow(seconds)
        await self._set_offline(False)

    async def kill(self) -> None:
        """Closes the profile with all its tabs and its worker."""
        self.dead.add(self.who)
        await self.close()

    async def close(self) -> None:
        """Closes the profile and removes its data."""
        self.alive = False
        await self._visitor.context.close()

    async def _set_offline(self, offline: bool) -> None:
        with self._dying():
            async with self._switch:
                await self._visitor.context.set_offline(offline)

    @contextmanager
    def _dying(self) -> Iterator[None]:
        """Ignores failures that occur because the profile is being closed."""
        try:
            yield
        except Error:
            if self.alive:
                raise

    # --- loading ---------------------------------------------------------------------------------

    async def _open(self) -> Tab:
        async with self._switch:
            tab = Tab(await self._visitor.context.new_page())
        await self._load(tab)
        return tab

    async def _load(self, tab: Tab) -> None:
        """Loads the page, and repeats it until it succeeds, as a person would."""
        address = f"http://127.0.0.1:{self._proxy.port}/" + (f"c/{self.chat_id}" if self.chat_id else "")
        async with asyncio.timeout(LOAD_SECONDS):
            while self.alive:
                try:
                    await tab.page.goto(address, timeout=_TRY_MILLISECONDS)
                    await expect(tab.composer).to_be_visible(timeout=_TRY_MILLISECONDS)
                    return
                except (Error, AssertionError):
                    await asyncio.sleep(_AGAIN_SECONDS)
