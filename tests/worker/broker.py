"""A small broker that crosses processes: topics and queues over TCP, and the layer that uses it.

It runs in the test's own event loop and is not restarted, so the backend does not reconnect. A job
belongs to the connection that took it; when that ends, the job is the first of its queue again.
"""

import asyncio
import itertools
import struct
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Backend, BaseChannelLayer, Inbox, Publication

LENGTH = struct.Struct(">I")


class Stream:
    """Whole messages, both ways, over a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def write(self, *message: Any) -> None:
        if not self._writer.is_closing():
            data = msgspec.msgpack.encode(message)
            self._writer.write(LENGTH.pack(len(data)) + data)

    async def read(self) -> list[Any] | None:
        """Return the next message, None when the other side is gone."""
        try:
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            message: list[Any] = msgspec.msgpack.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError):
            return None
        return message

    def close(self) -> None:
        self._writer.close()


class Broker:
    """The server's side."""

    def __init__(self) -> None:
        self._subscribers: dict[str, set[Stream]] = defaultdict(set)
        self._queues: dict[str, deque[tuple[int, bytes]]] = defaultdict(deque)
        self._takers: dict[str, deque[tuple[Stream, int]]] = defaultdict(deque)
        self._leases: dict[int, tuple[Stream, str, bytes]] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Broker":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def waiting(self, queue: str) -> int:
        """How many jobs nobody has taken."""
        return len(self._queues[queue])

    def leased(self) -> int:
        """How many jobs are taken and not finished."""
        return len(self._leases)

    async def _connected(self, reader: Any, writer: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        stream = Stream(reader, writer)
        try:
            while (message := await stream.read()) is not None:
                number, call, *arguments = message
                answer = getattr(self, f"_{call}")(stream, number, *arguments)
                if call != "take":
                    stream.write("answer", number, answer)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            self._gone(stream)
            stream.close()

    def _gone(self, stream: Stream) -> None:
        for streams in self._subscribers.values():
            streams.discard(stream)
        for queue, takers in self._takers.items():
            self._takers[queue] = deque(each for each in takers if each[0] is not stream)
        for job, (holder, _, _) in sorted(self._leases.items(), reverse=True):
            if holder is stream:
                self._release(stream, 0, job)

    def _subscribe(self, stream: Stream, _: int, topics: list[str]) -> None:
        for topic in topics:
            self._subscribers[topic].add(stream)

    def _unsubscribe(self, stream: Stream, _: int, topics: list[str]) -> None:
        for topic in topics:
            self._subscribers[topic].discard(stream)

    def _publish(self, stream: Stream, _: int, publications: list[tuple[str, bytes]]) -> None:
        for topic, payload in publications:
            for each in self._subscribers[topic]:
                each.write("deliver", topic, payload)

    def _put(self, stream: Stream, _: int, queue: str, payload: bytes) -> None:
        self._queues[queue].append((next(self._numbers), payload))
        self._hand_out(queue)

    def _take(self, stream: Stream, number: int, queue: str) -> None:
        self._takers[queue].append((stream, number))
        self._hand_out(queue)

    def _forget(self, stream: Stream, _: int, queue: str, number: int) -> None:
        if (stream, number) in self._takers[queue]:
            self._takers[queue].remove((stream, number))

    def _done(self, stream: Stream, _: int, job: int) -> None:
        self._leases.pop(job, None)

    def _release(self, stream: Stream, _: int, job: int) -> None:
        if job in self._leases:
            _, queue, payload = self._leases.pop(job)
            self._queues[queue].appendleft((job, payload))
            self._hand_out(queue)

    def _clear(self, stream: Stream, _: int, prefix: str) -> None:
        for queue in [each for each in self._queues if each.startswith(prefix)]:
            self._queues[queue].clear()

    def _hand_out(self, queue: str) -> None:
        while self._queues[queue] and self._takers[queue]:
            job, payload = self._queues[queue].popleft()
            stream, number = self._takers[queue].popleft()
            self._leases[job] = stream, queue, payload
            stream.write("answer", number, (job, payload))


class TcpJob:
    """A job of the broker."""

    def __init__(self, backend: "TcpBackend", number: int, payload: bytes) -> None:
        self.payload = payload
        self._backend = backend
        self._number = number

    async def done(self) -> None:
        await self._backend.call("done", self._number)

    async def release(self) -> None:
        await self._backend.call("release", self._number)


class TcpQueues:
    """The broker's queues."""

    def __init__(self, backend: "TcpBackend") -> None:
        self._backend = backend

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        await self._backend.call("put", queue, payload)

    async def take(self, queue: str, /) -> TcpJob:
        number, payload = await self._backend.call("take", queue)
        return TcpJob(self._backend, number, payload)

    async def clear(self, prefix: str, /) -> None:
        await self._backend.call("clear", prefix)


class TcpBackend(Backend):
    """The client's side."""

    def __init__(self, port: int) -> None:
        self.queues: TcpQueues = TcpQueues(self)
        self._port = port
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._stream: Stream | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self, inbox: Inbox, /) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError as error:
            raise BackendUnavailable(f"no broker on port {self._port}") from error
        self._stream = Stream(reader, writer)
        self._reading = asyncio.create_task(self._read(self._stream, inbox))

    async def close(self) -> None:
        if self._reading is not None and self._stream is not None:
            self._stream.close()
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._end()

    async def subscribe(self, topics: Collection[str], /) -> None:
        await self.call("subscribe", list(topics))

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        await self.call("unsubscribe", list(topics))

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await self.call("publish", list(publications))

    async def call(self, name: str, *arguments: Any) -> Any:
        """Return the broker's answer; a take that is cancelled gives back what it was handed."""
        if self._stream is None:
            raise BackendUnavailable("not connected")
        number = next(self._numbers)
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        self._stream.write(number, name, *arguments)
        try:
            return await answer
        except asyncio.CancelledError:
            if name == "take":
                if answer.done() and not answer.cancelled():
                    self._give_back(answer.result())
                else:
                    self._stream.write(next(self._numbers), "forget", *arguments, number)
            raise
        finally:
            self._calls.pop(number, None)

    async def _read(self, stream: Stream, inbox: Inbox) -> None:
        while (message := await stream.read()) is not None:
            match message:
                case ["deliver", topic, payload]:
                    inbox.deliver(topic, payload)
                case ["answer", number, value]:
                    call = self._calls.get(number)
                    if call is not None and not call.done():
                        call.set_result(value)
                    elif isinstance(value, list):
                        self._give_back(value)
        self._end()

    def _give_back(self, job: list[Any]) -> None:
        if self._stream is not None:
            self._stream.write(next(self._numbers), "release", job[0])

    def _end(self) -> None:
        self._stream = None
        for call in self._calls.values():
            if not call.done():
                call.set_exception(BackendUnavailable("the broker is gone"))


class TcpLayer(BaseChannelLayer):
    """A layer on the broker that listens on the port."""

    def __init__(self, port: int, **options: Any) -> None:
        super().__init__(**options)
        self._port = port

    def create_backend(self) -> TcpBackend:
        return TcpBackend(self._port)
