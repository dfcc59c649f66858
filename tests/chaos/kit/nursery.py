"""Starts `keyside` commands as processes of their own without importing everything anew each time.

A child of this program (`python -m tests.chaos.kit.nursery FD`) has imported the server; for each request it forks
a process that runs the command line as `python -m keyside` would, and it tells the exit code when that ends.
"""

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

_MOST = 64 * 1024


class Child:
    """A process that the nursery started."""

    def __init__(self, pid: int, code: "asyncio.Future[int]") -> None:
        self.pid = pid
        self.code = code

    def signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if not self.code.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait(self, timeout: float) -> int:
        """Its exit code; negative for a signal. Raises `TimeoutError`."""
        return await asyncio.wait_for(asyncio.shield(self.code), timeout)


class Nursery:
    """The forking program, and what it started."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = [sys.executable, "-m", "tests.chaos.kit.nursery", str(theirs.fileno())]
            self._process = subprocess.Popen(arguments, pass_fds=[theirs.fileno()])
        self._ours.setblocking(False)
        self._asked: list[asyncio.Future[int]] = []
        self._codes: dict[int, asyncio.Future[int]] = {}
        asyncio.get_running_loop().add_reader(self._ours.fileno(), self._told)

    async def start(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, stdout: IO[Any], stderr: IO[Any]
    ) -> Child:
        """Runs `keyside ARGV...` with these outputs."""
        pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asked.append(pid)
        asked = json.dumps({"argv": list(argv), "env": dict(env), "cwd": cwd}).encode()
        socket.send_fds(self._ours, [asked], [stdout.fileno(), stderr.fileno()])
        return Child(await pid, self._codes[pid.result()])

    def _told(self) -> None:
        try:
            data = self._ours.recv(_MOST)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._ours.fileno())
            return
        said = json.loads(data)
        if "started" in said:
            self._codes[said["started"]] = asyncio.get_running_loop().create_future()
            self._asked.pop(0).set_result(said["started"])
        else:
            self._codes.pop(said["ended"]).set_result(said["code"])

    def close(self) -> None:
        """Ends it; what it started and nobody ended is killed."""
        asyncio.get_running_loop().remove_reader(self._ours.fileno())
        for pid in self._codes:
            os.kill(pid, signal.SIGKILL)
        self._ours.close()
        self._process.wait(timeout=10)


def _serve(wire: socket.socket) -> None:
    import keyside.app
    import keyside.cli.serve  # noqa: F401
    from keyside.cli import main

    awake, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([wire.fileno(), awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            _reap(wire)
        if wire.fileno() in ready:
            data, fds, _, _ = socket.recv_fds(wire, _MOST, 2)
            if not data:
                return
            pid = os.fork()
            if pid == 0:
                _become(json.loads(data), fds, [wire.fileno(), awake, alarm], main)
            for fd in fds:
                os.close(fd)
            wire.send(json.dumps({"started": pid}).encode())


def _reap(wire: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        wire.send(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def _become(asked: dict[str, Any], fds: list[int], strange: list[int], main: Any) -> None:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, fd in enumerate(fds, 1):
            os.dup2(fd, number)
        for fd in (*fds, *strange):
            os.close(fd)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        sys.argv = ["keyside", *asked["argv"]]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as wire:
        _serve(wire)
