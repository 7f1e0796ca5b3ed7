"""A road to a server that can go dead without a word, for the tests of every broker."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any


class Proxy:
    """A road to a port of this machine: when it is dead, bytes vanish, and sockets stay open."""

    def __init__(self, target: int, scheme: str) -> None:
        self.port = 0
        self.dead = False
        """Nothing passes any more, on old connections and on new ones."""
        self.passing = asyncio.Event()
        """While it is not set nothing is read from the server: its sockets fill up."""
        self.passing.set()
        self.connections = 0
        self.rewrite: Callable[[bytes], bytes] = bytes
        """What becomes of the bytes that came at once, in both directions."""
        self._target = target
        self._scheme = scheme
        self._doomed: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any] | None] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Nothing passes any more on the connections of now."""
        self._doomed = set(self._writers)

    def cut(self) -> None:
        """The connections of now are closed, and both ends know."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, back))
                group.create_task(self._carry(there, writer, self.passing))
        finally:
            writer.close()
            back.close()
            self._writers -= {writer, back}
            self._tasks.discard(asyncio.current_task())

    async def _carry(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        passing: asyncio.Event | None = None,
    ) -> None:
        while data := await source.read(65_536):
            if passing is not None:
                await passing.wait()
            if not self.dead and sink not in self._doomed:
                sink.write(self.rewrite(data))
        if sink not in self._doomed and not self.dead:
            sink.close()

    async def close(self) -> None:
        """Every connection is gone."""
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxied(target: int, scheme: str = "redis") -> AsyncGenerator[Proxy]:
    """A proxy in front of that port, for the time of the ``async with``."""
    proxy = Proxy(target, scheme)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            await proxy.close()
