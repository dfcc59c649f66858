"""The private parts of other libraries that the lean transport rests on are as they were when it was written."""

import hashlib
import importlib
import inspect
from functools import reduce
from typing import Any

import pytest

from keyside.adapters.socketio.private_parts import PRIVATE_PARTS, Part

LIST = "PRIVATE_PARTS in server/keyside/adapters/socketio/private_parts.py"


def expectation(part: Part) -> str:
    """What the list must say of this part of the installed version."""
    try:
        found: Any = reduce(getattr, part.name.split("."), importlib.import_module(part.module))
    except (ImportError, AttributeError):
        return "missing"
    if part.expected.startswith("("):
        return str(inspect.signature(found))
    return hashlib.sha256(inspect.getsource(found).encode()).hexdigest()[:12]


@pytest.mark.parametrize("part", PRIVATE_PARTS, ids=lambda part: f"{part.module}:{part.name}")
def test_a_private_part_is_as_it_was(part: Part) -> None:
    now = expectation(part)
    assert now == part.expected, (
        f"{LIST}: {part.module}:{part.name} is now {now!r}. Read what has changed, see that the transport still does "
        f"the same ({part.use}), and enter the new value. Until then, KEYSIDE_TRANSPORT=stock rests on fewer of them."
    )


def test_a_part_that_is_gone_or_has_changed_is_noticed() -> None:
    part = PRIVATE_PARTS[0]
    assert expectation(part._replace(name=f"{part.name}_of_another_version")) == "missing"
    assert expectation(part._replace(module="engineio.nowhere")) == "missing"
    assert expectation(Part("json", "dumps", "000000000000", "nothing")) != "000000000000"
    assert expectation(Part("json", "loads", "(s)", "nothing")) != "(s)"
