"""Tells sockets what they must know without having opened anything (V4, V6, E12, D4)."""

from keyside.core.run import ENDED, Run
from keyside.protocol import wire
from keyside.services.notices import (
    ChatDeleted,
    ChatsChanged,
    ExecutorForgotten,
    ExecutorReplaced,
    ExecutorsChanged,
    Notice,
    RunChanged,
    StoreAway,
    StoreBack,
)
from keyside.services.ports import EVERYONE, Calls, Hub, chat_room, user_room


class Broadcasts:
    """Turns notices into messages of the wire."""

    def __init__(self, hub: Hub, calls: Calls) -> None:
        self._hub = hub
        self._calls = calls

    def hear(self, notice: Notice) -> None:
        """Tells whom it concerns."""
        match notice:
            case RunChanged(before, after, seq):
                self._run_changed(before, after, seq)
            case ChatsChanged(user_id):
                self._hub.tell(user_room(user_id), wire.ChatsChanged().model_dump())
            case ChatDeleted(chat_id):
                self._hub.tell(chat_room(chat_id), wire.ChatGone(data=wire.ChatRef(chat_id=chat_id)).model_dump())
            case ExecutorsChanged(user_id) | ExecutorForgotten(user_id):
                self._hub.tell(user_room(user_id), wire.ExecutorsChanged().model_dump())
            case ExecutorReplaced(session_id):
                self._calls.tell(session_id, wire.Replaced().model_dump())
            case StoreAway() | StoreBack():
                ok = isinstance(notice, StoreBack)
                self._hub.tell(EVERYONE, wire.Store(data=wire.StoreState(ok=ok)).model_dump())
            case _:
                pass

    def _run_changed(self, before: Run | None, after: Run, seq: int) -> None:
        runs = after.state not in ENDED
        if before is not None and (before.state not in ENDED) == runs:
            return
        is_deleted = after.failure is not None and after.failure.code == "deleted"  # whoever deletes it tells of it
        if not (after.request.hidden or is_deleted):
            self._hub.tell(user_room(after.user_id), wire.ChatsChanged().model_dump())
        if not runs:  # viewers learn where the chat stands, in case they missed the last event (V6)
            heads = wire.ChatsHeads(data={str(after.chat_id): seq})
            self._hub.tell(chat_room(after.chat_id), heads.model_dump())
