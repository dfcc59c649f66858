"""Credentials that end while their sockets are open."""

import asyncio
import sqlite3
from contextlib import closing

import httpx
import pytest

from keyside.services.accounts import digest
from tests.edge.live import LiveServer, connected, new_chat

rule = pytest.mark.rule
SOON = 5 + 10
"""The rule's five seconds, and room for a machine that is busy."""


async def new_token(owner: httpx.AsyncClient) -> tuple[str, str]:
    """A token's id, and the token."""
    made = (await owner.post("/api/tokens", json={"name": "test", "scopes": ["chats", "executor"]})).json()
    return made["id"], made["token"]


@rule("C7")
async def test_a_token_that_is_revoked_loses_its_sockets_and_no_others(
    local: LiveServer, signed_in: dict[str, str]
) -> None:
    async with local.http(**signed_in) as owner:
        id, token = await new_token(owner)
        _, other = await new_token(owner)
        async with (
            connected(local.url, {"token": token}) as one,
            connected(local.url, {"token": token}) as two,
            connected(local.url, {"token": other}) as kept,
        ):
            assert (await owner.delete(f"/api/tokens/{id}")).status_code == 204
            await asyncio.wait_for(asyncio.gather(one.gone.wait(), two.gone.wait()), SOON)
            chat_id = await new_chat(owner)
            assert (await kept.call("chat:open", {"chat_id": chat_id}))["ok"] is True


@rule("C7")
async def test_a_browser_that_is_signed_out_loses_its_sockets(local: LiveServer, signed_in: dict[str, str]) -> None:
    async with local.http(**signed_in) as owner:
        code = (await owner.post("/api/auth/links")).json()["url"].rpartition("=")[2]
        async with local.http(origin=local.url) as phone:
            await phone.post("/api/auth/redeem", json={"code": code})
            cookie = f"keyside_session={phone.cookies['keyside_session']}"
            async with connected(local.url, cookie=cookie, origin=local.url) as tab:
                assert (await phone.post("/api/auth/logout")).status_code == 204
                await asyncio.wait_for(tab.gone.wait(), SOON)


@rule("C7")
@pytest.mark.parametrize("change", ["UPDATE token SET revoked_at = 1 WHERE id = ?", "DELETE FROM token WHERE id = ?"])
async def test_what_another_process_revokes_is_noticed_too(
    local: LiveServer, signed_in: dict[str, str], change: str
) -> None:
    async with local.http(**signed_in) as owner:
        id, token = await new_token(owner)
    async with connected(local.url, {"token": token}) as program:
        with closing(sqlite3.connect(local.database, timeout=20)) as database, database:
            database.execute(change, (id,))
        await asyncio.wait_for(program.gone.wait(), SOON)


@rule("C7")
async def test_a_sign_in_that_expires_loses_its_sockets(local: LiveServer, signed_in: dict[str, str]) -> None:
    async with local.http(**signed_in) as owner:
        code = (await owner.post("/api/auth/links")).json()["url"].rpartition("=")[2]
    async with local.http(origin=local.url) as phone:
        await phone.post("/api/auth/redeem", json={"code": code})
        value = phone.cookies["keyside_session"]
    async with connected(local.url, cookie=f"keyside_session={value}", origin=local.url) as tab:
        with closing(sqlite3.connect(local.database, timeout=20)) as database, database:
            id = (digest(value.partition(".")[0]),)
            assert database.execute("UPDATE signin SET expires_at = 1 WHERE hash = ?", id).rowcount == 1
        await asyncio.wait_for(tab.gone.wait(), SOON)
