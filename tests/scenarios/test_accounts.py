"""Links, sign-ins and tokens as time goes by."""

import asyncio
from typing import Any

import pytest

from keyside.adapters.memory.accounts import MemoryAccounts
from keyside.protocol.errors import KeysideError
from keyside.services.account_store import StoredSignIn, StoredToken, User
from keyside.services.accounts import LINK_SECONDS, LOOKUPS, MOST_TOKENS, SIGN_IN_SECONDS, Accounts, digest
from keyside.services.notices import CredentialRevoked, Notices
from keyside.services.sign_in_throttle import SignInThrottle
from keyside.testing import CountingIds, FakeClock, settle


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def notices() -> Notices:
    return Notices()


@pytest.fixture
def store() -> MemoryAccounts:
    return MemoryAccounts()


@pytest.fixture
def accounts(store: MemoryAccounts, clock: FakeClock, notices: Notices) -> Accounts:
    return Accounts(store, clock, CountingIds(), notices)


async def link(accounts: Accounts) -> str:
    return (await accounts.new_link((await accounts.owner()).id)).code


async def refused(accounts: Accounts, code: str, place: str = "here") -> str:
    with pytest.raises(KeysideError) as caught:
        await accounts.redeem(code, "Firefox", place)
    return caught.value.code


async def test_a_link_signs_its_user_in_and_a_second_use_is_refused(accounts: Accounts) -> None:
    code = await link(accounts)
    made = await accounts.redeem(code, "Firefox", "here")
    assert (made.identity.name, made.identity.kind) == ("owner", "session")
    assert await accounts.by_cookie(made.value) == made.identity
    assert await accounts.by_cookie(str(made.identity.credential_id)) is None
    assert await refused(accounts, code) == "link_invalid"
    assert await refused(accounts, "nonsense") == "link_invalid"


async def test_a_link_is_good_for_ten_minutes(accounts: Accounts, clock: FakeClock) -> None:
    early, late = await link(accounts), await link(accounts)
    await clock.advance(LINK_SECONDS - 1)
    await accounts.redeem(early, "Firefox", "here")
    await clock.advance(1)
    assert await refused(accounts, late) == "link_invalid"


async def test_a_sign_in_ends_by_itself(accounts: Accounts, clock: FakeClock) -> None:
    made = await accounts.redeem(await link(accounts), "Firefox", "here")
    await clock.advance(SIGN_IN_SECONDS - 1)
    assert await accounts.by_cookie(made.value)
    await clock.advance(1)
    assert await accounts.by_cookie(made.value) is None


async def test_failures_are_limited_by_address_and_a_good_code_always_signs_in(
    accounts: Accounts, clock: FakeClock
) -> None:
    code = await link(accounts)
    for _ in range(10):
        assert await refused(accounts, "guess", "there") == "link_invalid"
    assert await refused(accounts, "guess", "there") == "too_many_attempts"
    assert await refused(accounts, "guess", "here") == "link_invalid"
    assert (await accounts.link_owner(code, "there")).name == "owner"
    await accounts.redeem(code, "Firefox", "there")
    assert await refused(accounts, code, "there") == "too_many_attempts"
    await clock.advance(60)
    assert await refused(accounts, code, "there") == "link_invalid"


async def test_whose_a_link_is_can_be_asked_without_spending_it_and_as_often_as_a_code_be_guessed(
    accounts: Accounts,
) -> None:
    code = await link(accounts)
    for _ in range(20):
        assert await accounts.link_owner(code, "there") == await accounts.owner()
    for asked in range(11):
        with pytest.raises(KeysideError) as caught:
            await accounts.link_owner("guess", "there")
        assert caught.value.code == ("link_invalid" if asked < 10 else "too_many_attempts")
    await accounts.redeem(code, "Firefox", "there")


async def test_a_sign_in_in_the_same_browser_ends_the_one_before(accounts: Accounts, notices: Notices) -> None:
    first = await accounts.redeem(await link(accounts), "Firefox", "here")
    elsewhere = await accounts.redeem(await link(accounts), "Firefox", "here")
    assert await refused(accounts, "nonsense") == "link_invalid"
    second = await accounts.redeem(await link(accounts), "Firefox", "here", first.identity)
    assert await accounts.by_cookie(first.value) is None
    assert await accounts.by_cookie(second.value) == second.identity
    assert await accounts.by_cookie(elsewhere.value) == elsewhere.identity
    assert await notices.get() == CredentialRevoked(str(first.identity.credential_id))
    assert notices.empty()


