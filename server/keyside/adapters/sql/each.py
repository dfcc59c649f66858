"""A list of values as one parameter of a query: SQLite takes only so many."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, func, select


def each(values: Iterable[Any]) -> Select[Any]:
    """The values as a subquery, for `in_`."""
    listed = func.json_each(json.dumps(list(values))).table_valued("value")
    return select(listed.c.value)
