"""A real server with two accounts: one that attacks it, and one that has something to lose and goes on chatting."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx

from keyside.adapters.clock import RandomIds, SystemClock
from keyside.adapters.sql.accounts import SqlAccounts
from keyside.adapters.sql.database import database_of
from keyside.adapters.sql.writer import SqlWriter
from keyside.services.accounts import OWNER, Accounts
from keyside.services.notices import Notices
from tests.edge.live import SECONDS, Client, Executor, LiveServer, ask, connected, ended, message_of, new_chat

ARRIVAL_SECONDS = 2
"""How long heads, pauses in bodies and sign-ins may take at this server."""
TOKENS = {"api": ["api"], "chats": ["chats"], "executor": ["executor"], "shared": ["executor:shared"]}
"""The attacker's tokens, by what they are called here, with their scopes."""
CALLERS = ("nobody", "cookie", *TOKENS)
_ELSEWHERE = "127.0.0.2"
"""From here people sign in, so that an attack from the usual address does not lock them out."""
_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING) [\w.]+: ")


class Target:
    """The server under attack. `known` has the ids that marks stand for (`values.Ids`)."""

    def __init__(self, folder: Path, transport: str, most_growth: int) -> None:
        self._most_growth = most_growth
        self.server = LiveServer(
            folder,
            "local",
            transport=transport,
            arrival_timeout=str(ARRIVAL_SECONDS),
            socket_events="1000000",
            idle_timeout="80000",
            sync="normal",
        )
        self.canary = f"kept-{secrets.token_hex(8)}"
        """It stands in whatever the other account has."""
        self.known: dict[str, object] = {}
        self.wrong: list[str] = []
        self.headers: dict[str, dict[str, str]] = {"nobody": {}}
        self.kept: dict[str, str] = {}
        """The headers of a browser of the attacker's that nothing signs out."""
        self._idle = 0
        self._checked = 0
        """How much of the log is looked at."""

    def blame(self, what: str, *details: object) -> None:
        """Notes something that must not be."""
        self.wrong.append(": ".join([what, *(_short(detail) for detail in details)]))

    def hear(self, heard: str | bytes, *details: object) -> None:
        """Looks at what the attacker was told."""
        text = heard if isinstance(heard, str) else heard.decode("latin-1")
        if self.canary in text:
            self.blame("another user's data was told", *details, text)

    # --- credentials -----------------------------------------------------------------------------

    async def sign_in(self, name: str = "mallory") -> dict[str, str]:
        """The headers of a new browser of the account. The first time there is an account of that name."""
        code = await asyncio.to_thread(asyncio.run, self._on_store(name, None))
        transport = httpx.AsyncHTTPTransport(local_address=_ELSEWHERE)
        agent = self.canary if name == OWNER else "attacker"
        own = {"origin": self.server.url, "user-agent": agent}
        async with httpx.AsyncClient(base_url=self.server.url, transport=transport, headers=own) as http:
            answer = await http.post("/api/auth/redeem", json={"code": code})
        assert answer.status_code == 200, answer.text
        cookies = "; ".join(f"{name}={value}" for name, value in answer.cookies.items())
        return {"cookie": cookies, "origin": self.server.url}

    async def token(self, name: str, scopes: list[str], title: str) -> str:
        """A new token of the account."""
        return await asyncio.to_thread(asyncio.run, self._on_store(name, scopes, title))

    async def _on_store(self, name: str, scopes: list[str] | None, title: str = "") -> str:
        """What the command line does beside a running server: a link's code, or a token with these scopes."""
        database = database_of(self.server.data_dir, sync="normal")
        writer = SqlWriter(database)
        try:
            store = SqlAccounts(database, writer)
            accounts = Accounts(store, SystemClock(), RandomIds(), Notices())
            user = await store.user(name, SystemClock().now())
            if scopes is None:
                return (await accounts.new_link(user.id)).code
            return (await accounts.new_token(user.id, title, scopes, by_operator=True))[1]
        finally:
            writer.stop()
            database.close()

    async def admit(self) -> None:
        """Gives the attacker all credentials that there are. The cookies are new ones each time: old ones are ended."""
        for name, scopes in TOKENS.items():
            if name not in self.headers:
                self.headers[name] = {"authorization": f"Bearer {await self.token('mallory', scopes, name)}"}
        self.kept = await self.sign_in()
        self.headers["cookie"] = await self.sign_in()

    # --- what must hold --------------------------------------------------------------------------

    @property
    def _status(self) -> str:
        return Path(f"/proc/{self.server.pid}/status").read_text()

    def _memory(self, name: str) -> int:
        """`VmRSS` is what the server has now, `VmHWM` the most that it ever had, in bytes."""
        found = re.search(rf"{name}:\s+(\d+) kB", self._status)
        assert found is not None
        return int(found[1]) * 1024

    def settle(self) -> None:
        """From now on the memory counts."""
        Path(f"/proc/{self.server.pid}/clear_refs").write_text("5")
        self._idle = self._memory("VmRSS")

    @property
    def growth(self) -> int:
        """How far the memory has risen at its highest, in bytes."""
        return self._memory("VmHWM") - self._idle

    def check(self) -> None:
        """What can be seen from outside of the server."""
        if self.growth > self._most_growth:
            self.blame(f"memory rose by {self.growth / 2**20:.0f} MiB")
        log, self._checked = self.server.log[self._checked :], len(self.server.log)
        for is_ours, lines in groupby(log.splitlines(), lambda line: _LOG_LINE.match(line) is not None):
            if not is_ours:
                self.blame("the log has an error, a traceback, or a line of somebody else's", "\n".join(lines))


