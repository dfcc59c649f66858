"""Every rule of the protocol has a test, and every rule that a test names is one of the protocol's."""

import ast
import re
from collections import Counter, defaultdict

from tests.meta.repo import files, text_of

RULE = re.compile(r"^- \*\*([A-Z]\d+)\*\* ", re.M)
REMARK = re.compile(r"^  \*(Not held yet|Partly held): .+\*$", re.M)
ANY_REMARK = re.compile(r"not held|partly held", re.I)
TITLE = re.compile(r"[\"'`]((?:\[[A-Z]\d+\])+) ")


def rules() -> dict[str, str | None]:
    """Each rule's id, and what its remark says of it, if it has one."""
    parts = RULE.split(text_of("docs/protocol.md"))
    found: dict[str, str | None] = {}
    for id, body in zip(parts[1::2], parts[2::2], strict=True):
        remark = REMARK.search(body)
        found[id] = remark[1] if remark else None
    return found


def marked(source: str) -> set[str]:
    """The ids of all `pytest.mark.rule(...)` in a Python file, also where it is called `rule` for short."""
    ids: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and re.search(r"(^|mark\.)rule$", ast.unparse(node.func)):
            ids |= {ast.literal_eval(argument) for argument in node.args}
    return ids


def titled(source: str) -> set[str]:
    """The ids at the beginning of the titles in a TypeScript test."""
    return {id for found in TITLE.finditer(source) for id in re.findall(r"[A-Z]\d+", found[1])}


def shown_by_tests() -> dict[str, list[str]]:
    """For each id that tests name: the files that do."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in files():
        ids: set[str] = set()
        if path.startswith("tests/") and path.endswith(".py"):
            ids = marked(text_of(path))
        elif path.startswith("executor_js/") and re.search(r"\.test\.tsx?$", path):
            ids = titled(text_of(path))
        for id in ids:
            found[id].append(path)
    return dict(found)


def test_ids_are_unique_and_without_gaps() -> None:
    ids = RULE.findall(text_of("docs/protocol.md"))
    assert [id for id, count in Counter(ids).items() if count > 1] == []
    counted = Counter(id[0] for id in ids)
    assert set(ids) == {f"{letter}{n}" for letter, most in counted.items() for n in range(1, most + 1)}


def test_remarks_are_where_they_are_read() -> None:
    text = text_of("docs/protocol.md")
    assert len(ANY_REMARK.findall(text)) == len(REMARK.findall(text))
    assert len(REMARK.findall(text)) == sum(1 for remark in rules().values() if remark)


def test_every_rule_that_is_held_has_a_test() -> None:
    shown = shown_by_tests()
    assert [id for id, remark in rules().items() if remark != "Not held yet" and id not in shown] == []


def test_every_rule_that_a_test_names_exists() -> None:
    known = rules()
    assert {id: paths for id, paths in shown_by_tests().items() if id not in known} == {}


def test_every_rule_that_the_code_names_exists() -> None:
    known = rules()
    letters = "".join(sorted({id[0] for id in known}))
    named = re.compile(rf"(?<![\w.#&-])([{letters}]\d{{1,2}})(?=[,:;.)\]]| to [{letters}]\d| and [{letters}]\d)")
    wrong = {
        (path, id)
        for path in files()
        if re.match(r"(server|executor_js/(src|page)|docs)/", path) and path.endswith((".py", ".ts", ".tsx", ".md"))
        for line in text_of(path).splitlines()
        if re.search(r"#|\*|\"\"\"|//|`", line) or path.endswith(".md")
        for id in named.findall(line)
        if id not in known
    }
    assert wrong == set()


def test_ids_are_found_in_both_languages() -> None:
    python = '@pytest.mark.rule("E5", "D1")\ndef test_x(): ...\npytestmark = pytest.mark.rule("C4")\n'
    assert marked(python + '@rule("R1")\nasync def test_y(): ...\nsome.other.rule("E9")') == {"E5", "D1", "C4", "R1"}
    assert titled('it("[E2][E3] does", f); it.each([1])(\n "[V1] %s", g); // "no [E9] here"') == {"E2", "E3", "V1"}
