"""Prints the measurements, and whether the targets were reached."""

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tests.benchmarks.contenders import NAMES

Rows = Mapping[str, Mapping[str, Any]]

OPEN_WEBUI_TOKENS = 310
"""The best rate of Open WebUI's direct path in tokens a second, measured on another day on two such cores."""
OPEN_WEBUI_CPU = 3300
"""Its lowest CPU time for a token, in microseconds."""
FLAT = 1.5
"""The factor by which a time may grow by chance if it does not depend on the number."""


@dataclass(frozen=True)
class Target:
    """A target for one figure."""

    what: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value < self.bound


def print_streams(title: str, rows: Rows) -> None:
    """One measurement with streams, and each contender's ratio to Keyside's figures."""
    print(f"\n{title}")
    print(
        f"  {'':44}{'tokens/s':>10}{'CPU us/token':>14}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'token p50':>11}{'p99':>8}{'server':>8}{'load':>6}{'late':>6}"
    )
    for name, row in rows.items():
        print(
            f"  {NAMES[name]:44}{row['tokens_per_s']:>10,.0f}{row['cpu_us_per_token']:>14.1f}"
            f"{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{row['token_p50_ms']:>11.1f}{row['token_p99_ms']:>8.1f}"
            f"{row['server_cpu']:>8.0%}{row['load_cpu']:>6.0%}{row['load_late_ms']:>6.0f}"
        )
    own = rows["keyside"]
    for name, row in rows.items():
        if name != "keyside":
            print(
                f"  {'  Keyside / ' + name:44}{_ratio(own, row, 'tokens_per_s'):>10.2f}"
                f"{_ratio(own, row, 'cpu_us_per_token'):>14.2f}{_ratio(own, row, 'p50_ms'):>9.2f}"
                f"{_ratio(own, row, 'p99_ms'):>9.2f}"
            )
    if "commits_per_s" in own:
        print(
            f"  bytes written per byte received: {own['written_per_received']:.2f} "
            f"({own['disk_bytes_per_received']:.2f} in whole pages of the disk); "
            f"{own['commits_per_s']:.0f} commits/s of {own['pages_per_commit']:.2f} pages"
        )


def _ratio(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> float:
    return float(one[name] / other[name]) if other[name] else float("nan")


def print_rows(title: str, rows: Rows) -> None:
    """Any other measurement."""
    print(f"\n{title}")
    for name, row in rows.items():
        print(f"  {NAMES.get(name, name):44}" + "   ".join(f"{key} {value:,.2f}" for key, value in row.items()))


def targets(found: Mapping[str, Rows]) -> Iterator[Target]:
    """The targets for which something was measured."""
    if "fastest" in found:
        rows = found["fastest"]
        own = rows["keyside"]["tokens_per_s"]
        if "starlette" in rows:
            yield Target("tokens/s, of a bare Starlette relay's", own / rows["starlette"]["tokens_per_s"], 1 / 3, True)
        yield Target("tokens/s, times Open WebUI's (known, not run)", own / OPEN_WEBUI_TOKENS, 50, True)
    yield from _paced_targets(found)
    if "tabs" in found:
        yield Target("memory of an idle tab, KiB", found["tabs"]["keyside"]["memory_per_tab_kib"], 60)
    if "strangers" in found:
        rows = found["strangers"]
        value = _ratio(rows["keyside-strangers"], rows["keyside"], "p99_ms")
        yield Target("50 streams: p99 with strangers, of that without", value, 2)
    if "sizes" in found:
        few, many = found["sizes"].values()
        for what, name in (("listing chats", "first_page_ms"), ("opening a chat", "open_chat_ms")):
            yield Target(f"{what}: many chats, of a hundred", _ratio(many, few, name), FLAT)
        yield Target("opening a chat of 5,000 messages, ms", many["open_long_chat_ms"], 100)
    if "starts" in found:
        yield Target("start to the first 200, s", found["starts"]["keyside"]["start_s"], 1.5)
        yield Target("idle memory, MB", found["starts"]["keyside"]["idle_memory_mb"], 120)


def _paced_targets(found: Mapping[str, Rows]) -> Iterator[Target]:
    """The targets of streams that keep a pace. A contender that did not take part has no ratio."""

    def ratio(part: str, other: str, name: str, own: str = "keyside") -> float | None:
        rows = found.get(part, {})
        return _ratio(rows[own], rows[other], name) if own in rows and other in rows else None

    for what, value, bound, at_least in (
        (
            "20 streams: CPU a token, of a Starlette relay's",
            ratio("paced-20", "starlette", "cpu_us_per_token"),
            2.5,
            False,
        ),
        (
            "100 streams: CPU a token, of a Starlette relay's",
            ratio("paced-100", "starlette", "cpu_us_per_token"),
            2,
            False,
        ),
        ("100 streams: CPU a token, of Node's socket.io", ratio("paced-100", "node", "cpu_us_per_token"), 1, False),
        ("200 streams: tokens/s, of Node's socket.io", ratio("paced-200", "node", "tokens_per_s"), 1, True),
        (
            "one stream, sync normal: p50, of python-socketio's",
            ratio("paced-1", "socketio", "p50_ms", "keyside-normal"),
            2,
            False,
        ),
    ):
        if value is not None:
            yield Target(what, value, bound, at_least)
    if "paced-100" in found:
        own = found["paced-100"]["keyside"]
        bare = found["paced-100"].get("socketio")
        beside = f" (python-socketio's: {bare['p99_ms']:.1f})" if bare else ""
        yield Target("100 streams: added latency p50, ms", own["p50_ms"], 5)
        yield Target(f"100 streams: added latency p99, ms{beside}", own["p99_ms"], 25)
        yield Target("100 streams: CPU a token, of Open WebUI's", own["cpu_us_per_token"] / OPEN_WEBUI_CPU, 1 / 20)
        yield Target("100 streams: bytes written per byte received", own["written_per_received"], 1)
    if "paced-1" in found:
        yield Target("one stream: pages a commit", found["paced-1"]["keyside"]["pages_per_commit"], 3.01)


def print_targets(found: Mapping[str, Rows]) -> list[dict[str, Any]]:
    """All targets, and whether they were reached; returns them for the file."""
    known = list(targets(found))
    print("\nAimed at")
    for target in known:
        word = "at least" if target.at_least else "under"
        mark = "reached" if target.reached else "MISSED"
        print(f"  {target.what:60}{target.value:>10.2f}   {word} {target.bound:.2f}   {mark}")
    return [asdict(target) | {"reached": target.reached} for target in known]


def machine() -> dict[str, Any]:
    """A description of the machine."""
    return {
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
