"""Plays many schedules, a few at a time, and reports on them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tests.chaos.faults import FAULTS, TAB_FAULTS
from tests.chaos.kit import disk
from tests.chaos.kit.chromium import Chromium
from tests.chaos.kit.nursery import Nursery
from tests.chaos.schedule import Result, play

STATES = ("runs", "done", "interrupted", "aborted", "failed", "deleted")


class Campaign:
    """Plays schedules, `jobs` at the same time. `tell` gets a word on each that failed, as soon as it has."""

    def __init__(self, jobs: int, tell: Callable[[str], None] | None = None) -> None:
        self._jobs = jobs
        self._tell = tell

    async def play(self, seeds: Iterable[int]) -> list[Result]:
        """The results, in the order of the seeds."""
        nursery, chromium = Nursery(), Chromium()
        free = asyncio.Semaphore(self._jobs)

        async def one(seed: int) -> Result:
            async with free:
                result = await play(seed, nursery, chromium)
            if result.wrong and self._tell is not None:
                self._tell(f"seed {seed}: {result.wrong[0]}")
            return result

        try:
            return list(await asyncio.gather(*(one(seed) for seed in seeds)))
        finally:
            nursery.close()
            await chromium.close()


def failures(results: Sequence[Result]) -> list[str]:
    """Every seed that failed, with all that was wrong."""
    found = []
    for result in results:
        if result.wrong:
            told = [*(f"  WRONG {what}" for what in result.wrong), *(f"  {what}" for what in result.story)]
            found.append("\n".join([f"seed {result.seed} failed after {result.seconds:.1f} s:", *told]))
    return found


def line(results: Sequence[Result], seconds: float) -> str:
    """The figures in one line, with the faults that are not possible on this machine."""
    total: Counter[str] = Counter()
    for result in results:
        total += result.figures
    words = [f"{len(results)} schedules in {seconds:.0f} s"]
    known = (*STATES, *FAULTS, "with Chromium", *TAB_FAULTS)
    words += [f"{total[name]} {name}" for name in known]
    words += [f"{count} {name}" for name, count in sorted(total.items()) if name not in known]
    cannot = [name for name, can in (("tmpfs", disk.can_mount()), ("file limit", disk.can_limit())) if not can]
    words += [f"this machine cannot do: {', '.join(cannot)}"] if cannot else []
    failed = [str(result.seed) for result in results if result.wrong]
    words.append(f"{len(failed)} FAILED: {' '.join(failed)}" if failed else "0 failed")
    return "; ".join(words)
