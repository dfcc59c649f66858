"""The contract of `ChatLog`, which every implementation must fulfil: nothing is read that is larger than asked for."""

import random
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyside.adapters.sql.tail import BEGINNING, StoredFrame, first_seq_of, pack, unpack, unpack_each
from keyside.core.changes import Removed
from keyside.core.inputs import Finish
from keyside.core.run import RunRequest
from keyside.core.tree import NEAREST
from keyside.services.ports import MOST_RUNS, ChatLog, Piece
from tests.contracts.logs import LINES, OTHER, OWNER, SqlShelf, Writer, new_writer, payloads, stepped
from tests.core.lines import DONE, text_line

MIB = 1024 * 1024


async def in_pieces(log: ChatLog, chat_id: int, after: int, most: int) -> list[list[dict[str, Any]]]:
    """The chat's events, piece by piece."""
    found: list[list[dict[str, Any]]] = []
    for _ in range(1000):
        entries = await log.read(chat_id, after=after, most=most)
        assert entries is not None
        if not entries:
            return found
        found.append([entry.payload for entry in entries])
        after = entries[-1].seq
    raise AssertionError("the pieces do not end")


# --- events ----------------------------------------------------------------------------------------


@pytest.mark.rule("V2", "V3")
@pytest.mark.parametrize("most", [0, 700, 1500, 4000])
async def test_pieces_make_the_whole_whatever_their_size(chat_log: ChatLog, writer: Writer, most: int) -> None:
    """Runs that have ended beside each other and one that has not, and changes in between."""
    one, two = await writer.started("one"), await writer.started("two")
    for n in range(6):
        one = await writer.write(one, text_line(f"one{n}"), ": noise")
        two = await writer.write(two, text_line("x" * 300))
    await writer.end(one, None, DONE)
    three = await writer.started("three")
    await writer.end(two, None, DONE)
    for _ in range(4):
        three = await writer.write(three, *LINES)
    await writer.commit(writer.headed("a-one", title="new"))
    await writer.write(three, *LINES)
    id = writer.chat.id
    whole = await payloads(chat_log, id)
    for after in range(len(whole)):
        pieces = await in_pieces(chat_log, id, after, most)
        assert [event for piece in pieces for event in piece] == whole[after:]
        if most == 0:
            assert {len(piece) for piece in pieces} == {1}
    if most > 1000:
        assert 1 < len(await in_pieces(chat_log, id, 0, most)) < len(whole)


@pytest.mark.rule("V3")
async def test_a_piece_is_no_longer_than_asked_for_and_has_one_event_at_least(
    chat_log: ChatLog, writer: Writer
) -> None:
    await writer.commit(*(writer.message(f"m{n}", content="x" * 10_000) for n in range(20)))
    id = writer.chat.id
    assert [len(piece) for piece in await in_pieces(chat_log, id, 0, 55_000)] == [5, 5, 5, 5]
    assert len(await chat_log.read(id, after=0, most=5000) or ()) == 1
    assert await chat_log.read(id, after=0, most=5000, strict=True) == ()
    assert len(await chat_log.read(id, after=0, most=25_000, strict=True) or ()) == 2


@pytest.mark.rule("V3")
async def test_more_events_than_are_looked_at_at_once_come_in_pieces(chat_log: ChatLog, writer: Writer) -> None:
    for _ in range(3):
        await writer.commit(*(writer.headed(None, title=str(n)) for n in range(700)))
    pieces = await in_pieces(chat_log, writer.chat.id, 0, MIB)
    seqs = [event["seq"] for piece in pieces for event in piece]
    assert seqs == list(range(1, 2101))


@pytest.mark.rule("V2")
async def test_what_has_changed_after_an_event_is_known(chat_log: ChatLog, writer: Writer) -> None:
    await writer.commit(writer.message("u", content="old"))
    run = await writer.started("u", parent_id="u")  # a run and a message may have the same id
    seq = (await chat_log.heads([writer.chat.id]))[writer.chat.id]
    await writer.commit(writer.message("u", content="new"))
    await writer.write(run, *LINES)
    names = [("message", "u"), ("run", "u"), ("message", "a-u"), ("message", "nobody")]
    id = writer.chat.id
    assert await chat_log.changed_after(id, seq, names) == {("message", "u")}  # type: ignore[arg-type]
    assert await chat_log.changed_after(id, seq, []) == frozenset()
    assert await chat_log.changed_after(id, 0, names) == set(names[:3])  # type: ignore[arg-type]
    assert await chat_log.changed_after(12345, 0, names) == frozenset()  # type: ignore[arg-type]


