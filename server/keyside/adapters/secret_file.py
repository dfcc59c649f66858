"""The secret that signs cookies, in a file of its own beside the database, so that no backup contains it."""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

NAME = "secret"
LEAST_BYTES = 32


class BadSecret(Exception):
    """The file with the secret cannot be used. The message is one sentence, without the secret."""


def secret_of(data_dir: Path) -> bytes:
    """The secret of an installation. It is made at the first start.

    Raises `BadSecret` if others on the machine can read the file, or if it holds too little to be a secret.
    """
    path = data_dir / NAME
    if not path.exists():
        _make(path)
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadSecret(
                f"Others on this machine can read or change {path}, which signs the cookies: remove it, and a new one "
                f"is made (every browser signs in again), or set KEYSIDE_SECRET, or run `chmod 600 {path}` if nobody "
                "has read it"
            )
        secret = file.read().strip()
    if len(secret) < LEAST_BYTES:
        raise BadSecret(f"{path} holds no secret: remove it, and a new one is made (every browser signs in again)")
    return secret


def _make(path: Path) -> None:
    """Written aside first, so that the file is whole or not there. Of several processes, one makes it."""
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f"{NAME}.")  # only its owner can read it
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(LEAST_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        os.unlink(aside)
