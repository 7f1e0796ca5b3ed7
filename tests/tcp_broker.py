"""A small broker on TCP, and a backend and a layer for it: where tests need real connections.

The broker runs in a thread of the test's process and is looked at from there, whatever process
its clients run in::

    with TCPBroker() as broker:
        layer = TCPLayer(broker.url)
        ...
        broker.wait_for(lambda: broker.connections == 0)

``cut`` breaks every connection; from ``freeze`` to ``thaw`` the broker answers nothing. A program
that a test starts gets the URL as an argument, and this folder on its ``PYTHONPATH``.

The broker knows topics and nothing else. Each frame is a length of four bytes and a msgpack array:
``["subscribe", n, topics]``, ``["unsubscribe", n, topics]`` and ``["publish", n, [[topic, payload],
...]]``, each answered by ``["ok", n]``; ``["message", topic, payload]`` to subscribers; and
``["goodbye"]`` from a client that closes, so that a connection that only the end of its process
closed is told from one that was closed properly.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Backend, BaseChannelLayer, Inbox, Publication

PATIENCE: Final = 15.0


class Link(asyncio.Protocol):
    """One end of a connection: whole frames, in and out."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._unread = bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def write(self, *frame: object) -> None:
        body = msgspec.msgpack.encode(frame)
        self.transport.write(len(body).to_bytes(4, "big") + body)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while len(self._unread) >= 4:
            end = 4 + int.from_bytes(self._unread[:4], "big")
            if len(self._unread) < end:
                break
            frame = msgspec.msgpack.decode(bytes(self._unread[4:end]))
            del self._unread[:end]
            self.frame_received(*frame)

    def frame_received(self, kind: str, *fields: Any) -> None:
        raise NotImplementedError


# --- the broker -------------------------------------------------------------------------------


