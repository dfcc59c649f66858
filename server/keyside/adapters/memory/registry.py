"""The executors that ever announced themselves, in memory."""

from keyside.services.ports import KnownExecutor


class MemoryRegistry:
    """`Registry` in a dictionary."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], KnownExecutor] = {}

    async def load(self) -> tuple[KnownExecutor, ...]:
        """See `Registry`."""
        return tuple(self._known.values())

    async def save(self, known: KnownExecutor) -> None:
        """See `Registry`."""
        self._known[known.user_id, known.executor_id] = known

    async def forget(self, user_id: int, executor_id: str) -> None:
        """See `Registry`."""
        self._known.pop((user_id, executor_id), None)
