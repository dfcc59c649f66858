"""Finds a Chromium for the tests, installs one where there is none, and starts it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserType

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_SECONDS = 300
INSECURE_HOST = "keyside.test"
"""A name of this machine that browsers do not trust as they trust localhost."""
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1",
)
HELP = (
    "No Chromium was found, and none could be installed. Install one (on Debian, as root: "
    "apt-get install chromium), or set CHROMIUM to the path of a Chromium or Chrome."
)


class NoChromium(Exception):
    """There is no usable browser. The message says what to do."""


async def launch(chromium: BrowserType) -> Browser:
    """Starts one."""
    # In a thread: Playwright does not say where its own is while an event loop runs.
    path = await asyncio.to_thread(find_chromium)
    return await chromium.launch(executable_path=path, args=FLAGS)


def find_chromium() -> Path:
    """The browser to test with: `CHROMIUM`, the machine's, Playwright's, or Debian's, in this order.

    Installs one where there is none. Raises NoChromium, never returns a browser that does not start.
    """
    chosen = os.environ.get("CHROMIUM")
    if chosen:
        if starts(Path(chosen)):
            return Path(chosen)
        raise NoChromium(f"CHROMIUM is {chosen!r}, and that is no browser that starts.")
    ways: tuple[Callable[[], Iterator[Path]], ...] = (on_path, of_playwright, from_playwright, from_debian)
    for way in ways:
        for path in way():
            if starts(path):
                return path
    raise NoChromium(HELP)


def starts(path: Path) -> bool:
    """Whether the program runs at all: a download without its system libraries does not."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def on_path() -> Iterator[Path]:
    """Browsers that the machine has."""
    for name in NAMES:
        if found := shutil.which(name):
            yield Path(found)


def of_playwright() -> Iterator[Path]:
    """The browser that Playwright downloaded at some time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
    if path.is_file():
        yield path


def from_playwright() -> Iterator[Path]:
    """Playwright's own download, which needs the open internet."""
    install = [sys.executable, "-m", "playwright", "install", "--no-shell"]
    if is_root() and shutil.which("apt-get"):
        install.append("--with-deps")
    if run([*install, "chromium"]):
        yield from of_playwright()


def from_debian() -> Iterator[Path]:
    """Debian's package, where we may install it."""
    if not is_root() or shutil.which("apt-get") is None:
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], quiet)
    if run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium"], quiet):
        yield from on_path()


def is_root() -> bool:
    """Whether this process is root, and may install packages."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> bool:
    """Run an installer, saying so on stderr; a failure or a timeout is False."""
    say(f"Trying: {' '.join(command)}")
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"That failed: {error}")
        return False
    if done.returncode != 0:
        say("That failed; its last lines:\n" + "\n".join(done.stdout.splitlines()[-5:]))
    return done.returncode == 0


def say(text: str) -> None:
    """Progress goes to stderr: stdout is the path alone."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Print the path of the browser, or say on stderr why there is none."""
    try:
        print(find_chromium())
    except NoChromium as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
