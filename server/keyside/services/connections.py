"""The sockets that are connected now."""

from dataclasses import dataclass

from keyside.protocol.entities import ExecutorKind


@dataclass(frozen=True)
class Socket:
    """A connected socket. What it is comes from how it signed in, never from its payload (E12)."""

    session_id: str
    user_id: int
    kind: ExecutorKind
    scopes: frozenset[str]
    credential_id: str | None = None


class Connections:
    """All sockets, found by session id, by user and by credential."""

    def __init__(self) -> None:
        self._sockets: dict[str, Socket] = {}
        self._by_user: dict[int, dict[str, Socket]] = {}
        self._by_credential: dict[str, set[str]] = {}

    def add(self, socket: Socket) -> None:
        """A socket is here."""
        self._sockets[socket.session_id] = socket
        self._by_user.setdefault(socket.user_id, {})[socket.session_id] = socket
        if socket.credential_id is not None:
            self._by_credential.setdefault(socket.credential_id, set()).add(socket.session_id)

    def remove(self, session_id: str) -> Socket | None:
        """A socket is gone; returns what it was."""
        socket = self._sockets.pop(session_id, None)
        if socket is None:
            return None
        mine = self._by_user[socket.user_id]
        mine.pop(session_id, None)
        if not mine:
            del self._by_user[socket.user_id]
        if socket.credential_id is not None:
            same = self._by_credential[socket.credential_id]
            same.discard(session_id)
            if not same:
                del self._by_credential[socket.credential_id]
        return socket

    def get(self, session_id: str) -> Socket | None:
        """A socket that is here."""
        return self._sockets.get(session_id)

    def of(self, user_id: int) -> list[Socket]:
        """The sockets of a user."""
        return list(self._by_user.get(user_id, {}).values())

    def credentials(self) -> frozenset[str]:
        """What the connected sockets signed in with."""
        return frozenset(self._by_credential)

    def signed_in_by(self, credential_id: str | None) -> list[str]:
        """The session ids of the sockets that signed in with a credential."""
        return sorted(self._by_credential.get(credential_id or "", ()))
