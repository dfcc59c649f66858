"""Node companions: the real executor, as child processes with an identity that outlives them."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.chaos.kit.proxy import Proxy

BUNDLE = Path(__file__).parents[3] / "server" / "keyside" / "static" / "companion" / "keyside-executor.mjs"
START_SECONDS = 30


class Companion:
    """One executor. Each program of it asks the upstream under a name of its own: `desk-1`, `desk-2`, ..."""

    def __init__(self, name: str, proxy: Proxy, upstream_port: int, folder: Path) -> None:
        self._proxy = proxy
        self._upstream_port = upstream_port
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._talk: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.name = name
        self.program = 0
        self.dead: set[str] = set()
        """The programs that were ended or killed."""
        self.said: list[str] = []

    @property
    def who(self) -> str:
        """The name of the present process."""
        return f"{self.name}-{self.program}"

    @property
    def alive(self) -> bool:
        """Whether it runs, frozen or not."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts a program, with the identity of the last one."""
        self.program += 1
        self._ready.clear()
        env = {
            "PATH": os.environ["PATH"],
            "KEYSIDE_EXECUTOR_DIR": str(self._folder),
            "OPENAI_COMPATIBLE_BASE_URL": f"http://127.0.0.1:{self._upstream_port}/v1",
            "OPENAI_COMPATIBLE_API_KEY": self.who,
        }
        url = f"http://127.0.0.1:{self._proxy.port}"
        self._process = await asyncio.create_subprocess_exec(
            "node",
            str(BUNDLE),
            "--url",
            url,
            "--name",
            self.name,
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        self._talk = asyncio.create_task(self._listen(self._process.stdout))

    async def ready(self) -> None:
        """Waits until it has announced its models."""
        await asyncio.wait_for(self._ready.wait(), START_SECONDS)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self.said.append(line.decode(errors="replace").rstrip())
            if b"is ready" in line:
                self._ready.set()

    async def freeze(self, seconds: float) -> None:
        """Stops the process with SIGSTOP, and continues it after the given time."""
        self._signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """kill -9."""
        self.dead.add(self.who)
        self._signal(signal.SIGKILL)
        await self._gone()

    async def end(self) -> None:
        """Ends it with SIGTERM. It stops its runs, tells the server, and exits."""
        self.dead.add(self.who)
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._gone(), 5)
        await self.kill()

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _gone(self) -> None:
        if self._process is not None:
            await self._process.wait()
        if self._talk is not None:
            await self._talk

    async def close(self) -> None:
        """Kills the process if it still runs."""
        self._signal(signal.SIGKILL)
        await self._gone()
