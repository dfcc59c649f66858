"""Forgetting an executor over HTTP, and what viewers hear of it."""

import httpx
import pytest

from tests.edge.live import LiveServer, connected, executing
from tests.edge.test_http import code_of

rule = pytest.mark.rule


@rule("E1")
async def test_an_executor_that_is_away_is_forgotten(live: LiveServer, http: httpx.AsyncClient) -> None:
    path = "/api/executors/old-phone"
    async with connected(live.url) as viewer:
        async with executing(live.url, "old-phone"):
            assert code_of(await http.delete(path)) == (409, "conflict")
            await viewer.next("executors:changed")
        await viewer.next("executors:changed")
        answer = await http.delete(path)
        assert (answer.status_code, answer.content) == (204, b"")
        await viewer.next("executors:changed")
    assert "old-phone" not in [one["id"] for one in (await http.get("/api/executors")).json()["items"]]
    assert code_of(await http.delete(path)) == (404, "not_found")
