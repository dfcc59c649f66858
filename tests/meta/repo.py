"""What the tests of the repository itself share: its files, its documents, and the code in them."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
SPAN = re.compile(r"`([^`\n]+)`")


@cache
def files() -> tuple[str, ...]:
    """The paths of all files that belong to the repository, committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return tuple(sorted({path for path in listed.split("\0") if path and (ROOT / path).is_file()}))


@cache
def text_of(path: str) -> str:
    """The text of a file. It is empty if the file is not text or has been removed."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except (UnicodeDecodeError, FileNotFoundError):
        return ""


def documents() -> list[str]:
    """The paths of all documents that people read."""
    return [path for path in files() if path.endswith(".md")]


def blocks(path: str, language: str | None = None) -> Iterator[str]:
    """The fenced blocks of a document, of one language or of all."""
    for found in FENCE.finditer(text_of(path)):
        if language in (None, found[1]):
            yield found[2]


def spans(path: str) -> Iterator[str]:
    """The code spans in a document's prose. A span may be broken over two lines."""
    prose = re.sub(r"(?<=\S)\n(?=\S)", " ", FENCE.sub("", text_of(path)))
    for found in SPAN.finditer(prose):
        yield found[1].strip()


def commands(path: str, program: str) -> Iterator[list[str]]:
    """The words of every call of a program that a document shows, the program itself left out."""
    lines = [line for block in blocks(path, "") for line in block.splitlines()]
    for line in [*lines, *spans(path)]:
        code = line.split(" # ")[0]
        found = re.match(rf"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?{program}(?:\s+(.*))?$", code.strip())
        if found:
            yield (found[1] or "").split()
