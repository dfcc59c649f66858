"""A chat's messages are a tree: branches, siblings, and what lies below a message.

`links` are all messages of a chat as (id, parent id), oldest first.
"""

from collections.abc import Iterable, Sequence

Link = tuple[str, str | None]

NEAREST = 100
"""Siblings of a message that are named before it, and as many after it."""


def branch(links: Iterable[Link], leaf: str | None) -> list[str]:
    """The ids from the root down to `leaf`."""
    parents = dict(links)
    path = []
    while leaf is not None and leaf in parents:
        path.append(leaf)
        leaf = parents[leaf]
    return path[::-1]


def siblings(links: Sequence[Link], ids: Iterable[str]) -> dict[str, list[str]]:
    """For each id: those that share its parent, itself included, oldest first; of very many the `NEAREST`."""
    children: dict[str | None, list[str]] = {}
    for id, parent in links:
        children.setdefault(parent, []).append(id)
    parents = dict(links)
    return {id: _nearest(children[parents[id]], id) for id in ids}


def _nearest(group: list[str], id: str) -> list[str]:
    at = group.index(id)
    return group[max(at - NEAREST, 0) : at + NEAREST + 1]


def below(links: Iterable[Link], top: str) -> list[str]:
    """`top` and every message under it, oldest first."""
    found = {top}
    for id, parent in links:
        if parent in found:
            found.add(id)
    return [id for id, _ in links if id in found]


def newest_leaf(links: Sequence[Link], top: str) -> str:
    """The last message below `top`, if one always goes on to the newest child."""
    children: dict[str | None, str] = {}
    for id, parent in links:
        children[parent] = id
    while top in children:
        top = children[top]
    return top
