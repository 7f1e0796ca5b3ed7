"""What the tests of consumers share: both ways to start handlers, two event loops, a client.

Every test of this folder runs four times: handlers started in place and not, on asyncio and uvloop.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from tests.both_ways import in_place as in_place
from tests.both_ways import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.journal import Journal

from fast_channels.layers import InMemoryChannelLayer
from fast_channels.layers.registry import channel_layers

from .noted import NOTE


class Client:
    """A client and its server, as a consumer sees them: what it receives, and what it sends.

    As strict as servers are: nothing may be sent after the close, nor after the consumer was told
    that the client has left.
    """

    def __init__(self, application: Any, path: str = "/", **scope: Any) -> None:
        self.application = application
        self.scope = {
            "type": "websocket",
            "path": path,
            "query_string": b"",
            "headers": [],
            "subprotocols": [],
            **scope,
        }
        self.sent: list[dict[str, Any]] = []
        self.asked = 0
        """How often the consumer asked for the next event."""
        self.vanished = False
        """What is sent meets an ``OSError``, as before the server has noticed the client's end."""
        self.writable = asyncio.Event()
        """Unset: the client does not read, and ``send`` waits."""
        self.writable.set()
        self._unread = 0
        self._events: deque[dict[str, Any]] = deque()
        self._event: asyncio.Event = asyncio.Event()
        self.told = False
        self.news = Journal()
        self._seen = False
        self.task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(
            application(self.scope, self.receive, self.send)
        )
        self.task.add_done_callback(lambda _: self.news("ended"))

    # --- the server's side --------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        self.news("asked")
        while not self._events:
            self._event.clear()
            await self._event.wait()
        event = self._events.popleft()
        if event["type"] == "websocket.disconnect":
            self.told = True
            self.news("told")
        return event

    async def send(self, message: dict[str, Any]) -> None:
        if self.told or self.close is not None:
            raise RuntimeError(f"{message} was sent after the end")
        await self.writable.wait()
        if self.vanished or self.told:
            raise ConnectionResetError("the client is gone")
        self.sent.append(message)
        if message["type"] == "websocket.close":
            self.happens("websocket.disconnect", code=message["code"])
        self.news(message)

    @property
    def close(self) -> dict[str, Any] | None:
        """The consumer's ``websocket.close``, if it sent one."""
        return next((sent for sent in self.sent if sent["type"] == "websocket.close"), None)

    # --- the client's side --------------------------------------------------------------------

    def happens(self, kind: str, **fields: Any) -> None:
        """The server has this event for the consumer."""
        self._events.append({"type": kind, **fields})
        self._event.set()

    def says(self, data: str | bytes) -> None:
        """The client sends a frame."""
        self.happens("websocket.receive", **{"text" if isinstance(data, str) else "bytes": data})

    def leaves(self, code: int = 1001) -> None:
        """The client closes the socket."""
        self.happens("websocket.disconnect", code=code)

    async def read(self) -> None:
        """Wait until the consumer has taken every event, and asked for the next."""
        await self.news.until(lambda: self.task.done() or (not self._events and self._waits))

    async def read_to_the_end(self) -> None:
        """Wait until the consumer's reader has learnt that the client left."""
        await self.news.until(lambda: self.told)
        await turns()

    @property
    def _waits(self) -> bool:
        return not self._event.is_set()

    async def gets(self) -> dict[str, Any]:
        """Wait for the next message that the consumer sends."""
        await self.news.until(lambda: len(self.sent) > self._unread or self.task.done())
        if len(self.sent) <= self._unread:
            self.task.result()
            raise AssertionError("the consumer ended, and sent nothing more")
        self._unread += 1
        return self.sent[self._unread - 1]

    async def hears(self) -> str | bytes:
        """Wait for the next frame."""
        message = await self.gets()
        assert message["type"] == "websocket.send", message
        text = message.get("text")
        return message["bytes"] if text is None else text

    async def hears_close(self) -> int:
        """Wait for the close, and return its code."""
        await self.news.until(lambda: self.close is not None or self.task.done())
        assert self.close is not None, self.sent
        code: int = self.close["code"]
        return code

    async def ended(self) -> BaseException | None:
        """Wait until the consumer has ended; return what it raised."""
        await self.news.until(self.task.done)
        self._seen = True
        return asyncio.CancelledError() if self.task.cancelled() else self.task.exception()

    async def end(self) -> None:
        """The client leaves if it has not; the consumer ends, and its exception is raised."""
        self.writable.set()
        if not self.task.done():
            self.leaves()
        await self.news.until(self.task.done)
        if not self._seen and not self.task.cancelled():
            self.task.result()

    async def kill(self) -> None:
        """The consumer has ended, even one whose handler swallows a cancellation or two."""
        for _ in range(10):
            self.task.cancel()
            await asyncio.wait([self.task], timeout=0.05)


async def all_end(clients: Sequence[Client]) -> None:
    """Every client has left; the first exception of a consumer is raised."""
    problems = []
    for client in clients:
        try:
            await client.end()
        except Exception as error:
            problems.append(error)
            await client.kill()
    if problems:
        raise problems[0]


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects a client to an application, or to a consumer; a refusal or failure is fine, too.

    At the end of the test every client leaves, and what a consumer raised that the test has not
    asked for fails the test.
    """
    clients: list[Client] = []

    async def connect(
        application: Any, path: str = "/", *, wait: bool = True, **scope: Any
    ) -> Client:
        if hasattr(application, "as_asgi"):
            application = application.as_asgi()
        client = Client(application, path, **scope)
        clients.append(client)
        client.happens("websocket.connect")
        if not wait:
            return client
        await client.news.until(lambda: bool(client.sent) or client.task.done())
        client._unread = 1
        # Now the consumer waits: whatever comes next finds it parked.
        await client.read()
        await turns()
        return client

    yield connect
    await all_end(clients)


@pytest.fixture
async def layer() -> AsyncIterator[InMemoryChannelLayer]:
    """A memory layer, registered as "default"."""
    layer = InMemoryChannelLayer()
    channel_layers.register("default", layer)
    yield layer
    await layer.close()


@pytest.fixture(params=["layer", "client"])
def tell(request: pytest.FixtureRequest, layer: InMemoryChannelLayer) -> Callable[..., Any]:
    """Brings an event to the client of a ``Noted``: a message of the layer, or a frame."""

    async def tell(client: Client) -> None:
        if request.param == "client":
            client.says("note")
        else:
            await layer.group_send("all", NOTE)

    return tell


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    yield
    channel_layers.clear()


@pytest.fixture
def journal() -> Journal:
    """Consumers write down here what happens to them."""
    return Journal()


@pytest.fixture
def free() -> asyncio.Event:
    """What handlers wait for, until the test sets it."""
    return asyncio.Event()


async def turns(count: int = 5) -> None:
    """Let the loop run: whatever needs no time happens."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture(name="turns")
def _turns() -> Callable[..., Awaitable[None]]:
    return turns
