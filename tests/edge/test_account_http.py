"""Signing in, links and tokens by HTTP, and who is let in."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyside.protocol.errors import KeysideError
from tests.edge.doors import LOCAL, Doors, doors

FOREIGN = "https://evil.example"


@pytest.fixture
def edge(tmp_path: Path) -> Doors:
    return doors(tmp_path)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_link_is_redeemed_once_for_a_cookie(edge: Doors) -> None:
    code = await edge.code()
    async with edge.client(origin=LOCAL) as client:
        assert code_of(await client.get("/api/auth/me")) == (401, "unauthorized")
        answer = await client.post("/api/auth/redeem", json={"code": code})
        assert answer.json() == {"id": 1, "name": "owner", "auth": "local"}
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("keyside_session=")
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert (await client.get("/api/auth/me")).json()["name"] == "owner"
    async with edge.client(origin=LOCAL) as client:
        assert code_of(await client.post("/api/auth/redeem", json={"code": code})) == (401, "link_invalid")


async def test_a_cookie_of_an_https_server_is_secure(tmp_path: Path) -> None:
    edge = doors(tmp_path, public_url="https://chat.example.org")
    async with edge.browser() as client:
        assert (await client.get("/api/auth/me")).status_code == 200
        answer = await client.post("/api/auth/redeem", json={"code": await edge.code()})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-keyside_session=")
        assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(cookie.split("; "))
        assert "domain" not in cookie.lower()
        plain = {"cookie": f"keyside_session={client.cookies['__Host-keyside_session']}"}
    async with edge.client() as client:
        assert code_of(await client.get("/api/auth/me", headers=plain)) == (401, "unauthorized")


async def test_a_cookie_that_was_tampered_with_is_none(edge: Doors) -> None:
    async with edge.browser() as client:
        good = client.cookies["keyside_session"]
        value, _, signature = good.partition(".")
        other_signature = ("A" if signature[0] != "A" else "B") + signature[1:]
        listed = (await client.get("/api/auth/sessions")).json()["items"][0]["id"]
        for forged in (value, f"{value}.{other_signature}", f"{listed}.{signature}", "x" + good, "é", ""):
            headers = {b"cookie": f"keyside_session={forged}".encode()}
            async with edge.client() as other:
                assert code_of(await other.get("/api/auth/me", headers=headers)) == (401, "unauthorized")


async def test_signing_out_ends_the_sign_in_and_not_only_the_cookie(edge: Doors) -> None:
    async with edge.browser() as client:
        kept = client.cookies["keyside_session"]
        answer = await client.post("/api/auth/logout")
        assert answer.status_code == 204
        assert "keyside_session" not in client.cookies
        again = await client.get("/api/auth/me", headers={"cookie": f"keyside_session={kept}"})
        assert code_of(again) == (401, "unauthorized")


async def test_another_device_is_added_seen_and_signed_out(edge: Doors) -> None:
    async with edge.browser() as desktop, edge.client(origin=LOCAL) as phone:
        made = (await desktop.post("/api/auth/links")).json()
        url, _, code = made["url"].partition("/#signin=")
        assert url == LOCAL
        assert made["expires_at"].endswith("Z")
        await phone.post("/api/auth/redeem", json={"code": code}, headers={"user-agent": "Phone"})
        listed = (await desktop.get("/api/auth/sessions")).json()["items"]
        assert [(one["agent"] == "Phone", one["current"]) for one in listed] == [(True, False), (False, True)]
        path = f"/api/auth/sessions/{listed[0]['id']}"
        assert (await desktop.delete(path)).status_code == 204
        assert code_of(await desktop.delete(path)) == (404, "not_found")
        assert code_of(await phone.get("/api/auth/me")) == (401, "unauthorized")


async def test_a_token_is_shown_once_and_ends_when_it_is_revoked(edge: Doors) -> None:
    async with edge.browser() as client:
        made = (await client.post("/api/tokens", json={"name": "tool", "scopes": ["chats"]})).json()
        listed = (await client.get("/api/tokens")).json()["items"]
        assert listed == [{**made, "token": None}]
        async with edge.client(authorization=f"Bearer {made['token']}") as program:
            assert (await program.get("/api/auth/me")).json()["name"] == "owner"
            assert (await client.delete(f"/api/tokens/{made['id']}")).status_code == 204
            assert code_of(await program.get("/api/auth/me")) == (401, "unauthorized")
        assert code_of(await client.delete(f"/api/tokens/{made['id']}")) == (404, "not_found")


async def test_a_token_does_what_its_scopes_say_and_never_makes_another(edge: Doors) -> None:
    owner = await edge.accounts.owner()
    for scope, status in (("chats", 200), ("api", 403)):
        _, token = await edge.accounts.new_token(owner.id, "tool", [scope])
        # A token proves itself, so the Origin does not matter.
        async with edge.client(authorization=f"Bearer {token}", origin=FOREIGN) as program:
            assert (await program.post("/api/probe/chats")).status_code == status
            for refused in (program.post("/api/tokens", json={"name": "x"}), program.post("/api/auth/links")):
                assert code_of(await refused) == (403, "forbidden")


async def test_a_bearer_that_is_no_token_is_not_excused_by_a_cookie(edge: Doors) -> None:
    async with edge.browser() as client:
        answer = await client.get("/api/auth/me", headers={"authorization": "Bearer ks_wrong"})
        assert code_of(answer) == (401, "unauthorized")


async def test_a_page_of_another_origin_cannot_use_the_cookie(edge: Doors) -> None:
    async with edge.browser() as client:
        for origin in (FOREIGN, "null", "http://localhost:8000", "http://127.0.0.1:9000"):
            answer = await client.post("/api/auth/links", headers={"origin": origin})
            assert code_of(answer) == (403, "bad_origin")
        del client.headers["origin"]
        assert code_of(await client.post("/api/auth/links")) == (403, "bad_origin")
        same = {"sec-fetch-site": "same-origin"}
        assert (await client.post("/api/auth/links", headers=same)).status_code == 201
        assert (await client.get("/api/auth/me")).status_code == 200


async def test_a_page_of_another_origin_cannot_sign_a_browser_in(edge: Doors) -> None:
    code = await edge.code()
    async with edge.client(origin=FOREIGN) as client:
        assert code_of(await client.post("/api/auth/redeem", json={"code": code})) == (403, "bad_origin")
    async with edge.client() as program:
        assert (await program.post("/api/auth/redeem", json={"code": code})).status_code == 200


async def test_wrong_codes_are_limited_and_a_good_one_never_is(edge: Doors) -> None:
    code = await edge.code()
    async with edge.client(origin=LOCAL) as client:
        for path in ("/api/auth/redeem", "/api/auth/links/check") * 5:
            assert code_of(await client.post(path, json={"code": "guess"})) == (401, "link_invalid")
        for path in ("/api/auth/redeem", "/api/auth/links/check"):
            answer = await client.post(path, json={"code": "guess"})
            assert code_of(answer) == (429, "too_many_attempts")
            assert answer.json()["error"]["retryable"] is True
        assert (await client.post("/api/auth/links/check", json={"code": code})).status_code == 200
        assert (await client.post("/api/auth/redeem", json={"code": code})).status_code == 200


async def test_whose_a_link_is_is_told_without_spending_it(edge: Doors) -> None:
    async with edge.browser() as client:
        guest = await edge.guest()
        code = (await edge.accounts.new_link(guest.id)).code
        for _ in range(2):
            answer = await client.post("/api/auth/links/check", json={"code": code})
            now = {"id": 1, "name": "owner", "auth": "local"}
            assert answer.json() == {"id": guest.id, "name": "guest", "signed_in": now}
            assert "set-cookie" not in answer.headers
        assert (await client.get("/api/auth/me")).json()["name"] == "owner"
        async with edge.client(origin=LOCAL) as stranger:
            answer = await stranger.post("/api/auth/links/check", json={"code": code})
            assert answer.json() == {"id": guest.id, "name": "guest", "signed_in": None}
        foreign = await client.post("/api/auth/links/check", json={"code": code}, headers={"origin": FOREIGN})
        assert code_of(foreign) == (403, "bad_origin")
        assert (await client.post("/api/auth/redeem", json={"code": code})).json()["name"] == "guest"
        assert (await client.get("/api/auth/me")).json()["name"] == "guest"


async def test_a_browser_that_signs_in_again_has_one_sign_in(edge: Doors) -> None:
    async with edge.browser() as client:
        before = client.cookies["keyside_session"]
        for expected in (401, 200):
            code = await edge.code() if expected == 200 else "guess"
            assert (await client.post("/api/auth/redeem", json={"code": code})).status_code == expected
            assert len((await client.get("/api/auth/sessions")).json()["items"]) == 1
    async with edge.client(cookie=f"keyside_session={before}") as other:
        assert code_of(await other.get("/api/auth/me")) == (401, "unauthorized")


async def test_each_client_behind_a_trusted_proxy_is_counted_by_itself(tmp_path: Path) -> None:
    edge = doors(tmp_path, trusted_proxies="127.0.0.0/8")
    async with edge.client(origin=LOCAL) as client:

        async def guess(*forwarded: str) -> int:
            headers = [("x-forwarded-for", one) for one in forwarded]
            return (await client.post("/api/auth/redeem", json={"code": "guess"}, headers=headers)).status_code

        for n in range(10):
            assert await guess(f"198.51.100.{n}, 203.0.113.7") == 401
        assert await guess("198.51.100.99", "203.0.113.7") == 429
        assert await guess("203.0.113.7, 203.0.113.8") == 401


async def test_who_has_no_trusted_proxy_cannot_reset_the_count(edge: Doors) -> None:
    async with edge.client(origin=LOCAL) as client:
        for n in range(11):
            headers = {"x-forwarded-for": f"203.0.113.{n}", "forwarded": f"for=203.0.113.{n}"}
            answer = await client.post("/api/auth/redeem", json={"code": "guess"}, headers=headers)
    assert answer.status_code == 429


async def test_a_token_for_a_shared_executor_is_not_made_here(edge: Doors) -> None:
    async with edge.browser() as client:
        for scopes in (["executor:shared"], ["api", "executor:shared"]):
            answer = await client.post("/api/tokens", json={"name": "farm", "scopes": scopes})
            assert code_of(answer) == (403, "forbidden")
            assert "keyside token create --name NAME --scope executor:shared" in answer.json()["error"]["message"]
        assert (await client.get("/api/tokens")).json()["items"] == []


async def test_in_off_mode_everybody_is_the_owner_and_foreign_pages_are_refused(tmp_path: Path) -> None:
    edge = doors(tmp_path, auth="off")
    async with edge.client() as program:
        assert (await program.get("/api/auth/me")).json() == {"id": 1, "name": "owner", "auth": "off"}
        assert (await program.post("/api/probe/chats")).json() == "off"
        sdk = {"authorization": "Bearer sk-anything"}
        assert (await program.post("/api/probe/chats", headers=sdk)).json() == "off"
        for headers in ({"origin": FOREIGN}, {"origin": FOREIGN, **sdk}, {"origin": "null"}):
            assert code_of(await program.post("/api/probe/chats", headers=headers)) == (403, "bad_origin")


async def test_a_socket_needs_a_credential_and_a_page_of_our_own(edge: Doors) -> None:
    """[C2] a socket is let in by its cookie from our own page, or by a token from anywhere"""

    async def knock(token: str | None = None, **headers: str) -> str:
        try:
            identity = await edge.authenticator.identify(
                {"host": "127.0.0.1:8000", **headers}, method="GET", for_socket=True, token=token
            )
        except KeysideError as error:
            return error.code
        return identity.kind

    _, token = await edge.accounts.new_token((await edge.accounts.owner()).id, "tool", ["executor"])
    async with edge.browser() as client:
        cookie = f"other=1; keyside_session={client.cookies['keyside_session']}"
    assert await knock() == "unauthorized"
    assert await knock(origin=LOCAL) == "unauthorized"
    assert await knock(cookie=cookie, origin=LOCAL) == "session"
    assert await knock(cookie=cookie, origin=FOREIGN) == "bad_origin"
    assert await knock(cookie=cookie) == "bad_origin"
    assert await knock(token) == "token"
    assert await knock(token, origin=FOREIGN) == "token"
    assert await knock(token[:-1]) == "unauthorized"
    assert await knock(authorization=f"Bearer {token}") == "token"


async def test_in_off_mode_a_socket_needs_nothing_and_a_foreign_page_is_refused(tmp_path: Path) -> None:
    """[C2] in `off` mode nothing is needed, but the Origin is still checked"""
    authenticator = doors(tmp_path, auth="off").authenticator
    headers = {"host": "localhost:8000"}
    assert (await authenticator.identify(headers, method="GET", for_socket=True)).kind == "off"
    own = {**headers, "origin": "http://localhost:8000"}
    assert (await authenticator.identify(own, method="GET", for_socket=True)).kind == "off"
    with pytest.raises(KeysideError, match="another origin"):
        await authenticator.identify({**headers, "origin": FOREIGN}, method="GET", for_socket=True)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"json": {}}, "'code' in the body is not as it should be: field required."),
        ({"json": {"code": 7}}, "'code' in the body is not as it should be: input should be a valid string."),
        ({"json": []}, "The body is not as it should be: "),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, "The body is not valid JSON: "),
        ({"content": b"\xff", "headers": {"content-type": "application/json"}}, "The body is not valid JSON: "),
    ],
)
async def test_a_request_that_is_not_valid_is_told_what_is_wrong(edge: Doors, sent: Any, said: str) -> None:
    async with edge.client() as client:
        answer = await client.post("/api/auth/redeem", **sent)
    assert code_of(answer) == (400, "bad_request")
    assert answer.json()["error"]["message"].startswith(said)


async def test_paths_and_methods_that_are_not_there_have_the_same_shape(edge: Doors) -> None:
    async with edge.client() as client:
        assert code_of(await client.get("/api/nope")) == (404, "not_found")
        assert code_of(await client.post("/nope")) == (404, "not_found")
        wrong = await client.put("/api/auth/me")
        assert code_of(wrong) == (405, "bad_request")
        assert wrong.headers["allow"] == "GET"


async def test_a_crash_shows_nothing_of_itself(edge: Doors, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with edge.client() as client:
            answer = await client.get("/api/probe/crash")
    assert code_of(answer) == (500, "internal")
    assert "canary" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
