"""The audit finds what is known, and says clearly what it could not ask for."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.audit import Verdict, answer_of, node_verdict, python_verdict, report, runtime_packages
from tests.meta.repo import ROOT

SOUND: Any = {"name": "starlette", "version": "1.10.0", "vulns": []}
BROKEN: Any = {"name": "orjson", "version": "3.13.0", "vulns": [{"id": "TEST-1"}, {"id": "TEST-2"}]}
UNKNOWN: Any = {"name": "typer", "skip_reason": "Dependency not found: typer"}
NODE_COUNTS = {"metadata": {"dependencies": {"prod": 90}}}


def test_what_the_server_runs_on_is_what_is_audited() -> None:
    packages = runtime_packages("keyside")
    assert {"fastapi", "starlette", "python-socketio", "uvicorn", "sqlalchemy"} <= set(packages)
    assert not {"pytest", "ruff", "pip-audit", "playwright"} & set(packages)
    assert packages["uvicorn"].startswith("0.54.")


def test_each_vulnerability_is_found_and_what_is_unknown_was_not_checked() -> None:
    assert python_verdict({"dependencies": [SOUND]}) == Verdict(1)
    assert python_verdict({"dependencies": [SOUND, BROKEN]}) == Verdict(
        2, ("orjson 3.13.0: TEST-1", "orjson 3.13.0: TEST-2")
    )
    missing = "1 packages, the first because: Dependency not found: typer"
    assert python_verdict({"dependencies": [BROKEN, UNKNOWN]}).missing == missing
    assert len(python_verdict({"dependencies": [BROKEN, UNKNOWN]}).found) == 2
    bad = {"vulnerabilities": {"react": {"severity": "high", "range": "<19"}}, **NODE_COUNTS}
    assert node_verdict(bad) == Verdict(90, ("react: high, in <19",))
    assert node_verdict({"vulnerabilities": {}, **NODE_COUNTS}) == Verdict(90)


@pytest.mark.parametrize("said", [{"message": "405 Method Not Allowed"}, {"error": {"summary": "getaddrinfo"}}, {}])
def test_an_answer_without_a_verdict_is_none(said: Any) -> None:
    with pytest.raises(OSError, match=r"405|getaddrinfo|no reason"):
        node_verdict(said)


@pytest.mark.parametrize(
    ("program", "seconds", "reason"),
    [
        ("import time; time.sleep(60)", 0.1, "no answer within 0 s"),
        ("import sys; sys.exit('the network is away')", 30, "the network is away"),
        ("print('no JSON')", 30, "said nothing"),
    ],
)
def test_a_tool_that_gives_no_answer_says_why(program: str, seconds: float, reason: str) -> None:
    with pytest.raises(OSError, match=reason):
        answer_of([sys.executable, "-c", program], ROOT, seconds)
    with pytest.raises(OSError, match="no-such-tool"):
        answer_of(["no-such-tool"], ROOT)


def failing() -> Verdict:
    raise OSError("the service is away" + "!" * 1000)


@pytest.mark.parametrize(
    ("audits", "count", "printed"),
    [
        ({"a": lambda: Verdict(3), "b": lambda: Verdict(4)}, 0, ["a: 3 packages checked, 0 vulnerabilities known"]),
        ({"a": failing, "b": lambda: Verdict(4)}, 0, ["a: not checked: the service is away!!", "b: 4 packages"]),
        ({"a": failing, "b": lambda: Verdict(4, ("x: bad",), "rest")}, 1, ["  x: bad\n", "b: not checked: rest"]),
    ],
)
def test_only_a_known_vulnerability_fails(
    audits: dict[str, Callable[[], Verdict]], count: int, printed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(audits) == count
    out = capsys.readouterr().out
    assert [line for line in printed if line not in out] == []
    assert max(map(len, out.splitlines())) < 300
