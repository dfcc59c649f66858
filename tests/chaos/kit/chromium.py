"""One Chromium for all schedules of a campaign."""

import asyncio
from contextlib import AsyncExitStack

from playwright.async_api import Browser, async_playwright, expect

from tests.browser.chromium import launch
from tests.browser.kit.tab import MILLISECONDS, Visitor, visitor


class Chromium:
    """A browser that starts when somebody first asks for a profile."""

    def __init__(self) -> None:
        self._all = AsyncExitStack()
        self._starting = asyncio.Lock()
        self._browser: Browser | None = None

    async def visitor(self) -> Visitor:
        """A fresh profile."""
        async with self._starting:
            if self._browser is None:
                expect.set_options(timeout=MILLISECONDS)
                playwright = await self._all.enter_async_context(async_playwright())
                self._browser = await launch(playwright.chromium)
                self._all.push_async_callback(self._browser.close)
        return await visitor(self._browser, (), {})

    async def close(self) -> None:
        """Ends it, if it was started."""
        await self._all.aclose()
