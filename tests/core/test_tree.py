"""A chat's tree of messages."""

from hypothesis import given
from hypothesis import strategies as st

from keyside.core.tree import Link, below, branch, newest_leaf, siblings

#      a
#    /   \
#   b     c      and a second root, z
#  / \     \
# d   e     f
LINKS: list[Link] = [("a", None), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "b"), ("f", "c"), ("z", None)]


def test_a_branch_goes_from_the_root_to_its_leaf() -> None:
    assert branch(LINKS, "e") == ["a", "b", "e"]
    assert branch(LINKS, "a") == ["a"]
    assert branch(LINKS, None) == branch(LINKS, "unknown") == []


def test_a_branch_whose_top_is_gone_begins_where_it_can() -> None:
    assert branch([("b", "gone"), ("c", "b")], "c") == ["b", "c"]


def test_siblings_share_a_parent_oldest_first_itself_included() -> None:
    assert siblings(LINKS, ["e", "c"]) == {"e": ["d", "e"], "c": ["b", "c"]}
    assert siblings(LINKS, ["a", "f"]) == {"a": ["a", "z"], "f": ["f"]}


def test_below_is_the_message_and_all_under_it() -> None:
    assert below(LINKS, "b") == ["b", "d", "e"]
    assert below(LINKS, "f") == ["f"]
    assert below(LINKS, "a") == ["a", "b", "c", "d", "e", "f"]


def test_a_reader_who_chooses_a_branch_lands_at_its_newest_end() -> None:
    assert newest_leaf(LINKS, "a") == "f"
    assert newest_leaf(LINKS, "b") == "e"
    assert newest_leaf(LINKS, "z") == "z"


@st.composite
def trees(draw: st.DrawFn) -> list[Link]:
    parents = draw(st.lists(st.integers(-1, 10), max_size=12))
    return [(str(n), str(parent) if 0 <= parent < n else None) for n, parent in enumerate(parents)]


@given(links=trees())
def test_what_is_below_a_message_is_what_has_it_on_its_branch(links: list[Link]) -> None:
    for top, _ in links:
        assert below(links, top) == [id for id, _ in links if top in branch(links, id)]
        assert newest_leaf(links, top) in below(links, top)