# --- snapshots -------------------------------------------------------------------------------------


@pytest.mark.rule("V1")
async def test_a_view_has_as_many_messages_as_weigh_so_much(chat_log: ChatLog, writer: Writer) -> None:
    await writer.commit(
        *(writer.message(f"m{n}", f"m{n - 1}" if n else None, content=f"{n:04}" * 2500) for n in range(30)),
        writer.headed("m29"),
    )
    view = await chat_log.view(writer.chat.id, limit=200, most=45_000)
    assert view is not None
    assert [message.id for message in view.messages] == list(view.siblings) == ["m26", "m27", "m28", "m29"]
    assert (view.earlier, view.messages[0].partial) == (True, False)
    view = await chat_log.view(writer.chat.id, limit=200)
    assert view is not None
    assert (len(view.messages), view.earlier) == (30, False)


@pytest.mark.rule("V1")
@pytest.mark.parametrize("field", ["content", "reasoning"])
async def test_of_a_head_that_is_heavier_by_itself_the_end_is_read(
    chat_log: ChatLog, writer: Writer, field: str
) -> None:
    text = "".join(f"{n} 語" for n in range(20_000))
    head = writer.message("head", "u").model_copy(update={field: text})
    await writer.commit(writer.message("u", content="hi"), head, writer.headed("head"))
    view = await chat_log.view(writer.chat.id, limit=200, most=30_000)
    assert view is not None
    (shown,) = view.messages
    end = getattr(shown, field)
    assert (shown.id, shown.partial, view.earlier) == ("head", True, True)
    assert text.endswith(end)
    assert 10_000 < len(end) < 30_000
    assert await chat_log.message(OWNER, "head") == head


@pytest.mark.rule("V1")
async def test_of_very_many_siblings_the_nearest_are_named(chat_log: ChatLog, writer: Writer) -> None:
    names = [f"s{n:04}" for n in range(3 * NEAREST)]
    await writer.commit(*(writer.message(name, content="x") for name in names))
    for at in (0, NEAREST + 7, len(names) - 1):
        await writer.commit(writer.headed(names[at]))
        view = await chat_log.view(writer.chat.id, limit=200)
        assert view is not None
        assert view.siblings == {names[at]: names[max(at - NEAREST, 0) : at + NEAREST + 1]}


@pytest.mark.rule("V1")
async def test_of_very_many_runs_those_of_the_branch_and_the_newest_are_shown(
    chat_log: ChatLog, writer: Writer
) -> None:
    await writer.ask("mine")
    await writer.started("r0")
    for n in range(1, MOST_RUNS + 5):
        await writer.ask(f"r{n}")
    await writer.commit(writer.headed("a-mine"))
    view = await chat_log.view(writer.chat.id, limit=200)
    assert view is not None
    assert [run.id for run in view.runs] == ["mine", *(f"r{n}" for n in range(5, MOST_RUNS + 5))]
    assert [id for _, id in view.writing] == ["r0"]
    assert view.chat.running


# --- pages of messages -----------------------------------------------------------------------------


@pytest.mark.rule("V1")
async def test_messages_and_branches_are_read_page_by_page(chat_log: ChatLog, writer: Writer) -> None:
    elsewhere = await new_writer(chat_log)
    for n in range(9):
        await writer.commit(writer.message(f"m{n}", f"m{n - 1}" if n else None, content="x" * 1000))
        await writer.commit(writer.message(f"side{n}", f"m{n}", content="y" * 1000))
        await elsewhere.commit(elsewhere.message(f"e{n}", content="z"))
    await writer.commit(writer.message("m3", "m2", content="changed" * 100))  # it keeps its place
    id = writer.chat.id

    async def pages(branch: str | None, most: int) -> list[list[str]]:
        found, cursor = [], None
        for _ in range(50):
            piece = await page(branch, cursor, most)
            found.append([message.id for message in piece.messages])
            cursor = piece.next_cursor
            if cursor is None:
                return found
        raise AssertionError("the pages do not end")

    async def page(branch: str | None, cursor: str | None, most: int) -> Piece:
        if branch is None:
            return await chat_log.messages(OWNER, id, cursor=cursor, most=most)
        return await chat_log.branch(OWNER, id, branch, cursor=cursor, most=most)

    tree = [name for n in range(9) for name in (f"m{n}", f"side{n}")]
    line = [*(f"m{n}" for n in range(7)), "side6"]
    for branch, whole in ((None, tree), ("side6", line)):
        assert await pages(branch, MIB) == [whole]
        assert await pages(branch, 0) == [[name] for name in whole]
        few = await pages(branch, 5000)
        assert [name for page in few for name in page] == whole
        assert {len(page) for page in few[:-1]} == {3}
    first = await chat_log.messages(OWNER, id, most=5000)
    await writer.commit(Removed(("m1", *(name for name in tree if name > "m1"))))
    assert (await chat_log.messages(OWNER, id, cursor=first.next_cursor)).messages == ()
    for read in (chat_log.messages(OTHER, id), chat_log.branch(OTHER, id, "m0"), chat_log.branch(OWNER, id, "side6")):
        assert await read == Piece((), None)
    for wrong in ("x", "", "-1", "1.5", "٣", "9" * 30):
        with pytest.raises(ValueError, match="cursor"):
            await chat_log.messages(OWNER, id, cursor=wrong)
        with pytest.raises(ValueError, match="cursor"):
            await chat_log.branch(OWNER, id, "m0", cursor=wrong)


