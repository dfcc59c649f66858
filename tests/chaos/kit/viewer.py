"""A viewer: a real socket that follows chats by the rules, through every loss of its connection (V1 to V6)."""

import asyncio
from contextlib import suppress
from typing import Any

from tests.chaos.kit.fold import Fold
from tests.chaos.kit.proxy import Proxy
from tests.chaos.kit.socket import Gone, Socket

_ANSWER_SECONDS = 3
"""Seconds after which an unanswered `chat:open` is repeated."""
_AGAIN_SECONDS = 0.2


class Viewer:
    """Follows chats by `follow` until `stop`; `start` goes on where it was."""

    def __init__(self, name: str, proxy: Proxy) -> None:
        self._socket = Socket(proxy)
        self._socket.received = self._received
        self._socket.opened = self._connected
        self._socket.lost = self._lost
        self._tasks: set[asyncio.Task[None]] = set()
        self.name = name
        self.turn = asyncio.Lock()
        """Held by whoever closes it and opens it again."""
        self.chats: dict[int, Fold] = {}
        self.wrong: list[str] = []

    def start(self) -> None:
        """Connects."""
        self._socket.start()

    async def stop(self) -> None:
        """Disconnects, as a closed tab does."""
        await self._socket.stop()

    def forget(self) -> None:
        """Forgets all chats, so that the next `start` begins without state."""
        self.chats = {id: Fold(id, self.wrong) for id in self.chats}

    def follow(self, chat_id: int) -> None:
        """Opens a chat, now and on every later connection."""
        self.chats[chat_id] = Fold(chat_id, self.wrong)
        self._open(self.chats[chat_id])

    async def _connected(self) -> None:
        for fold in self.chats.values():
            self._open(fold)

    def _lost(self) -> None:
        for task in self._tasks:
            task.cancel()
        for fold in self.chats.values():
            fold.lost()

    # --- opening ---------------------------------------------------------------------------------

    def _open(self, fold: Fold) -> None:
        if self._socket.session_id is None or fold.opening or fold.gone:
            return
        fold.opening = True
        ask = {"chat_id": fold.chat_id} if fold.seq is None else {"chat_id": fold.chat_id, "after": fold.seq}
        task = asyncio.create_task(self._ask(fold, ask))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, fold: Fold, ask: dict[str, Any]) -> None:
        while fold.opening and self.chats.get(fold.chat_id) is fold:
            with suppress(Gone):
                await self._socket.call("chat:open", ask, _ANSWER_SECONDS, lambda ack: self._opened(fold, ack))
            await asyncio.sleep(_AGAIN_SECONDS)

    def _opened(self, fold: Fold, ack: dict[str, Any]) -> None:
        """Takes the acknowledgement of `chat:open` before any later message is handled."""
        if not fold.opening:
            return
        if ack["ok"]:
            if ack["snapshot"] is not None:
                fold.snapshot(ack["snapshot"], ack["seq"])
            else:
                fold.missed(ack["events"], ack["seq"])
            if not fold.opened():
                self._open(fold)
        elif ack["error"]["code"] == "not_found":
            fold.gone, fold.opening = True, False
        elif not ack["error"]["retryable"]:
            self.wrong.append(f"chat {fold.chat_id} could not be opened: {ack['error']}")

    # --- events ----------------------------------------------------------------------------------

    def _received(self, message: dict[str, Any]) -> None:
        data = message["data"]
        match message["type"]:
            case "chat:event":
                fold = self.chats.get(data["chat_id"])
                if fold is not None and not fold.take(data):
                    self._open(fold)
            case "chat:gone":
                self.chats[data["chat_id"]].gone = True
            case "chat:reopen":
                self._open(self.chats[data["chat_id"]])
            case "chats:heads":
                for id, seq in data.items():
                    known = self.chats.get(int(id))
                    if known is not None and (known.seq or 0) < seq:
                        self._open(known)
