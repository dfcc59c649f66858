"""Looks for known vulnerabilities of what Keyside runs on: `make audit`, and a part of `make check`.

It asks services on the network. Where they cannot be asked it says so, and does not fail.
"""

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 25
"""How long both services together may take."""
MOST_CHARACTERS = 200
"""Of the reason why something was not checked."""


@dataclass(frozen=True)
class Verdict:
    """What is known of some packages."""

    checked: int = 0
    found: tuple[str, ...] = ()
    """A line for each vulnerability."""
    missing: str | None = None
    """Why some, or all, were not checked."""


def answer_of(command: Sequence[str], folder: Path, seconds: float = SECONDS) -> Any:
    """The JSON that a command prints. Raises `OSError` with a sentence where it prints none."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(f"no answer within {seconds:.0f} s") from None
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"{command[0]} said nothing"]
        raise OSError(last[0]) from None


def runtime_packages(name: str) -> dict[str, str]:
    """The versions of all packages that this one needs to run, as they are installed."""
    found: dict[str, str] = {}
    waiting = [*_needs(name, "")]
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        if name not in found:
            found[name] = importlib.metadata.version(need.name)
            waiting += [one for extra in ("", *need.extras) for one in _needs(need.name, extra)]
    return found


def _needs(name: str, extra: str) -> Iterator[Requirement]:
    for text in importlib.metadata.requires(name) or ():
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate({"extra": extra}):
            yield need


def audit_python(packages: dict[str, str]) -> Verdict:
    """Asks pip-audit about exactly these versions."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
        pinned.write("".join(f"{name}=={version}\n" for name, version in packages.items()))
        pinned.flush()
        options = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--timeout=10", "--format=json"]
        return python_verdict(
            answer_of([sys.executable, "-m", "pip_audit", *options, f"--requirement={pinned.name}"], ROOT)
        )


def python_verdict(said: Any) -> Verdict:
    """What pip-audit's answer means. A package that its service does not know was not checked."""
    skipped = [one["skip_reason"] for one in said["dependencies"] if "skip_reason" in one]
    known = [one for one in said["dependencies"] if "skip_reason" not in one]
    found = [f"{one['name']} {one['version']}: {bug['id']}" for one in known for bug in one["vulns"]]
    missing = f"{len(skipped)} packages, the first because: {skipped[0]}" if skipped else None
    return Verdict(len(known), tuple(found), missing)


def audit_node() -> Verdict:
    """Asks npm about the locked packages that are built into the page and the companion."""
    options = ["--omit=dev", "--json", "--fetch-retries=0", "--fetch-timeout=10000"]
    return node_verdict(answer_of(["npm", "audit", *options], ROOT / "executor_js"))


def node_verdict(said: Any) -> Verdict:
    """What npm's answer means."""
    if "vulnerabilities" not in said:
        raise OSError(said.get("message") or said.get("error", {}).get("summary") or "npm gave no reason")
    found = [f"{name}: {one['severity']}, in {one['range']}" for name, one in said["vulnerabilities"].items()]
    return Verdict(said["metadata"]["dependencies"]["prod"], tuple(found))


def report(audits: dict[str, Callable[[], Verdict]]) -> int:
    """Carries out all audits at the same time, and prints what they found. Returns the number of vulnerabilities."""
    with ThreadPoolExecutor() as threads:
        began = {name: threads.submit(_verdict, audit) for name, audit in audits.items()}
    verdicts = {name: one.result() for name, one in began.items()}
    for name, verdict in verdicts.items():
        if verdict.checked:
            print(f"{name}: {verdict.checked} packages checked, {len(verdict.found)} vulnerabilities known")
        if verdict.missing is not None:
            print(f"{name}: not checked: {verdict.missing[:MOST_CHARACTERS]}")
        for line in verdict.found:
            print(f"  {line}")
    return sum(len(verdict.found) for verdict in verdicts.values())


def _verdict(audit: Callable[[], Verdict]) -> Verdict:
    try:
        return audit()
    except (OSError, importlib.metadata.PackageNotFoundError) as error:
        return Verdict(missing=str(error))


if __name__ == "__main__":
    sys.exit(min(1, report({"pip-audit": lambda: audit_python(runtime_packages("keyside")), "npm audit": audit_node})))
