"""A browser that can be suspended: all of its processes are stopped, as on a laptop that sleeps."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser

from tests.browser.kit.tab import Visitor


@dataclass
class Laptop:
    """A browser for one test, with its only profile."""

    visitor: Visitor
    process: int
    """The id of the browser's first process."""

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Stops all processes of the browser while the block runs. Its pages must not be used meanwhile."""
        stopped: list[int] = []
        try:
            # The first one first: then it starts no more of them.
            for process in tree(self.process):
                os.kill(process, signal.SIGSTOP)
                stopped.append(process)
            yield
        finally:
            for process in stopped:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)


async def first_process(browser: Browser) -> int:
    """The id of the process that a browser was started as."""
    session = await browser.new_browser_cdp_session()
    found = await session.send("SystemInfo.getProcessInfo")
    await session.detach()
    [process] = [one["id"] for one in found["processInfo"] if one["type"] == "browser"]
    return int(process)


def tree(process: int) -> Iterator[int]:
    """A process and all of its descendants."""
    yield process
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(OSError):  # it ended while we looked
            for child in (task / "children").read_text().split():
                yield from tree(int(child))