class Bystander:
    """The other account: a browser, and an executor that answers."""

    def __init__(self, target: Target, http: httpx.AsyncClient, executor: Executor) -> None:
        self._target = target
        self._http = http
        self._executor = executor
        self._kept: Any = None

    async def settle_in(self) -> None:
        """Has one of everything, all with the canary in it, and tells the target the ids."""
        canary, http = self._target.canary, self._http
        chat_id = await new_chat(http)
        (await http.patch(f"/api/chats/{chat_id}", json={"title": canary})).raise_for_status()
        started, text = await self._chat(chat_id)
        token = await http.post("/api/tokens", json={"name": canary, "scopes": ["api"]})
        running = await ask(http, chat_id=chat_id, model=f"{canary}/m")
        offer = await self._executor.offer()
        await self._executor.claim(offer)
        self._kept = started, text
        sign_ins = (await http.get("/api/auth/sessions")).json()["items"]
        self._target.known |= {
            "other:chat": chat_id,
            "other:message": started["assistant_message"]["id"],
            "other:run": running["run"]["id"],
            "other:executor": self._executor.announcement["executor_id"],
            "other:session": self._executor.client.session_id,
            "other:channel": offer["channel"],
            "other:secret": self._executor.announcement["secret"],
            "other:token": token.json()["id"],
            "other:sign_in": sign_ins[0]["id"],
        }

    async def _chat(self, chat_id: int | None = None) -> tuple[Any, str]:
        """An ordinary question and its answer."""
        started = await ask(self._http, chat_id=chat_id, model=f"{self._target.canary}/m")
        offer = await self._executor.offer()
        await self._executor.claim(offer)
        text = f"{self._target.canary} {started['run']['id']}"
        await self._executor.finish(
            offer, 0, f'data: {{"choices":[{{"delta":{{"content":"{text}"}}}}]}}', "data: [DONE]"
        )
        return started, text

    async def check(self) -> None:
        """It still gets answers, and has what it had."""
        try:
            async with asyncio.timeout(SECONDS):
                started, text = await self._chat()
                assert await ended(self._http, started) == ("done", None, text)
                kept, text = self._kept
                assert (await message_of(self._http, kept))["content"] == text
                run = (await self._http.get(f"/api/runs/{self._target.known['other:run']}")).json()
                assert run["state"] == "streaming", run
        except Exception as error:
            self._target.blame("the other account is disturbed", repr(error))


@asynccontextmanager
async def besieged(folder: Path, transport: str, most_growth: int) -> AsyncIterator[tuple[Target, Bystander]]:
    """A server with both accounts, from its start to its end. `most_growth` is in bytes."""
    async with AsyncExitStack() as stack:
        target = Target(folder, transport, most_growth)
        stack.callback(target.server.end)
        await asyncio.to_thread(target.server.start)
        browser = await target.sign_in(OWNER)
        http = await stack.enter_async_context(target.server.http(**browser))
        client: Client = await stack.enter_async_context(connected(target.server.url, **browser))
        executor = Executor(client, "others-desk")
        executor.announcement |= {"name": target.canary, "connections": [_connection(target.canary)]}
        await executor.ready()
        bystander = Bystander(target, http, executor)
        await bystander.settle_in()
        await target.admit()
        target.settle()
        yield target, bystander


def _connection(canary: str) -> dict[str, Any]:
    return {"id": "c1", "provider": canary, "label": canary, "models": [{"id": "m", "name": canary}]}


def _short(detail: object) -> str:
    text = detail if isinstance(detail, str) else repr(detail)
    return text if len(text) <= 1000 else f"{text[:400]} ... {text[-500:]}"
