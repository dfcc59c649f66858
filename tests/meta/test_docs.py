"""The documents name only what exists: files, folders, make targets, commands, options, links, variables, calls."""

import ast
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest
import typer

from keyside import cli
from keyside.app import MemoryStore, create_app
from keyside.settings import Settings
from tests.meta.repo import ROOT, blocks, commands, documents, files, spans, text_of

CODE = re.compile(r"\.(?:py|tsx?|mjs|js|md|json|toml|lock|css|html|png|svg)$")
NOT_OURS = {"executor.json", "config.json", "openapi.json"}
"""Files that a document names and that are made or served at run time."""
BUILT = ("server/keyside/static/", ".venv/")

pages = pytest.mark.parametrize("page", documents())


def exists(name: str) -> bool:
    """Whether a file or a folder of the repository has this path, or one that ends with it."""
    if name.startswith(BUILT):
        return True
    if name.endswith("/"):
        return any(f"/{name}" in f"/{path}" for path in files())
    return any(f"/{path}".endswith(f"/{name}") for path in files())


def named_paths(page: str) -> Iterator[str]:
    for span in spans(page):
        for word in re.split(r"[\s,;()]+", span):
            name = word.strip("\"'.:")
            plain = re.fullmatch(r"[\w.@-]+(?:/[\w.@-]+)*/?", name)
            if plain and name not in NOT_OURS and (CODE.search(name) or (name.endswith("/") and "/" in name)):
                yield name


@pages
def test_files_and_folders_exist(page: str) -> None:
    assert [name for name in named_paths(page) if not exists(name)] == []


@pages
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.M))
    words = [word for call in commands(page, "make") for word in call]
    assert [word for word in words if re.fullmatch(r"[a-z]+", word) and word not in targets] == []


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and the words that are left for it."""
    command: Any = typer.main.get_command(cli.app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no `keyside {words[0]}`"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def companion_options() -> set[str]:
    block = re.search(r"const OPTIONS = \{(.*?)\} as const", text_of("executor_js/src/hosts/node.ts"), re.S)
    assert block
    return {f"--{name}" for name in re.findall(r"^\s+(\w+): \{", block[1], re.M)}


@pages
def test_commands_and_their_options_exist(page: str) -> None:
    for words in commands(page, "keyside"):
        command, rest = command_of(words)
        known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)} | {"--help"}
        known |= companion_options() if command.name == "executor" else set()
        assert [word for word in rest if word.startswith("--") and word not in known] == [], words


def test_every_command_and_option_is_in_the_reference() -> None:
    page = text_of("docs/reference/cli.md")
    sections = dict(re.findall(r"^## keyside ([a-z ]+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    found: dict[str, set[str]] = {}

    def collect(command: Any, name: str) -> None:
        for sub, inner in getattr(command, "commands", {}).items():
            collect(inner, f"{name} {sub}".strip())
        if not hasattr(command, "commands"):
            found[name] = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}

    collect(typer.main.get_command(cli.app), "")
    assert set(sections) == set(found)
    everywhere = {"--help", "--data-dir"}
    for name, options in found.items():
        assert [o for o in options - everywhere if o.startswith("--") and f"`{o}`" not in sections[name]] == [], name
    companion = text_of("docs/howto/companion.md")
    assert [option for option in companion_options() - {"--help"} if f"`{option}`" not in companion] == []


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", "")).replace(" ", "-")


@pages
def test_links_resolve(page: str) -> None:
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.M | re.S)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        here = file.exists() and file.resolve().is_relative_to(ROOT)
        if not here or (anchor and anchor not in map(slug, re.findall(r"^#+ (.*)$", file.read_text(), re.M))):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_found() -> None:
    linked = set()
    for page in documents():
        for target in re.findall(r"\]\(([^)\s#]+)", text_of(page)):
            if not re.match(r"[a-z]+:", target):
                linked.add(str(PurePosixPath(*_normal(PurePosixPath(page).parent / target))))
    pages_of_docs = {path for path in files() if path.startswith("docs/") and path.endswith(".md")}
    assert pages_of_docs - linked == set()


def _normal(path: PurePosixPath) -> Iterator[str]:
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    yield from parts


def variables() -> set[str]:
    ours = {f"KEYSIDE_{name.upper()}" for name in Settings.model_fields}
    return ours | set(re.findall(r"KEYSIDE_[A-Z_]*[A-Z]", text_of("executor_js/src/hosts/node.ts")))


@pages
def test_variables_exist(page: str) -> None:
    assert set(re.findall(r"KEYSIDE_[A-Z_]*[A-Z]", text_of(page))) - variables() == set()


def test_every_variable_is_documented() -> None:
    text = "".join(text_of(page) for page in documents() if page.startswith("docs/"))
    assert [name for name in variables() if f"`{name}`" not in text] == []


def test_every_provider_is_documented() -> None:
    connections, companion = text_of("docs/howto/connections.md"), text_of("docs/howto/companion.md")
    for name, url, env in re.findall(
        r'"name": "([^"]+)".*?"base_url": "([^"]*)".*?"env": "([^"]+)"', text_of("server/keyside/protocol/catalog.json")
    ):
        assert f"| `{env}` |" in companion, name
        assert not url or f"| {name} | `{url}` |" in connections, name


def test_the_reference_has_every_call_and_no_other(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path), store=MemoryStore(), static=tmp_path)

    async def fetch() -> dict[str, Any]:
        transport = httpx.ASGITransport(app=app.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            document: dict[str, Any] = (await client.get("/openapi.json")).json()
            return document

    served = {(method.upper(), path) for path, methods in asyncio.run(fetch())["paths"].items() for method in methods}
    told = set(re.findall(r"^\| `([A-Z]+) (/\S*)` \|", text_of("docs/reference/http.md"), re.M))
    assert told == served


def declared(source: str) -> dict[str, str]:
    """Name and signature of whatever stands at the top of a module, and of the methods of its classes."""
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = _signature(node)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = f"class({', '.join(map(ast.unparse, node.bases))})"
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    found[f"{node.name}.{inner.name}"] = _signature(inner)
        elif isinstance(node, ast.Assign):
            found[ast.unparse(node.targets[0])] = ast.unparse(node.value)
        elif isinstance(node, ast.AnnAssign):
            found[ast.unparse(node.target)] = ast.unparse(node.annotation)
    return found


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    asynchronous = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{asynchronous}({ast.unparse(node.args)}) -> {ast.unparse(node.returns) if node.returns else None}"


def test_signatures_in_the_architecture_are_those_of_the_code() -> None:
    shown = list(blocks("docs/architecture.md", "python"))
    assert len(shown) >= 4
    for block in shown:
        module = block.splitlines()[0].removeprefix("# ")
        real = declared(text_of(f"server/keyside/{module}"))
        for name, signature in declared(block).items():
            assert real.get(name) == signature, f"{module}: {name}"


def test_the_examples_of_the_test_kit_run() -> None:
    kit = next(block for block in blocks("docs/howto/embed.md", "python") if "keyside.testing" in block)
    room: dict[str, Any] = {}
    exec(compile(kit, "docs/howto/embed.md", "exec"), room)
    examples = [value for name, value in room.items() if name.startswith("test_")]
    assert len(examples) == 2
    for example in examples:
        asyncio.run(example())
