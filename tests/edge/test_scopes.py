"""What a token may do: to spend a key takes `api`, to write into a chat `chats`, and both take both."""

from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.edge.live import LiveServer, connected, executing, new_chat
from tests.edge.test_sockets import refusal

rule = pytest.mark.rule


async def token(owner: httpx.AsyncClient, *scopes: str) -> str:
    answer = await owner.post("/api/tokens", json={"name": "test", "scopes": scopes})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def missing(answer: httpx.Response) -> str:
    """The scope that a refusal names."""
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert error["code"] == "forbidden"
    return str(error["message"]).split("'")[1]


@rule("E12", "S2")
async def test_to_start_a_run_takes_both_scopes(local: LiveServer, signed_in: dict[str, str]) -> None:
    body = {"model": "desk/m", "message": {"content": "hello"}}
    async with local.http(**signed_in) as owner:
        path = f"/api/chats/{await new_chat(owner)}/runs"
        for scopes, lacks in ((("chats",), "api"), (("api",), "chats"), (("executor",), "chats")):
            async with local.http(authorization=f"Bearer {await token(owner, *scopes)}") as program:
                assert missing(await program.post(path, json=body)) == lacks
        async with executing(local.url, auth={"token": await token(owner, "executor")}):
            async with local.http(authorization=f"Bearer {await token(owner, 'api', 'chats')}") as program:
                started = await program.post(path, json=body)
                assert started.status_code == 202
            by_hand = await owner.post(f"/api/chats/{await new_chat(owner)}/runs", json=body)
            assert by_hand.status_code == 202


@rule("E12", "S2")
async def test_a_completion_that_is_stored_in_a_chat_takes_both_scopes(
    local: LiveServer, signed_in: dict[str, str]
) -> None:
    body = {"model": "nobody/has-this", "messages": [{"role": "user", "content": "hello"}]}
    async with local.http(**signed_in) as owner:
        chat_id = await new_chat(owner)
        for scopes, lacks in ((("chats",), "api"), (("api",), "chats")):
            async with local.http(authorization=f"Bearer {await token(owner, *scopes)}") as program:
                refused = await program.post("/api/chat/completions", json={**body, "chat_id": chat_id})
                assert missing(refused) == lacks
        assert (await owner.get(f"/api/chats/{chat_id}/messages")).json()["items"] == []
        for more, sent in (([], body), (["chats"], {**body, "chat_id": chat_id})):
            async with local.http(authorization=f"Bearer {await token(owner, 'api', *more)}") as program:
                answer = await program.post("/api/chat/completions", json=sent)
                assert answer.json()["error"]["code"] == "model_not_found"


@rule("C9")
async def test_one_token_leaves_sockets_for_everybody_else(tmp_path: Path) -> None:
    server = LiveServer(tmp_path, "local", user_sockets="4")
    server.start()
    try:
        async with server.http(origin=server.url) as http:
            await http.post("/api/auth/redeem", json={"code": server.link.rpartition("=")[2]})
            made = [await http.post("/api/tokens", json={"name": "t", "scopes": ["executor"]}) for _ in range(2)]
            first, second = [answer.json()["token"] for answer in made]
            async with AsyncExitStack() as stack:
                for _ in range(2):
                    await stack.enter_async_context(connected(server.url, {"token": first}))
                assert await refusal(server.url, {"token": first}) == "too_many_connections"
                await stack.enter_async_context(connected(server.url, {"token": second}))
    finally:
        server.end()
