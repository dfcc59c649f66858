"""Builds the page, its workers and the companion into the package before it is packed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE_FOLDERS = ("src", "page")
SOURCE_FILES = ("package.json", "package-lock.json", "*.config.ts", "tsconfig*.json")
STEPS = (
    ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"),
    ("npm", "run", "build"),
)


class PageBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Brings `server/keyside/static/` up to date, or uses what is there when npm is absent."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run by hatchling ahead of every target: wheel, editable and sdist."""
        root = Path(self.root)
        executor = root / "executor_js"
        built = (
            root / "server/keyside/static/index.html",
            root / "server/keyside/static/companion/keyside-executor.mjs",
        )
        if _is_current(built, executor):
            return
        if shutil.which("npm") is None or not (executor / "package.json").is_file():
            if all(path.is_file() for path in built):
                self.app.display_warning("npm is not here: using the page as it was built before")
                return
            raise RuntimeError(
                "The page is not built and npm is not here. "
                "Install Node 20.19 or newer, or install a wheel or an sdist, which carry the built page."
            )
        for step in STEPS:
            if subprocess.run(step, cwd=executor, check=False).returncode != 0:
                raise RuntimeError(f"`{' '.join(step)}` failed in executor_js; its output is above")


def _is_current(built: tuple[Path, ...], executor: Path) -> bool:
    """Whether every product is there and no source is newer. In an sdist all times are the same."""
    if not all(path.is_file() for path in built):
        return False
    oldest = min(path.stat().st_mtime for path in built)
    return all(source.stat().st_mtime <= oldest for source in _sources(executor))


def _sources(executor: Path) -> Iterator[Path]:
    for folder in SOURCE_FOLDERS:
        yield from (path for path in (executor / folder).rglob("*") if path.is_file())
    for pattern in SOURCE_FILES:
        yield from executor.glob(pattern)
