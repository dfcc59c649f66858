"""The servers under test as child processes, and what Linux says about them."""

import asyncio
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from tests.meta.repo import ROOT

PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
START_SECONDS = 30


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One child process, from `start` to `stop`."""

    def __init__(
        self, name: str, command: list[str], port: int, log: Path, settings: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.port = port
        self._command = command
        self._log = log
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> float:
        """Returns the seconds until it answered with 200."""
        before = perf_counter()
        self._process = self._spawn()
        while not await _answers(self.port):
            if self._process.poll() is not None or perf_counter() > before + START_SECONDS:
                raise RuntimeError(f"{self.name} did not start: see {self._log}")
            await asyncio.sleep(0.005)
        return perf_counter() - before

    def _spawn(self) -> subprocess.Popen[bytes]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYSIDE_")}
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, cwd=ROOT, env=clean | self._settings, stdout=log, stderr=log)

    def kill(self) -> None:
        """Kills the server with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def stop(self) -> None:
        """Ends the process with SIGTERM, or with SIGKILL if it does not end."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # --- what it uses ----------------------------------------------------------------------------

    @property
    def _proc(self) -> Path:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}")

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all its threads: in nanoseconds where the kernel counts so, else in clock ticks."""
        times = [file.read_text().split()[0] for file in self._proc.glob("task/*/schedstat")]
        if times and any(int(time) for time in times):
            return sum(map(int, times)) / 1e9
        ticks = (self._proc / "stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return int((self._proc / "statm").read_text().split()[1]) * PAGE_SIZE

    def written(self, kind: str) -> int:
        """Bytes since its start: `wchar`, all that it gave to `write`, or `write_bytes`, what goes to the disk."""
        lines = (self._proc / "io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(kind + ":"))


def relay(kind: str, folder: Path) -> Server:
    """A bare relay: `starlette`, `socketio` or `node`."""
    port = free_port()
    if kind == "node":
        command = ["node", str(Path(__file__).with_name("relay.mjs")), str(port)]
    else:
        command = [sys.executable, "-m", "tests.benchmarks.relays", kind, str(port)]
    return Server(kind, command, port, folder / f"{kind}.log")


class Keyside(Server):
    """`keyside serve` as a user runs it: SQLite on disk, every commit synced. Only the sign-in is off.

    With `settings` in its environment, or with sign-in, it is run in another way.
    """

    def __init__(
        self, folder: Path, name: str = "keyside", settings: dict[str, str] | None = None, auth: str = "off"
    ) -> None:
        port = free_port()
        self.data = folder / f"{name}-data"
        self.data.mkdir(exist_ok=True)
        options = ["--port", str(port), "--data-dir", str(self.data), "--auth", auth, "--no-browser"]
        command = [sys.executable, "-m", "keyside", "serve", *options, "--log-level", "warning"]
        super().__init__(name, command, port, folder / f"{name}.log", settings)

    async def token(self, *scopes: str) -> str:
        """A new API token of the owner."""
        chosen = [option for scope in scopes for option in ("--scope", scope)]
        command = [sys.executable, "-m", "keyside", "token", "create", "--name", "bench", "--data-dir", str(self.data)]
        made = await asyncio.create_subprocess_exec(*command, *chosen, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        said, _ = await made.communicate()
        return said.decode().strip()


async def _answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()


class WalWatch:
    """Counts the commits to a SQLite database, and the pages that they put into its write-ahead log.

    SQLite keeps both counters in the header of the `-shm` file. The number of pages begins anew when the log does, so
    it is looked at often; what came between the last look and the new beginning is not counted.
    """

    def __init__(self, database: Path) -> None:
        self._file = database.with_name(database.name + "-shm")
        self.commits = 0
        self.pages = 0
        self._last = (0, 0)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.commits = self.pages = 0
        self._last = self._look()
        self._task = asyncio.create_task(self._watch())

    def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        self._count()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            self._count()

    def _look(self) -> tuple[int, int]:
        with self._file.open("rb") as file:
            header = file.read(20)
        return struct.unpack_from("=I", header, 8)[0], struct.unpack_from("=I", header, 16)[0]

    def _count(self) -> None:
        commits, pages = self._look()
        last_commits, last_pages = self._last
        self.commits += (commits - last_commits) % 2**32
        self.pages += pages - last_pages if pages >= last_pages else pages
        self._last = commits, pages
