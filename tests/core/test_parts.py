"""How many values a JSON text has."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyside.core.parts import has_more_parts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='"\\,[{é'),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(alphabet='"\\,[{'), inner, max_size=5),
)


def counted(value: Any) -> int:
    """Lists, objects, and what follows the first in them."""
    if isinstance(value, list):
        return 1 + max(0, len(value) - 1) + sum(map(counted, value))
    if isinstance(value, dict):
        return 1 + max(0, len(value) - 1) + sum(map(counted, value.values()))
    return 0


@given(JSON)
def test_it_is_what_the_values_say_whatever_stands_in_strings(value: Any) -> None:
    text, parts = json.dumps(value, ensure_ascii=False).encode(), counted(value)
    assert not has_more_parts(text, parts)
    assert parts == 0 or has_more_parts(text, parts - 1)


@pytest.mark.parametrize("text", [b"[" * 9, b"[]," * 3, b'"",' * 9, b'"' * 99 + b",,,,"])
def test_a_text_that_is_no_json_is_counted_too(text: bytes) -> None:
    assert has_more_parts(text, 3)
    assert not has_more_parts(text, 200)


@given(st.binary())
def test_any_bytes_can_be_counted(text: bytes) -> None:
    has_more_parts(b",[{" * 3 + text, 1)
