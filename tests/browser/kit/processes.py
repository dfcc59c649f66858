"""Child processes of the tests: started, waited for with a bound, and ended by their own id."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sqlite3
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from keyside.adapters.clock import RandomIds, SystemClock
from keyside.adapters.sql.accounts import SqlAccounts
from keyside.adapters.sql.database import database_of
from keyside.adapters.sql.writer import SqlWriter
from keyside.services.accounts import Accounts
from keyside.services.notices import Notices

START_SECONDS = 30
END_SECONDS = 15


def clean_environment() -> dict[str, str]:
    """This process's environment without the variables that configure a server or contain keys."""
    secret = re.compile(r"^(KEYSIDE_|AIMOCK_)|_(API_KEY|BASE_URL)$|^OLLAMA_HOST$")
    return {name: value for name, value in os.environ.items() if not secret.search(name)}


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def end(process: Process) -> int:
    """Ends a process with SIGTERM, or with SIGKILL if it does not end. Returns its exit code."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(END_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


@dataclass
class Keyside:
    """A server as `keyside serve` starts it, on a data directory that outlives it."""

    data_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    """The address at which people reach the server."""
    port: int = 0
    """The port on which it listens. It stays the same after a restart."""
    link: str = ""
    """The sign-in link that it printed."""
    process: Process | None = None

    @property
    def log(self) -> Path:
        """What the server has written to standard error, over all its starts."""
        return self.data_dir.parent / f"{self.data_dir.name}.log"

    async def start(self) -> None:
        """Starts the server, and returns when it is ready."""
        # A server that has a public address does not say on which port it listens.
        if "KEYSIDE_PUBLIC_URL" in self.settings:
            self.port = self.port or free_port()
        options = ["--port", str(self.port), "--no-browser", "--data-dir", str(self.data_dir)]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "keyside", "serve", *options),
                env={**clean_environment(), **self.settings},
                cwd=self.data_dir.parent,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._read_what_it_says(self.process)
        except BaseException:
            await self.stop()
            raise

    async def _read_what_it_says(self, process: Process) -> None:
        assert process.stdout is not None
        while not self.link or not self.url:
            line = (await process.stdout.readline()).decode()
            assert line, f"The server did not start:\n{self.log.read_text()}"
            if ready := re.search(r"ready at (\S+)", line):
                self.url = ready[1]
            if "Sign in" in line:
                self.link = line.split()[-1]
        self.port = self.port or int(self.url.rpartition(":")[2])

    async def stop(self) -> None:
        """Ends it; the data stays."""
        if self.process is not None:
            await end(self.process)
            self.process = None

    async def kill(self) -> None:
        """Kills the server, as a power cut would."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()
        self.process = None

    async def restart(self) -> None:
        """Ends it and starts it again at the same port."""
        await self.stop()
        self.link = ""
        await self.start()

    @contextmanager
    def store_away(self) -> Iterator[None]:
        """Makes the store unavailable while the block runs: another process holds a write transaction."""
        with closing(sqlite3.connect(self.data_dir / "keyside.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    async def link_of(self, name: str) -> str:
        """A sign-in link of an account, which is made if it is not there; the server may be running."""
        database = database_of(self.data_dir)
        writer = SqlWriter(database)
        try:
            store = SqlAccounts(database, writer)
            accounts = Accounts(store, SystemClock(), RandomIds(), Notices())
            return (await accounts.new_link((await store.user(name, 0)).id)).url(self.url)
        finally:
            await writer.close()
            database.close()

    def complaints(self) -> list[str]:
        """Lines of the log that should not occur."""
        bad = re.compile(r"Traceback|ERROR|CRITICAL|Error:|Exception|never (awaited|retrieved)")
        return [line for line in self.log.read_text().splitlines() if bad.search(line)]


class Servers:
    """Servers, each with a data directory of its own. One without settings is started ahead: it takes a second.

    The event loop stands still while tests of other folders run, so that the one ahead may seem to have been too slow.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._spare = asyncio.create_task(self._start({}))

    async def _start(self, settings: Mapping[str, str]) -> Keyside:
        self._count += 1
        server = Keyside(self._folder / str(self._count), settings)
        await server.start()
        return server

    async def take(self, **settings: str) -> Keyside:
        """A running server; `settings` are named as in the environment, without the prefix and in lower case."""
        if settings:
            return await self._start({f"KEYSIDE_{name.upper()}": value for name, value in settings.items()})
        spare = self._spare
        self._spare = asyncio.create_task(self._start({}))
        try:
            return await spare
        except TimeoutError:
            return await self._start({})

    async def close(self) -> None:
        """Ends the server that was started ahead and is not used."""
        with suppress(TimeoutError):
            await (await self._spare).stop()
