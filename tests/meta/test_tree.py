"""The files of the repository keep the project's rules, and name neither a machine nor a registry."""

import ast
import json
import re
from collections.abc import Iterator

from tests.meta.repo import files, text_of

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
OURS = re.compile(r"^(server/keyside|tests|executor_js)/.*\.(py|tsx?|css|js|mjs)$|^hatch_build\.py$")
GENERATED = re.compile(r"\.gen\.ts$")
PLACES = re.compile(r"(?<![\w.~$}*-])/" + r"(?:work|tmp|opt|root|home)" + r"/[\w.]|(?<![\w.~/-])/" + r"root\b")
REGISTRIES = re.compile(
    r"registry\."
    + r"(npmjs|yarnpkg)|npm"
    + r"mirror\.|pypi\."
    + r"(org/simple|tuna)|python"
    + r"hosted\.org|mirrors\."
    + r"\w+\."
)


def ours() -> Iterator[str]:
    """The files that are written by hand."""
    return (path for path in files() if OURS.match(path) and not GENERATED.search(path))


def test_no_file_is_too_long() -> None:
    long = {path: count for path in ours() if (count := text_of(path).count("\n")) > MOST_LINES}
    assert long == {}


def test_no_function_is_too_long() -> None:
    long = {}
    for path in ours():
        if path.endswith(".py") and "/migrations/versions/" not in path:
            for node in ast.walk(ast.parse(text_of(path))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    if lines > MOST_LINES_OF_A_FUNCTION:
                        long[f"{path}: {node.name}"] = lines
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = []
    for path in ours():
        if not re.search(r"^tests/|\.test\.tsx?$|\.(css|js|mjs)$|\.d\.ts$", path):
            first = text_of(path).lstrip()
            if first and not first.startswith(('"""', "/**", "//")):
                silent.append(path)
    assert silent == []


def found(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in files()
        if path != "tests/meta/test_tree.py"
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_place_of_a_machine() -> None:
    assert found(PLACES) == []


def test_no_file_names_a_registry() -> None:
    assert found(REGISTRIES) == []


def test_lock_files_name_no_host() -> None:
    packages = json.loads(text_of("executor_js/package-lock.json"))["packages"]
    assert len(packages) > 50
    assert [name for name, package in packages.items() if "resolved" in package] == []
    python = text_of("requirements.lock")
    assert python.count("--hash=") > 50
    assert [line for line in python.splitlines() if "://" in line or line.lstrip().startswith(("-i", "-f", "--"))] == [
        line for line in python.splitlines() if line.lstrip().startswith("--hash=")
    ]


def test_the_patterns_find_what_they_look_for() -> None:
    for text in ("see /" + "work/main", "/" + "tmp/x", "cd /" + "root", "/" + "opt/keyside/bin", "'/" + "home/me'"):
        assert PLACES.search(text), text
    for text in ("/worker/shared.js", "https://x.org/root/a", "docs/work/x", "~/.local", "./tmp/x", "//rooted"):
        assert not PLACES.search(text), text
    assert REGISTRIES.search("https://registry." + "npmjs.org/react")
