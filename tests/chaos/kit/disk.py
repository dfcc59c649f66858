"""A disk that gets full: a small tmpfs where mounting is permitted, and a limit on the size of the server's files."""

import os
import resource
import subprocess
import tempfile
from functools import cache
from pathlib import Path

_SIZE = "24m"
_ALMOST_NOTHING = 4096


@cache
def can_mount() -> bool:
    """Whether this process may mount a tmpfs."""
    with tempfile.TemporaryDirectory() as folder:
        if not _mount(Path(folder)):
            return False
        _unmount(Path(folder))
        return True


@cache
def can_limit() -> bool:
    """Whether the size of another process's files can be limited while it runs."""
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            limit_files(other.pid, full=True)
            limit_files(other.pid, full=False)
        except OSError:
            return False
        finally:
            other.kill()
    return True


def limit_files(pid: int, *, full: bool) -> None:
    """Makes every write beyond a file's first page fail, or lets them succeed again."""
    most = _ALMOST_NOTHING if full else resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


class SmallDisk:
    """A directory on a small disk of its own. Raises `OSError` where it cannot be mounted."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        if not _mount(folder):
            raise OSError("a tmpfs cannot be mounted here")
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Fills the disk completely."""
        piece = b"\0" * 65536
        with self._ballast.open("wb", buffering=0) as file:
            while piece:
                try:
                    file.write(piece)
                except OSError:
                    piece = piece[: len(piece) // 2]

    def free(self) -> None:
        """Frees the disk again."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmounts and removes the disk."""
        _unmount(self.folder)
