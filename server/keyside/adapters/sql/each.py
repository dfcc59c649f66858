"""A list of values as one parameter of a query: SQLite takes only so many."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, String, bindparam, func, select


def each(name: str) -> Select[Any]:
    """The values of the parameter `name`, which `listed` made, as a subquery for `in_`."""
    found = func.json_each(bindparam(name, type_=String)).table_valued("value")
    return select(found.c.value)


def listed(values: Iterable[Any]) -> str:
    """What a parameter of `each` is given."""
    return json.dumps(list(values))
