"""A TCP proxy in front of the server, which can cut, delay and drop what goes through it."""

import asyncio
import random
from contextlib import suppress


class _Link:
    """One connection: the client's side and the server's."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server

    def cut(self) -> None:
        """Ends both sides at once."""
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """Listens on a port of its own and passes on to the server's."""

    def __init__(self, server_port: int, rng: random.Random, *, public: bool = False) -> None:
        """`public`: the server knows this port as its own address, so what is sent need not name the server's."""
        self._target = server_port
        self._public = public
        self._rng = rng
        self._links: set[_Link] = set()
        self._delay = 0.0
        self._budget: int | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Ends it, and every connection."""
        assert self._server is not None
        self._server.close()
        self.cut()

    # --- faults ----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Ends every connection now."""
        for link in list(self._links):
            link.cut()

    def cut_after(self, count: int) -> None:
        """Ends the connections after the given number of bytes, in the middle of a packet."""
        self._budget = count

    async def delay(self, each: float, seconds: float) -> None:
        """Delays everything for some seconds."""
        self._delay = each
        await asyncio.sleep(seconds)
        self._delay = 0.0

    async def swallow(self, seconds: float) -> None:
        """Drops everything silently for some seconds, then ends the connections."""
        self._open.clear()
        await asyncio.sleep(seconds)
        self.cut()
        self._open.set()

    async def leave_half(self, seconds: float) -> None:
        """Ends the clients' sides now and the server's sides later, so that the server notices it only then."""
        links = list(self._links)
        for link in links:
            self._links.discard(link)
            link.client.transport.abort()
        await asyncio.sleep(seconds)
        for link in links:
            link.cut()

    def heal(self) -> None:
        """Ends all faults."""
        self._delay = 0.0
        self._budget = None
        self._open.set()

    # --- passing on ------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, to_server)
        self._links.add(link)
        host = b"Host: 127.0.0.1:%d\r\n" % self.port
        known = b"Host: 127.0.0.1:%d\r\n" % self._target
        up = self._pass(reader, to_server, link, None if self._public else (host, known))
        down = self._pass(from_server, writer, link, None)
        await asyncio.gather(up, down)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: _Link,
        host: tuple[bytes, bytes] | None,
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(64 * 1024):
                if self._delay:
                    await asyncio.sleep(self._delay * self._rng.random())
                await self._open.wait()
                if host is not None:
                    data = data.replace(*host)
                piece = data[: self._budget]
                writer.write(piece)
                await writer.drain()
                if self._spent(len(data)):
                    self.cut()
                    break
        # A link that was left half is ended by whoever left it so.
        if link in self._links:
            self._links.discard(link)
            link.client.close()
            link.server.close()

    def _spent(self, count: int) -> bool:
        """Whether these bytes were the last that may pass."""
        if self._budget is None:
            return False
        self._budget = self._budget - count if self._budget > count else None
        return self._budget is None