# --- how much memory it takes ----------------------------------------------------------------------


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """The block takes no more memory than this. To write a text as JSON takes sixteen times its length."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size, f"{peak / MIB:.1f} MiB"


@pytest.mark.rule("V1", "V3")
async def test_what_does_not_fit_is_not_read_into_memory(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    for n in range(50):
        await writer.commit(writer.message(f"m{n}", f"m{n - 1}" if n else None, content="x" * MIB))
    await writer.commit(writer.headed("m49"))
    id, log = writer.chat.id, sql.log
    with at_most(20 * MIB):
        await log.view(id, limit=200)
        await log.read(id, after=0)
        await log.messages(OWNER, id, most=2 * MIB)
        await log.branch(OWNER, id, "m49", most=2 * MIB)


@pytest.mark.rule("V1")
async def test_of_a_message_that_is_too_long_only_the_end_is_read_into_memory(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    await writer.commit(writer.message("m", content="x" * 50 * MIB), writer.headed("m"))
    with at_most(20 * MIB):
        await sql.log.view(writer.chat.id, limit=200)
        assert await sql.log.read(writer.chat.id, after=0, strict=True) == ()


@pytest.mark.rule("V1", "V3")
async def test_of_runs_that_wait_what_they_ask_for_is_not_read(sql: SqlShelf) -> None:
    writer = await new_writer(sql.log)
    request = RunRequest(model="m", params={"messages": ["x" * MIB]})
    for n in range(30):
        await writer.commit(writer.message(f"a{n}"), writer.run(f"r{n}", f"a{n}", request=request))
    with at_most(8 * MIB):
        view = await sql.log.view(writer.chat.id, limit=200)
        entries = await sql.log.read(writer.chat.id, after=0)
    assert view is not None
    assert len(view.runs) == 30
    assert len(entries or ()) == 60


@pytest.mark.rule("V3")
@pytest.mark.parametrize("ended", [True, False])
async def test_of_many_lines_only_those_of_a_piece_are_unpacked(sql: SqlShelf, ended: bool) -> None:
    writer = await new_writer(sql.log)
    run = await writer.started()
    begun = (await sql.log.heads([writer.chat.id]))[writer.chat.id]
    for _ in range(400):
        run = await writer.write(run, text_line("x" * 100_000))
    if ended:
        await writer.commit(stepped(run, Finish("stop")))
    with at_most(20 * MIB):
        entries = await sql.log.read(writer.chat.id, after=begun)
    assert [entry.seq for entry in entries or ()] == list(range(begun + 1, begun + 11))


# --- packed lines ----------------------------------------------------------------------------------

FRAMES = st.lists(
    st.builds(StoredFrame, st.integers(1, 10**6), st.floats(0, 1e9), st.integers(0, 10**6), st.lists(st.text())),
    min_size=1,
)


@given(frames=FRAMES, at_once=st.booleans())
def test_frames_are_unpacked_one_by_one_as_all_at_once(frames: list[StoredFrame], at_once: bool) -> None:
    body = pack(frames, at_once=at_once)
    assert list(unpack_each(body)) == unpack(body) == frames
    assert first_seq_of(body[:BEGINNING]) == frames[0].seq


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_long_frames_are_unpacked_wherever_they_are_cut(seed: int) -> None:
    dice = random.Random(seed)
    signs = '"\\[],語🙂\n x'
    frames = [
        StoredFrame(n, n / 3, n, ["".join(dice.choices(signs, k=dice.randrange(200_000))), "]],[1,"]) for n in range(9)
    ]
    body = pack(frames)
    assert list(unpack_each(body)) == frames
    assert first_seq_of(body[:BEGINNING]) == 0
    with pytest.raises(zlib.error, match="cut off"):
        list(unpack_each(body[:-100]))
