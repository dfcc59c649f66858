"""Links, sign-ins and tokens as time goes by."""

import pytest

from keyside.adapters.memory.accounts import MemoryAccounts
from keyside.protocol.errors import KeysideError
from keyside.services.accounts import LINK_SECONDS, SIGN_IN_SECONDS, Accounts, digest
from keyside.services.notices import CredentialRevoked, Notices
from keyside.services.sign_in_throttle import SignInThrottle
from keyside.testing import CountingIds, FakeClock


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
    sign_in_id, identity = await accounts.redeem(code, "Firefox", "here")
    assert (identity.name, identity.kind, identity.credential_id) == ("owner", "session", sign_in_id)
    assert await accounts.by_signin(sign_in_id) == identity
    assert await refused(accounts, code) == "link_invalid"
    assert await refused(accounts, "nonsense") == "link_invalid"


async def test_a_link_is_good_for_ten_minutes(accounts: Accounts, clock: FakeClock) -> None:
    early, late = await link(accounts), await link(accounts)
    await clock.advance(LINK_SECONDS - 1)
    assert await accounts.redeem(early, "Firefox", "here")
    await clock.advance(1)
    assert await refused(accounts, late) == "link_invalid"


async def test_a_sign_in_ends_by_itself(accounts: Accounts, clock: FakeClock) -> None:
    sign_in_id, _ = await accounts.redeem(await link(accounts), "Firefox", "here")
    await clock.advance(SIGN_IN_SECONDS - 1)
    assert await accounts.by_signin(sign_in_id)
    await clock.advance(1)
    assert await accounts.by_signin(sign_in_id) is None


async def test_guessing_is_slowed_down_for_those_who_guess(accounts: Accounts, clock: FakeClock) -> None:
    code = await link(accounts)
    for _ in range(10):
        assert await refused(accounts, "guess", "there") == "link_invalid"
    assert await refused(accounts, code, "there") == "too_many_attempts"
    await clock.advance(30)
    assert await refused(accounts, code, "there") == "too_many_attempts"
    assert await accounts.redeem(code, "Firefox", "here")
    await clock.advance(31)
    assert await refused(accounts, code, "there") == "link_invalid"


def test_failures_of_many_places_do_not_fill_the_memory(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyside.services.sign_in_throttle.MAX_ADDRESSES", 3)
    attempts = SignInThrottle(clock, limit=1)
    for place in "abcd":
        attempts.failed(place)
    attempts.check("a")
    for place in "bcd":
        with pytest.raises(KeysideError, match="Too many attempts"):
            attempts.check(place)


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
    sign_in_id, _ = await accounts.redeem(await link(accounts), "Firefox", "here")
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
    stored = repr(vars(store))
    assert code not in stored
    assert token not in stored
    assert digest(code) in stored
    assert digest(token) in stored
