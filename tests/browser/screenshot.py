"""Draws `docs/images/two-tabs.png`: one answer, written live in two tabs. Run `python -m tests.browser.screenshot`."""

from __future__ import annotations

import asyncio
import base64
import tempfile
from pathlib import Path

from playwright.async_api import Browser, async_playwright, expect

from tests.browser.chromium import launch
from tests.browser.kit.processes import Keyside
from tests.browser.kit.tab import MILLISECONDS, Tab, visitor
from tests.browser.kit.upstream import ROOT, aimock, gate

PICTURE = ROOT / "docs" / "images" / "two-tabs.png"
MODEL = "llama-3.3-70b"
KEY = "sk-only-for-the-picture"
TAB = {"width": 776, "height": 680}
LIGHT = {"viewport": TAB, "color_scheme": "light"}

EARLIER = {
    "Plan a weekend in Lisbon": "Gladly. When do you arrive?",
    "Why is my sourdough so flat?": "Most often the starter is not active enough.",
    "Explain the CAP theorem": "During a network partition a store must choose.",
}
QUESTION = "How do I retry a flaky HTTP call?"
ANSWER = """\
In a loop, with a pause that doubles each time:

```python
def get(url: str, tries: int = 5) -> Response:
    for attempt in range(tries):
        try:
            return httpx.get(url, timeout=10)
        except httpx.TransportError:
            if attempt == tries - 1:
                raise
            sleep(2**attempt + random())
```

A little chance keeps many clients from coming back in the same moment. And **retry only what may be repeated**: a \
`GET` is safe, a `POST` that charges a card is not.
"""
SHOWN = ANSWER.index("may be repeated")
"""How far the answer has come."""

FRAME = """<!doctype html><style>
  body { margin: 0; padding: 20px; display: flex; gap: 16px; background: #d9d5cc; font: 12px system-ui, sans-serif; }
  figure { margin: 0; border-radius: 10px; overflow: hidden; background: #efece6; box-shadow: 0 6px 24px #0003; }
  figcaption { height: 30px; padding: 0 12px; display: flex; align-items: center; gap: 6px; color: #6b675f; }
  i { width: 10px; height: 10px; border-radius: 5px; background: #c9c4b9; } span { margin-left: 8px; }
  img { display: block; width: 776px; height: 680px; }
</style><body>"""


def fixtures() -> list[dict[str, object]]:
    """What the model says."""
    answers = {**EARLIER, QUESTION: ANSWER}
    return [
        {"match": {"userMessage": question, "model": MODEL}, "response": {"content": answer}, "chunkSize": 1}
        for question, answer in answers.items()
    ]


async def draw(browser: Browser, server: Keyside, upstream_url: str) -> bytes:
    """Two tabs in the middle of an answer, side by side."""
    async with gate(upstream_url) as model_server:
        profile = await visitor(browser, [], LIGHT)
        first = await profile.sign_in(server)
        await first.connect(model_server, KEY)
        for question in EARLIER:
            await first.get("new-chat").click()
            await first.send(question)
            await first.ended()
        await first.get("new-chat").click()
        model_server.hold_after = SHOWN + 1
        await first.send(QUESTION)
        await expect(first.answer).to_have_attribute("data-status", "streaming")
        second = await profile.tab(first.page.url)
        shots = [await shot(tab) for tab in (first, second)]
        await profile.context.close()
    return await side_by_side(browser, shots)


async def shot(tab: Tab) -> bytes:
    """A tab that shows all there is, with its code in colours."""
    await tab.page.bring_to_front()
    await expect(tab.text).to_contain_text("retry only what")
    await expect(tab.text.locator("pre code span[style*=color]", has_text="httpx").first).to_be_visible()
    await tab.page.mouse.move(0, 0)
    return await tab.page.screenshot(animations="disabled", caret="hide")


async def side_by_side(browser: Browser, shots: list[bytes]) -> bytes:
    """The pictures in the frames of two windows."""
    tabs = "".join(
        f"<figure><figcaption><i></i><i></i><i></i><span>{name}</span></figcaption>"
        f'<img src="data:image/png;base64,{base64.b64encode(one).decode()}"></figure>'
        for name, one in zip(("One tab", "Another tab"), shots, strict=True)
    )
    page = await browser.new_page(viewport={"width": 1608, "height": 750})
    await page.set_content(FRAME + tabs)
    return await page.screenshot()


async def main() -> None:
    """Starts everything, and writes the picture."""
    expect.set_options(timeout=MILLISECONDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Keyside(folder / "data")
        await server.start()
        try:
            async with aimock(folder, fixtures(), [KEY]) as url, async_playwright() as playwright:
                browser = await launch(playwright.chromium)
                picture = await draw(browser, server, url)
                await browser.close()
        finally:
            await server.stop()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_bytes(picture)
    print(f"{PICTURE.relative_to(ROOT)}: {len(picture) // 1024} KiB")


if __name__ == "__main__":
    asyncio.run(main())
