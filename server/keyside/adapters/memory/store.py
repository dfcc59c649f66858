"""A store that keeps everything for as long as the process lives."""

from keyside.adapters.memory.accounts import MemoryAccounts
from keyside.adapters.memory.log import MemoryChatLog
from keyside.adapters.memory.registry import MemoryRegistry


class MemoryStore:
    """`Store` on dictionaries. Another log can be given."""

    def __init__(self, chat_log: MemoryChatLog | None = None) -> None:
        self.chat_log = chat_log or MemoryChatLog()
        self.registry = MemoryRegistry()
        self.accounts = MemoryAccounts()

    async def start(self) -> None:
        """See `Store`."""

    async def stop(self) -> None:
        """See `Store`."""
