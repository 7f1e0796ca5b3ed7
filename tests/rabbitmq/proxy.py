"""A road to a node that can go dead without a word, or take nothing more from the node."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any


class Proxy:
    """Carries connections to the node behind it."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.connections = 0
        """How many were ever made."""
        self.passing = asyncio.Event()
        """While it is not set nothing is read from the node: its socket fills up."""
        self.passing.set()
        self._target = target
        self._dead: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def url(self, access: str) -> str:
        """Return where it listens, for a user and a password."""
        return f"amqp://{access}@127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Nothing passes any more on the connections of now, which stay open."""
        self._dead = set(self._writers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, back))
                group.create_task(self._carry(there, writer, self.passing))
        finally:
            for each in (writer, back):
                each.close()
                self._writers.discard(each)
            self._tasks.discard(task)

    async def _carry(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        passing: asyncio.Event | None = None,
    ) -> None:
        while data := await source.read(65_536):
            if passing is not None:
                await passing.wait()
            if sink not in self._dead:
                sink.write(data)
                await sink.drain()
        if sink not in self._dead:
            sink.close()

    async def close(self) -> None:
        """Every connection is gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxied(target: int) -> AsyncGenerator[Proxy]:
    """A proxy in front of that port, for the time of the ``async with``."""
    proxy = Proxy(target)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            await proxy.close()
