"""`python -m tests.chaos --n 200 --seed 1`: plays schedules, prints one line of figures and every seed that failed."""

import argparse
import asyncio
import sys
import time

from tests.chaos.campaign import Campaign, failures, line


def main() -> int:
    """The exit code is 1 where a schedule failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--n", type=int, default=60, help="how many schedules")
    parser.add_argument("--seed", type=int, default=1, help="the first one's; the others follow it")
    parser.add_argument("--jobs", type=int, default=4, help="how many at the same time")
    parser.add_argument("--story", action="store_true", help="tell what happened in each")
    asked = parser.parse_args()
    began = time.monotonic()
    campaign = Campaign(asked.jobs, tell=print if asked.story or asked.n > 20 else None)
    results = asyncio.run(campaign.play(range(asked.seed, asked.seed + asked.n)))
    if asked.story:
        for result in results:
            print(f"seed {result.seed}:", *result.story, sep="\n  ")
    print(*failures(results), sep="\n", end="\n" if failures(results) else "")
    print(line(results, time.monotonic() - began))
    return int(any(result.wrong for result in results))


if __name__ == "__main__":
    sys.exit(main())
