"""An answer that comes later. Unlike a future it tells its reader at once, and not in the event loop's next turn."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Later(Generic[Value]):
    """A value that is set once. One reader is told of it, at once if it is there already; or one may await it."""

    __slots__ = ("_is_set", "_tell", "_value")

    def __init__(self) -> None:
        self._is_set = False
        self._value: Any = None
        self._tell: Callable[[Value], None] | None = None

    def set(self, value: Value) -> None:
        """The value is there. A second one is passed over."""
        if self._is_set:
            return
        self._is_set = True
        self._value = value
        if self._tell is not None:
            self._tell(value)

    def tell(self, reader: Callable[[Value], None]) -> None:
        """Calls the reader with the value."""
        if self._is_set:
            reader(self._value)
        else:
            self._tell = reader

    def __await__(self) -> Generator[Any, None, Value]:
        found: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self.tell(lambda value: None if found.done() else found.set_result(value))
        return (yield from found)
