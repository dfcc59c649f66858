"""The contract of `AccountStore`, which every implementation must fulfil."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from keyside.adapters.memory.accounts import MemoryAccounts
from keyside.adapters.sql.accounts import SqlAccounts
from keyside.adapters.sql.database import database_of
from keyside.adapters.sql.writer import SqlWriter
from keyside.services.account_store import MOST_LINKS, MOST_SIGN_INS, AccountStore, StoredSignIn, StoredToken

API = frozenset({"api"})


@asynccontextmanager
async def opened(data_dir: Path) -> AsyncIterator[SqlAccounts]:
    """The accounts of a data directory, as one process has them."""
    database = database_of(data_dir, sync="normal")
    database.migrate()
    writer = SqlWriter(database)
    yield SqlAccounts(database, writer)
    await writer.close()
    database.close()


@pytest.fixture(params=["sql", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AccountStore]:
    if request.param == "memory":
        yield MemoryAccounts()
        return
    async with opened(tmp_path) as accounts:
        yield accounts


async def spend(
    store: AccountStore, code: str, at: float, sign_in_id: str = "s1", in_place_of: str | None = None
) -> StoredSignIn | None:
    return await store.spend_link(
        code,
        at,
        sign_in_id=sign_in_id,
        value_hash=f"value of {sign_in_id}",
        agent="Firefox",
        expires_at=at + 100,
        in_place_of=in_place_of,
    )


async def test_an_account_is_made_once(store: AccountStore) -> None:
    first, second = await asyncio.gather(store.user("owner", 1), store.user("owner", 2))
    assert first == second == await store.user("owner", 3)
    assert (await store.user("other", 4)).id != first.id


async def test_a_link_signs_in_once(store: AccountStore) -> None:
    owner = await store.user("owner", 0)
    await store.add_link("hash", owner.id, 0, 600)
    made = await spend(store, "hash", 10)
    assert made == StoredSignIn("s1", owner, "Firefox", 10, 110)
    assert await store.sign_in("value of s1", 11) == made
    assert await store.sign_in("s1", 11) is None
    assert await spend(store, "hash", 12, "s2") is None
    assert await store.sign_in("value of s2", 12) is None


async def test_to_ask_whose_a_link_is_does_not_spend_it(store: AccountStore) -> None:
    owner, other = await store.user("owner", 0), await store.user("other", 0)
    await store.add_link("hash", other.id, 0, 600)
    assert await store.link_owner("hash", 1) == await store.link_owner("hash", 2) == other
    assert await store.link_owner("nonsense", 1) is None
    assert await store.link_owner("hash", 600) is None
    made = await spend(store, "hash", 3)
    assert made is not None
    assert made.user == other != owner
    assert await store.link_owner("hash", 4) is None


async def test_a_sign_in_ends_the_one_that_it_takes_the_place_of_and_no_other(store: AccountStore) -> None:
    owner = await store.user("owner", 0)
    for code in ("a", "b", "c"):
        await store.add_link(code, owner.id, 0, 600)
    await spend(store, "a", 1, "s1")
    await spend(store, "b", 1, "s2")
    assert await spend(store, "nonsense", 2, "s3", in_place_of="s1") is None
    assert len(await store.sign_ins(owner.id, 2)) == 2
    assert await spend(store, "c", 3, "s4", in_place_of="s1") is not None
    assert {one.id for one in await store.sign_ins(owner.id, 4)} == {"s2", "s4"}
    assert await store.sign_in("value of s1", 4) is None
    assert await store.lapsed(frozenset({"s1", "s2"}), 4) == {"s1"}


async def test_of_many_that_spend_a_link_at_once_one_gets_it(store: AccountStore) -> None:
    owner = await store.user("owner", 0)
    await store.add_link("hash", owner.id, 0, 600)
    found = await asyncio.gather(*(spend(store, "hash", 1, f"s{n}") for n in range(8)))
    assert sum(one is not None for one in found) == 1
    assert len(await store.sign_ins(owner.id, 1)) == 1


async def test_a_link_that_is_too_old_or_unknown_is_not_spent(store: AccountStore) -> None:
    owner = await store.user("owner", 0)
    await store.add_link("hash", owner.id, 0, 600)
    assert await spend(store, "other", 1) is None
    assert await spend(store, "hash", 600) is None


async def test_making_a_link_forgets_those_that_are_too_old_and_no_other(store: AccountStore) -> None:
    owner = await store.user("owner", 0)
    await store.add_link("old", owner.id, 0, 600)
    await store.add_link("younger", owner.id, 300, 900)
    await store.add_link("new", owner.id, 700, 1300)
    assert await spend(store, "younger", 701, "s1") is not None
    assert await spend(store, "new", 702, "s2") is not None


async def test_sign_ins_are_listed_newest_first_until_they_end(store: AccountStore) -> None:
    owner = await store.user("owner", 0)
    for at in (1, 2, 3):
        await store.add_link(f"hash{at}", owner.id, at, 600)
        await spend(store, f"hash{at}", at, f"s{at}")
    assert [one.id for one in await store.sign_ins(owner.id, 4)] == ["s3", "s2", "s1"]
    assert await store.revoke_sign_in(owner.id, "s2", 5)
    assert [one.id for one in await store.sign_ins(owner.id, 101)] == ["s3"]
    assert await store.sign_in("value of s2", 5) is None
    assert await store.sign_in("value of s1", 101) is None


async def test_a_sign_in_is_revoked_once_and_by_its_own_user_only(store: AccountStore) -> None:
    owner, other = await store.user("owner", 0), await store.user("other", 0)
    await store.add_link("hash", owner.id, 0, 600)
    await spend(store, "hash", 1)
    assert not await store.revoke_sign_in(other.id, "s1", 2)
    assert not await store.revoke_sign_in(owner.id, "nobody", 2)
    assert await store.sign_ins(other.id, 2) == ()
    assert await store.revoke_sign_in(owner.id, "s1", 2)
    assert not await store.revoke_sign_in(owner.id, "s1", 3)


async def test_a_token_is_found_by_its_hash_until_it_is_revoked(store: AccountStore) -> None:
    owner, other = await store.user("owner", 0), await store.user("other", 0)
    made = await store.add_token(owner.id, "t1", "laptop", "hash1", frozenset({"api", "chats"}), 1)
    newer = await store.add_token(owner.id, "t2", "laptop", "hash2", API, 2)
    assert made == StoredToken("t1", owner, "laptop", frozenset({"api", "chats"}), 1)
    assert await store.token("hash1") == made
    assert await store.token("hash3") is None
    assert await store.tokens(owner.id) == (newer, made)
    assert await store.tokens(other.id) == ()
    assert not await store.revoke_token(other.id, "t1", 3)
    assert await store.revoke_token(owner.id, "t1", 3)
    assert not await store.revoke_token(owner.id, "t1", 4)
    assert await store.token("hash1") is None
    assert await store.tokens(owner.id) == (newer,)


async def test_of_many_links_the_newest_are_kept(store: AccountStore) -> None:
    user, other = await store.user("owner", 1), await store.user("other", 1)
    await store.add_link("of another", other.id, 1, 500)
    for number in range(MOST_LINKS + 2):
        await store.add_link(f"code {number}", user.id, 1, 100 + number)
    owners = [await store.link_owner(f"code {number}", 2) for number in range(MOST_LINKS + 2)]
    assert owners == [None, None] + [user] * MOST_LINKS
    assert await store.link_owner("of another", 2) == other


async def test_of_many_sign_ins_the_newest_are_kept(store: AccountStore) -> None:
    user, other = await store.user("owner", 1), await store.user("other", 1)
    await store.add_link("of another", other.id, 1, 500)
    await spend(store, "of another", 2, "theirs")
    for number in range(MOST_SIGN_INS + 2):
        await store.add_link(f"code {number}", user.id, 1, 500)
        assert await spend(store, f"code {number}", 10 + number / 1000, f"s{number}")
        await store.revoke_sign_in(user.id, "s0", 10)
    kept = {one.id for one in await store.sign_ins(user.id, 20)}
    assert kept == {f"s{number}" for number in range(2, MOST_SIGN_INS + 2)}
    assert await store.lapsed(frozenset({"s0", "s1", "s2"}), 20) == {"s0", "s1"}
    assert [one.id for one in await store.sign_ins(other.id, 20)] == ["theirs"]


async def test_a_value_is_kept_until_it_is_replaced(store: AccountStore) -> None:
    assert await store.recall("url") is None
    await store.remember("url", "http://a")
    await store.remember("url", "http://b")
    assert await store.recall("url") == "http://b"


async def test_what_one_process_makes_another_spends(tmp_path: Path) -> None:
    async with opened(tmp_path) as server, opened(tmp_path) as command:
        owner = await command.user("owner", 0)
        await command.add_link("hash", owner.id, 0, 600)
        found = await asyncio.gather(*(spend(at, "hash", 1, f"s{n}") for n in range(4) for at in (server, command)))
        assert sum(one is not None for one in found) == 1
        assert await server.user("owner", 1) == owner


async def test_a_link_that_cannot_sign_in_is_not_spent(tmp_path: Path) -> None:
    """Both are one transaction, also in a group with others."""
    async with opened(tmp_path) as accounts:
        owner = await accounts.user("owner", 0)
        for code in ("one", "two"):
            await accounts.add_link(code, owner.id, 0, 600)
        assert await spend(accounts, "one", 1, "s1") is not None
        found = await asyncio.gather(
            spend(accounts, "two", 2, "s1"), accounts.remember("url", "x"), return_exceptions=True
        )
        assert isinstance(found[0], IntegrityError)
        assert await accounts.recall("url") == "x"
        assert await spend(accounts, "two", 3, "s2") is not None
