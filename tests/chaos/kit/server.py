"""The server process: on one port and one data directory, killed, ended, frozen and started again."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.chaos.kit.nursery import Child, Nursery
from tests.chaos.kit.ports import free_port

START_SECONDS = 30
END_SECONDS = 5
"""The most seconds that a clean end may take."""


class Server:
    """A server that others talk to as `http://127.0.0.1:port`; `log` is what it wrote to standard error."""

    def __init__(self, nursery: Nursery, data_dir: Path, settings: dict[str, str]) -> None:
        self._nursery = nursery
        self._child: Child | None = None
        self._readers: list[asyncio.Task[None]] = []
        self.data_dir = data_dir
        self.settings = settings
        self.port = free_port()
        self.log: list[str] = []
        self.endings: list[str] = []
        """What was wrong with ends on SIGTERM, which should be clean."""
        self.lock = asyncio.Lock()
        """Held by the fault that stops the server, until it runs again."""

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._child is not None
        return self._child.pid

    async def start(self) -> None:
        """Starts it and waits until it is ready. Raises `RuntimeError` where it ends instead."""
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        with os.fdopen(out_write, "wb") as out, os.fdopen(err_write, "wb") as err:
            arguments = ["serve", "--port", str(self.port), "--data-dir", str(self.data_dir), "--no-browser"]
            env = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **self.settings}
            self._child = await self._nursery.start(arguments, env, "/", out, err)
        said = await _reader(out_read)
        self._readers = [asyncio.create_task(self._keep(await _reader(err_read)))]
        async with asyncio.timeout(START_SECONDS):
            while b"ready" not in (line := await said.readline()):
                if not line:
                    raise RuntimeError(f"the server did not start: {self.log[-5:]}")
        self._readers.append(asyncio.create_task(_drop(said)))

    async def _keep(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self.log.append(line.decode(errors="replace").rstrip())

    async def kill(self) -> None:
        """kill -9."""
        assert self._child is not None
        self._child.signal(signal.SIGKILL)
        await self._child.wait(10)
        await asyncio.gather(*self._readers)

    async def end(self) -> None:
        """Ends the server with SIGTERM, and notes whether it ended cleanly and quickly."""
        assert self._child is not None
        began = time.monotonic()
        self._child.signal(signal.SIGTERM)
        try:
            code = await self._child.wait(4 * END_SECONDS)
        except TimeoutError:
            self.endings.append("did not end on SIGTERM")
            await self.kill()
            return
        took = time.monotonic() - began
        if code != 0:
            self.endings.append(f"ended with exit code {code} on SIGTERM")
        if took > END_SECONDS:
            self.endings.append(f"took {took:.1f} s to end on SIGTERM")
        await asyncio.gather(*self._readers)

    async def freeze(self, seconds: float) -> None:
        """Stops the process with SIGSTOP, and continues it after the given time."""
        assert self._child is not None
        self._child.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._child.signal(signal.SIGCONT)

    async def close(self) -> None:
        """Kills the process if it still runs."""
        if self._child is not None and not self._child.code.done():
            with suppress(TimeoutError):
                await self.kill()


async def _reader(fd: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(fd, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


async def _drop(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass
