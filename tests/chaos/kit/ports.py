"""Free ports that stay the same while what listens on them is killed and started again."""

import os
import socket
from collections.abc import Iterator

_FIRST, _COUNT = 20_000, 10_000
"""A range of ports below the one from which the system chooses ports for clients."""


def _candidates() -> Iterator[int]:
    offset = os.getpid() * 97
    while True:
        yield _FIRST + offset % _COUNT
        offset += 1


_CANDIDATES = _candidates()


def free_port() -> int:
    """A port that nobody has."""
    for _ in range(_COUNT):
        port = next(_CANDIDATES)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
