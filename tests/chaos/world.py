"""Everything that a schedule throws faults at: upstream, server, executors, viewers, and what was asked for."""

import asyncio
import json
import os
import random
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.kit.api import Api
from tests.chaos.kit.chromium import Chromium
from tests.chaos.kit.companion import Companion
from tests.chaos.kit.disk import SmallDisk, can_mount
from tests.chaos.kit.messy import Messy
from tests.chaos.kit.nursery import Nursery
from tests.chaos.kit.plain import Plain
from tests.chaos.kit.profile import Profile
from tests.chaos.kit.proxy import Proxy
from tests.chaos.kit.server import Server
from tests.chaos.kit.upstream import Upstream
from tests.chaos.kit.viewer import Viewer

SETTINGS = {"KEYSIDE_AUTH": "off", "KEYSIDE_CALLBACK_TIMEOUT": "1"}
GRACES = ("0.5", "3")
"""Seconds until a run is interrupted: with the shorter one most executors come back late (R4)."""


CHROMIUM = 1 / 8
"""The fraction of the schedules with a Chromium, which takes seconds to start."""


@dataclass
class Asked:
    """A run that the server has taken."""

    id: str
    chat_id: int
    message_id: str
    key: str
    plain: bool = False
    wants: str | None = None
    """The one executor that may run it."""
    stopped: bool = False


@dataclass
class Chat:
    """A chat that the schedule made."""

    id: int
    user_messages: list[str] = field(default_factory=list)
    regenerated: bool = False
    truncated: set[str] = field(default_factory=set)
    deleted: bool = False


class World:
    """Everything of one schedule. `async with` starts and ends it."""

    def __init__(self, seed: int, nursery: Nursery, chromium: Chromium) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.figures: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.asked: list[Asked] = []
        self.chats: list[Chat] = []
        self._folder = Path(tempfile.mkdtemp(prefix="keyside-chaos-"))
        self.disk: SmallDisk | None = None
        data_dir = self._folder / "data"
        if can_mount() and self.rng.random() < 0.3:
            self.disk = SmallDisk(data_dir)
        sync = "full" if self.rng.random() < 0.2 else "normal"
        settings = {**SETTINGS, "KEYSIDE_SYNC": sync, "KEYSIDE_RESUME_GRACE": GRACES[seed % 2]}
        self.server = Server(nursery, data_dir, settings)
        self.nursery = nursery
        # Drawn apart, so that schedules without Chromium are the same as if there were none.
        self._chromium = chromium if random.Random(f"chromium {seed}").random() < CHROMIUM else None
        self.upstream = Upstream()
        self.api = Api(self.server.port)
        self.proxies: list[Proxy] = []
        self.companions: list[Companion] = []
        self.messy: Messy | None = None
        self.plain: Plain | None = None
        self.profile: Profile | None = None
        self.viewers: list[Viewer] = []

    async def __aenter__(self) -> "World":
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _start(self) -> None:
        await self.upstream.start()
        if self._chromium is not None:
            self.figures["with Chromium"] += 1
            self.profile = Profile(await self._chromium.visitor(), await self._front())
        await self.server.start()
        for name in ("desk", "lap")[: self.rng.choice((1, 2, 2))]:
            self.companions.append(await self._companion(name))
        if self.rng.random() < 0.5:
            self.messy = Messy(await self.proxy(), self.upstream, random.Random(self.rng.random()))
            self.messy.start()
        if self.rng.random() < 0.3:
            self.plain = Plain(await self.proxy(), self.upstream, random.Random(self.rng.random()))
            self.plain.start()
        for number in range(self.rng.randint(1, 3)):
            self.viewers.append(Viewer(f"viewer {number}", await self.proxy()))
            self.viewers[-1].start()
        for companion in self.companions:
            await companion.ready()
        if self.messy is not None:
            await self.messy.ready()
        if self.profile is not None:
            await self.profile.start(self.upstream)

    async def _front(self) -> Proxy:
        """A proxy at the server's public address, because a page works only at the address that its policy names."""
        proxy = await self.proxy(public=True)
        self.server.settings["KEYSIDE_PUBLIC_URL"] = f"http://127.0.0.1:{proxy.port}"
        return proxy

    async def proxy(self, *, public: bool = False) -> Proxy:
        """Starts another proxy in front of the server."""
        proxy = Proxy(self.server.port, random.Random(self.rng.random()), public=public)
        await proxy.start()
        self.proxies.append(proxy)
        return proxy

    async def _companion(self, name: str) -> Companion:
        folder = self._folder / name
        folder.mkdir()
        identity = {"executorId": name, "secret": "a secret of the chaos tests", "name": name}
        (folder / "executor.json").write_text(json.dumps(identity))
        companion = Companion(name, await self.proxy(), self.upstream.port, folder)
        await companion.start()
        return companion

    @property
    def dead(self) -> set[str]:
        """The processes that ended, perhaps during an answer. What they requested upstream is lost."""
        found = set(self.messy.dead) if self.messy else set()
        found |= self.profile.dead if self.profile else set()
        return found.union(*(companion.dead for companion in self.companions))

    @property
    def living(self) -> set[str]:
        """The executors that run or will run again."""
        found = {companion.name for companion in self.companions if companion.alive}
        found |= {self.messy.name} if self.messy is not None and not self.messy.dead else set()
        return found | ({self.profile.name} if self.profile is not None and self.profile.alive else set())

    async def heal(self) -> None:
        """Ends every fault, and makes sure that an executor exists for every waiting run."""
        for proxy in self.proxies:
            proxy.heal()
        if self.disk is not None:
            self.disk.free()
        for viewer in self.viewers:
            viewer.start()
        needed = all(not companion.alive for companion in self.companions)
        for companion in self.companions:
            if not companion.alive and (needed or self.rng.random() < 0.7):
                await companion.start()
                needed = False

    async def doctor(self) -> list[str]:
        """What `keyside doctor` finds in the data directory."""
        with tempfile.TemporaryFile() as out:
            env = {"PATH": os.environ["PATH"]}
            child = await self.nursery.start(["doctor", "--data-dir", str(self.server.data_dir)], env, "/", out, out)
            code = await child.wait(60)
            out.seek(0)
            said = out.read().decode().strip()
        return [] if code == 0 else [f"the doctor: {line}" for line in said.splitlines()]

    async def _close(self) -> None:
        ends: list[Awaitable[object]] = [viewer.stop() for viewer in self.viewers]
        ends += [one.stop() for one in (self.messy, self.plain) if one is not None]
        ends += [companion.close() for companion in self.companions]
        ends += [self.profile.close()] if self.profile is not None else []
        ends += [self.api.close(), self.server.close()]
        for result in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(result, Exception):
                self.wrong.append("the kit: " + "".join(traceback.format_exception(result)))
        for proxy in self.proxies:
            proxy.close()
        self.upstream.close()
        if self.disk is not None:
            self.disk.close()
        with suppress(OSError):
            shutil.rmtree(self._folder)
