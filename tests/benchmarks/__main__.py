"""`python -m tests.benchmarks`: measures, prints tables of ratios, and writes a JSON file. See the README."""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop

from tests.benchmarks import measure, report
from tests.benchmarks.contenders import RELAYS, SETTINGS, USUAL, Field
from tests.benchmarks.servers import Keyside, relay
from tests.benchmarks.sizes import sizes
from tests.benchmarks.strangers import strangers
from tests.meta.repo import ROOT

PARTS = ("starts", "streams", "viewers", "fastest", "strangers", "tabs", "sizes", "recovery")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements, in about a minute")
    parser.add_argument("--json", type=Path, default=ROOT / ".bench" / "latest.json", help="the file to write")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure only this; can be repeated")
    parser.add_argument("--streams", type=int, action="append", help="how many streams to pace; can be repeated")
    parser.add_argument(
        "--among", action="append", choices=[*SETTINGS, *RELAYS], help="compare Keyside with this; can be repeated"
    )
    parser.add_argument("--seconds", type=float, help="how long a server is measured in each round")
    return parser.parse_args()


async def run(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs the chosen measurements. Returns the rows of each by its name."""
    quick, parts = chosen.quick, chosen.only or PARTS
    found: dict[str, Any] = {}
    if "starts" in parts:
        spare = spare_folder(folder, "starts")
        servers = [relay("starlette", spare), relay("socketio", spare), relay("node", spare), Keyside(spare)]
        found["starts"] = await measure.starts(servers, 1 if quick else 3)
        report.print_rows("Start and idle memory", found["starts"])
    if {"streams", "viewers", "fastest"} & set(parts):
        await run_streams(chosen, folder, found)
    if "strangers" in parts:
        seconds = chosen.seconds or 5.0
        rows, became = await strangers(spare_folder(folder, "strangers"), 50, 2 if quick else 4, seconds)
        found["strangers"], found["what_became_of_strangers"] = rows, {"all": became}
        report.print_streams("50 streams of 50 tokens/s, one viewer each, without and with strangers", rows)
        report.print_rows("What became of the strangers", found["what_became_of_strangers"])
    if "tabs" in parts:
        async with Field(spare_folder(folder, "tabs")) as field:
            found["tabs"] = await measure.tabs(field, 300 if quick else 2000)
        report.print_rows("Idle tabs", found["tabs"])
    if "sizes" in parts:
        found["sizes"] = await sizes(spare_folder(folder, "sizes"), (100, 10_000 if quick else 100_000))
        report.print_rows("Many chats, and a chat of 5,000 messages", found["sizes"])
    if "recovery" in parts:
        found["recovery"] = {"keyside": await measure.recovery(spare_folder(folder, "recovery"), 10 if quick else 50)}
        report.print_rows("kill -9 with answers in hand", found["recovery"])
    return found


async def run_streams(chosen: argparse.Namespace, folder: Path, found: dict[str, Any]) -> None:
    """The measurements with streams; all of them run on the same servers."""
    quick, parts = chosen.quick, chosen.only or PARTS
    rounds, seconds = (1, chosen.seconds or 1.0) if quick else (2, chosen.seconds or 3.0)
    usual = tuple(dict.fromkeys(["keyside", *chosen.among])) if chosen.among else USUAL
    lone = usual if chosen.among else (*usual, "keyside-normal")
    async with Field(folder, lone if "streams" in parts else usual) as field:
        if "streams" in parts:
            for count in chosen.streams or ((1, 100) if quick else (1, 20, 100, 200)):
                names = lone if count == 1 else usual
                rows = found[f"paced-{count}"] = await measure.paced(field, names, count, 1, rounds, seconds)
                report.print_streams(f"{count} streams of 50 tokens/s, one viewer each", rows)
        if "viewers" in parts:
            rows = found["viewers-50"] = await measure.paced(field, usual, 1, 50, rounds, seconds)
            report.print_streams("One stream of 50 tokens/s with 50 viewers (a token at each viewer counts)", rows)
    if "fastest" in parts:
        names = usual if chosen.among else ("starlette", "starlette-frames", *usual[1:])
        async with Field(spare_folder(folder, "fastest"), names) as field:
            count = 50 if quick else 200
            rows = found["fastest"] = await measure.fastest(field, names, count, rounds, seconds)
            report.print_streams(f"As fast as it goes, {count} streams, one viewer each", rows)


def spare_folder(folder: Path, name: str) -> Path:
    """A folder of one measurement."""
    made = folder / name
    made.mkdir()
    return made


def main() -> None:
    chosen = options()
    began = perf_counter()
    about = report.machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    if about["load_before"] > 0.5:
        print("The machine is busy with other things: latencies and rates mean little now, ratios a little more.")
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    # On a real disk: what is synced to memory costs nothing.
    with (
        tempfile.TemporaryDirectory(dir=chosen.json.parent) as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(asyncio.wait_for(run(chosen, Path(folder)), 180 if chosen.quick else 900))
    reached = report.print_targets(found)
    about["seconds"] = round(perf_counter() - began)
    chosen.json.write_text(json.dumps({"machine": about, "targets": reached, "measured": found}, indent=2) + "\n")
    print(f"\n{about['seconds']} s; written to {chosen.json}")


if __name__ == "__main__":
    main()
