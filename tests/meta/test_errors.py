"""Every error that is raised is in the table, is documented, and every row of the table can happen."""

import ast
import re
from collections.abc import Iterator

from keyside.protocol.errors import ERRORS
from keyside.settings import Settings
from tests.meta.repo import files, spans, text_of

RAISES = {"KeysideError", "Refused", "Refuse", "failure", "documented"}
TYPESCRIPT = re.compile(
    r"\b(?:fail|failure)\(\s*\"(\w+)\""  # fail("..."), failure("...")
    r"|\bfailureOf\([^\"()]*(?:\([^()]*\))?[^\"()]*,\s*\"(\w+)\""
    r"|(?<!typeof )\bcode\s*(?:===|!==)\s*\"(\w+)\""
    r"|\{ code: \"(\w+)\""
)
OF_THE_PAGE = {"offline"}
"""The page's own code for a request that did not reach the server."""
OF_UPSTREAMS = "executor_js/src/upstream/explain.ts"
"""This file reads the codes of upstreams."""


def raised_in_python() -> Iterator[tuple[str, str]]:
    """File and code, wherever an error is made from a code that is written out."""
    for path in files():
        if not (path.startswith("server/keyside/") and path.endswith(".py")):
            continue
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in RAISES:
                strings = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                all_are_codes = ast.unparse(node.func) == "documented"
                yield from ((path, code) for code in (strings if all_are_codes else strings[:1]))


def raised_in_typescript() -> Iterator[tuple[str, str]]:
    """The same for the executor and the page."""
    for path in files():
        if (
            path != OF_UPSTREAMS
            and re.match(r"executor_js/(src|page)/", path)
            and re.search(r"(?<!\.gen)(?<!\.test)\.tsx?$", path)
        ):
            for found in TYPESCRIPT.finditer(text_of(path)):
                code = next(code for code in found.groups() if code)
                if code not in OF_THE_PAGE:
                    yield path, code


def test_every_error_that_is_raised_is_in_the_table() -> None:
    raised = [*raised_in_python(), *raised_in_typescript()]
    assert len(raised) > 60
    assert [(path, code) for path, code in raised if code not in ERRORS] == []


def test_every_row_of_the_table_is_used() -> None:
    named = {
        word
        for path in files()
        if path.startswith(("server/keyside/", "executor_js/src/", "executor_js/page/"))
        and path != "server/keyside/protocol/errors.py"
        and not re.search(r"\.gen\.ts$|\.test\.tsx?$", path)
        for word in re.findall(r"[\"'](\w+)[\"']", text_of(path))
    }
    assert [code for code in ERRORS if code not in named] == []


def test_every_error_is_documented() -> None:
    page = text_of("docs/reference/errors.md")
    for code, kind in ERRORS.items():
        assert f"| `{code}` | {kind.message} |" in page, code
        assert kind.message.endswith("."), code
        assert 400 <= kind.status < 600, code


def test_whatever_the_protocol_names_exists() -> None:
    """Each word with an underscore is an error, a field or a value of the wire, or a setting."""
    schema = text_of("docs/reference/protocol.schema.json")
    known = {"connect_error", *ERRORS, *Settings.model_fields, *re.findall(r'"(\w+)"', schema)}
    words = {word for word in spans("docs/protocol.md") if re.fullmatch(r"[a-z]+(?:_[a-z]+)+", word)}
    assert len(words & set(ERRORS)) > 15
    assert words - known == set()
