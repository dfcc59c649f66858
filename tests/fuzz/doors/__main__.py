"""`python -m tests.fuzz.doors --seconds 600 --seed 1`: attacks both transports, and says what went wrong."""

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.fuzz.doors.campaign import Size, attack

SIZE = Size(growth=100 * 1024 * 1024)
"""Many rounds reach a higher peak than one, since more of what is large comes together in one of them."""


async def _both(seconds: float, seed: int) -> int:
    with tempfile.TemporaryDirectory() as lean, tempfile.TemporaryDirectory() as stock:
        places = {"lean": Path(lean), "stock": Path(stock)}
        results = await asyncio.gather(*(attack(place, name, seed, SIZE, seconds) for name, place in places.items()))
    for result in results:
        print(*result.wrong, result.line, sep="\n")
    return int(any(result.wrong for result in results))


def main() -> int:
    """The exit code is 1 where something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.doors", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long; one round is always played")
    parser.add_argument("--seed", type=int, default=1, help="the first round's; the others follow it")
    asked = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of each piece that is sent to a closed connection
    return asyncio.run(_both(asked.seconds, asked.seed))


if __name__ == "__main__":
    sys.exit(main())