class TCPBroker:
    """Serves inside a ``with``; every attribute may be read from any thread."""

    def __init__(self) -> None:
        self.connections = 0
        """Connections that are open."""
        self.peak = 0
        """The most that were open at once."""
        self.total = 0
        """Connections that were ever made."""
        self.dropped = 0
        """Connections that ended without a goodbye."""
        self.subscriptions = 0
        """Pairs of a connection and a topic."""
        self.published = 0
        """Payloads that were published."""
        self.held = 0
        """Requests that a frozen broker has not carried out yet."""
        self._frozen: list[Callable[[], None]] | None = None
        self._topics: dict[str, dict[_Client, None]] = {}
        self._clients: set[_Client] = set()
        self._news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="tcp-broker", daemon=True)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for(lambda: self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)

    def wait_for(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Return when the condition, on what the broker has, is true."""
        with self._news:
            if not self._news.wait_for(condition, seconds):
                raise AssertionError(f"not within {seconds} s; the broker has {self}")

    def cut(self) -> None:
        """Every connection is broken, as by a network that fails."""
        self._loop.call_soon_threadsafe(
            lambda: [client.transport.abort() for client in self._clients]
        )

    def freeze(self) -> None:
        """From now on requests are neither carried out nor answered."""
        self._frozen = []

    def thaw(self) -> None:
        """What waits is carried out and answered, and all that comes."""
        self._loop.call_soon_threadsafe(self._thaw)

    def _thaw(self) -> None:
        frozen, self._frozen, self.held = self._frozen or [], None, 0
        for request in frozen:
            request()

    def __repr__(self) -> str:
        return (
            f"<TCPBroker {self.connections} connections (peak {self.peak}, total {self.total}, "
            f"dropped {self.dropped}), {self.subscriptions} subscriptions>"
        )

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        server = await self._loop.create_server(
            lambda: _Client(self), "127.0.0.1", 0, backlog=1_024
        )
        self.url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.changed()
        await self._stop.wait()
        server.close()
        for client in self._clients:
            client.transport.abort()

    # --- called by the clients' links, in the broker's thread ---------------------------------

    def carry_out(self, request: Callable[[], None]) -> None:
        if self._frozen is None:
            request()
        else:
            self._frozen.append(request)
            self.held += 1
        self.changed()

    def changed(self) -> None:
        with self._news:
            self._news.notify_all()

    def enter(self, client: "_Client") -> None:
        self._clients.add(client)
        self.total += 1
        self.connections += 1
        self.peak = max(self.peak, self.connections)
        self.changed()

    def leave(self, client: "_Client") -> None:
        self._clients.discard(client)
        self.unsubscribe(client, list(client.topics))
        self.connections -= 1
        self.dropped += not client.said_goodbye
        self.changed()

    def subscribe(self, client: "_Client", topics: Collection[str]) -> None:
        fresh = set(topics) - client.topics
        for topic in fresh:
            self._topics.setdefault(topic, {})[client] = None
        client.topics |= fresh
        self.subscriptions += len(fresh)

    def unsubscribe(self, client: "_Client", topics: Collection[str]) -> None:
        known = set(topics) & client.topics
        for topic in known:
            del self._topics[topic][client]
            if not self._topics[topic]:
                del self._topics[topic]
        client.topics -= known
        self.subscriptions -= len(known)

    def publish(self, publications: Sequence[Sequence[Any]]) -> None:
        self.published += len(publications)
        for topic, payload in publications:
            for client in self._topics.get(topic, ()):
                client.write("message", topic, payload)


class _Client(Link):
    """The broker's end of a connection."""

    def __init__(self, broker: TCPBroker) -> None:
        super().__init__()
        self._broker = broker
        self.topics: set[str] = set()
        self.said_goodbye = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._broker.enter(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._broker.leave(self)

    def frame_received(self, kind: str, *fields: Any) -> None:
        if kind == "goodbye":
            self.said_goodbye = True
            return
        self._broker.carry_out(lambda: self._request(kind, *fields))

    def _request(self, kind: str, number: int, subject: Any) -> None:
        if kind == "publish":
            self._broker.publish(subject)
        elif self.transport.is_closing():
            return
        elif kind == "subscribe":
            self._broker.subscribe(self, subject)
        else:
            self._broker.unsubscribe(self, subject)
        self.write("ok", number)


# --- its clients ------------------------------------------------------------------------------


class TCPBackend(Backend):
    """One connection to the broker, made anew when it breaks."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.topics: set[str] = set()
        self._link: _Server | None = None
        self._repairing: asyncio.Task[None] | None = None
        self._closed = False
        self.inbox: Inbox

    async def open(self, inbox: Inbox, /) -> None:
        self.inbox = inbox
        self._link = await self._connect()

    async def close(self) -> None:
        self._closed = True
        if self._repairing is not None:
            self._repairing.cancel()
            await asyncio.wait([self._repairing])
        if self._link is not None:
            await self._link.close()

    async def subscribe(self, topics: Collection[str], /) -> None:
        await self._ask("subscribe", list(topics))
        self.topics.update(topics)

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        self.topics.difference_update(topics)
        await self._ask("unsubscribe", list(topics))

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await self._ask("publish", list(publications))

    def lost(self, link: "_Server", error: Exception | None) -> None:
        """The link has ended: nobody meant it to unless the backend is closed."""
        if self._link is link and not self._closed:
            self._link = None
            cause = BackendUnavailable(f"{self._url} broke the connection: {error}")
            self._repairing = asyncio.get_running_loop().create_task(self._repair(cause))

    async def _ask(self, kind: str, subject: list[Any]) -> None:
        if self._link is None:
            raise BackendUnavailable(f"{self._url} is not connected")
        await self._link.ask(kind, subject)

    async def _connect(self) -> "_Server":
        parts = urlsplit(self._url)
        try:
            _, link = await asyncio.get_running_loop().create_connection(
                lambda: _Server(self), parts.hostname, parts.port
            )
        except OSError as error:
            raise BackendUnavailable(f"no broker at {self._url}: {error}") from error
        return link

    async def _repair(self, cause: Exception) -> None:
        delay = 0.02
        while True:
            try:
                link = await self._connect()
            except BackendUnavailable:
                await asyncio.sleep(delay * random.uniform(0.5, 1))
                delay = min(delay * 2, 1)
                continue
            try:
                link.held = []
                await link.ask("subscribe", list(self.topics))
            except BackendUnavailable:
                continue
            except asyncio.CancelledError:
                await link.close()
                raise
            self._link = link
            self.inbox.gap(cause)
            held, link.held = link.held, None
            for topic, payload in held:
                self.inbox.deliver(topic, payload)
            return


class _Server(Link):
    """The backend's end of a connection."""

    def __init__(self, backend: TCPBackend) -> None:
        super().__init__()
        self._backend = backend
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        self._gone = asyncio.get_running_loop().create_future()
        self.held: list[tuple[str, bytes]] | None = None
        """What arrives while the subscriptions are being restored."""

    async def ask(self, kind: str, subject: list[Any]) -> None:
        if self._gone.done():
            raise BackendUnavailable("the connection is broken")
        self._number += 1
        number = self._number
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self.write(kind, number, subject)
        try:
            await answer
        finally:
            del self._asked[number]

    async def close(self) -> None:
        """The socket is closed; a broker that does not read cannot delay that."""
        if not self._gone.done():
            self.write("goodbye")
            self.transport.abort() if self.transport.get_write_buffer_size() else (
                self.transport.close()
            )
        await asyncio.shield(self._gone)

    def frame_received(self, kind: str, *fields: Any) -> None:
        if kind == "ok":
            answer = self._asked.get(fields[0])
            if answer is not None and not answer.done():
                answer.set_result(None)
            return
        topic, payload = fields
        if self.held is not None:
            self.held.append((topic, payload))
        elif topic in self._backend.topics:
            self._backend.inbox.deliver(topic, payload)

    def connection_lost(self, error: Exception | None) -> None:
        self._gone.set_result(None)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(
                    BackendUnavailable(f"the connection broke; it was perhaps sent: {error}")
                )
        self._backend.lost(self, error)


class TCPLayer(BaseChannelLayer):
    """A layer on the broker at the URL."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(**options)
        self._url = url

    def create_backend(self) -> TCPBackend:
        return TCPBackend(self._url)