class Slow(MemoryAccounts):
    """Answers look-ups only when told to, and counts those that are under way."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = 0
        self.writes = 0
        self.go_on = asyncio.Event()

    async def token(self, token_hash: str) -> StoredToken | None:
        await self._wait()
        return await super().token(token_hash)

    async def link_owner(self, code_hash: str, at: float) -> User | None:
        await self._wait()
        return await super().link_owner(code_hash, at)

    async def _wait(self) -> None:
        self.under_way += 1
        await self.go_on.wait()
        self.under_way -= 1

    async def spend_link(self, *given: Any, **named: Any) -> StoredSignIn | None:
        self.writes += 1
        return await super().spend_link(*given, **named)


async def test_strangers_take_few_threads_and_no_write(clock: FakeClock, notices: Notices) -> None:
    store = Slow()
    accounts = Accounts(store, clock, CountingIds(), notices)
    asked = [asyncio.ensure_future(accounts.by_token(f"ks_{n}")) for n in range(100)]
    guessed = [asyncio.ensure_future(refused(accounts, f"guess {n}", f"place {n}")) for n in range(100)]
    await settle()
    assert store.under_way == LOOKUPS
    store.go_on.set()
    assert await asyncio.gather(*asked) == [None] * 100
    assert await asyncio.gather(*guessed) == ["link_invalid"] * 100
    assert store.writes == 0


def test_failures_of_many_places_do_not_fill_the_memory(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyside.services.sign_in_throttle.MAX_ADDRESSES", 3)
    attempts = SignInThrottle(clock, limit=1)
    for place in "abcd":
        attempts.failed(place)
    for place in "bcd":
        with pytest.raises(KeysideError, match="Too many attempts"):
            attempts.failed(place)
    attempts.failed("a")


async def test_a_token_proves_its_scopes_until_it_is_revoked(accounts: Accounts) -> None:
    owner = await accounts.owner()
    stored, token = await accounts.new_token(owner.id, "laptop", ["executor", "api"])
    assert token.startswith("ks_")
    identity = await accounts.by_token(token)
    assert identity is not None
    assert (identity.user_id, identity.kind) == (owner.id, "token")
    assert identity.scopes == frozenset({"api", "executor"})
    assert identity.credential_id == stored.id
    identity.require("executor")
    with pytest.raises(KeysideError, match="'chats'"):
        identity.require("chats")
    assert await accounts.by_token(token + "x") is None
    assert await accounts.by_token("sk-other") is None
    await accounts.revoke_token(owner.id, stored.id)
    assert await accounts.by_token(token) is None


@pytest.mark.parametrize("scopes", [[], ["account"], ["api", "nonsense"]])
async def test_a_token_has_known_scopes_and_never_that_of_a_person(accounts: Accounts, scopes: list[str]) -> None:
    owner = await accounts.owner()
    with pytest.raises(KeysideError) as caught:
        await accounts.new_token(owner.id, "laptop", scopes)
    assert caught.value.code == "bad_request"


async def test_what_is_revoked_is_told_to_who_holds_its_sockets(accounts: Accounts, notices: Notices) -> None:
    owner = await accounts.owner()
    sign_in_id = str((await accounts.redeem(await link(accounts), "Firefox", "here")).identity.credential_id)
    stored, _ = await accounts.new_token(owner.id, "laptop", ["api"])
    await accounts.revoke_sign_in(owner.id, sign_in_id)
    await accounts.revoke_token(owner.id, stored.id)
    assert [await notices.get(), await notices.get()] == [CredentialRevoked(sign_in_id), CredentialRevoked(stored.id)]
    with pytest.raises(KeysideError, match="nothing here"):
        await accounts.revoke_sign_in(owner.id, sign_in_id)
    assert notices.empty()


async def test_nothing_that_signs_in_is_stored_as_it_is(accounts: Accounts, store: MemoryAccounts) -> None:
    code = await link(accounts)
    _, token = await accounts.new_token((await accounts.owner()).id, "laptop", ["api"])
    made = await accounts.redeem(await link(accounts), "Firefox", "here")
    stored = repr(vars(store))
    for secret in (code, token, made.value):
        assert secret not in stored
        assert digest(secret) in stored


async def test_an_account_has_only_so_many_tokens(accounts: Accounts) -> None:
    owner = await accounts.owner()
    made = [await accounts.new_token(owner.id, "laptop", ["api"]) for _ in range(MOST_TOKENS)]
    with pytest.raises(KeysideError, match="Revoke one") as caught:
        await accounts.new_token(owner.id, "laptop", ["api"])
    assert caught.value.code == "conflict"
    await accounts.revoke_token(owner.id, made[0][0].id)
    await accounts.new_token(owner.id, "laptop", ["api"])


async def test_only_the_operator_makes_a_token_for_a_shared_executor(accounts: Accounts) -> None:
    owner = await accounts.owner()
    with pytest.raises(KeysideError, match="keyside token create") as caught:
        await accounts.new_token(owner.id, "farm", ["api", "executor:shared"])
    assert caught.value.code == "forbidden"
    assert await accounts.tokens(owner.id) == ()
    stored, _ = await accounts.new_token(owner.id, "farm", ["executor:shared"], by_operator=True)
    assert stored.scopes == {"executor:shared"}
