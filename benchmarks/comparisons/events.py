"""What a consumer's event costs, from its arrival in a queue to the end of its handler.

CPU for each event, with 100 connections. Ours: a real ``AsyncWebsocketConsumer``, served as an ASGI
application on the memory layer, whose handlers do nothing but count. Theirs: Django Channels'
``await_many_dispatch`` (of PyPI, in an environment of its own) over two asyncio queues,
with a ``dispatch`` that finds the handler by the event's type, and the same handlers.

- A client's event is put into the ``asyncio.Queue`` that is the server's ``receive`` on both sides.
- A layer's message is put into where it waits for the consumer: theirs into the queue that stands
  for ``channel_receive``, ours into the channel's mailbox, as the hub does. Neither side's layer is
  in the measure.
- singly: each connection gets one event, then everything comes to rest before the next.
- bursts of 100: each gets 100 in a row, then everything comes to rest.

Both sides are fed by the same loop over the same copies, on the same event loop, in processes in
turn. What feeding and counting cost by themselves is measured with feeds that only count, and
subtracted; the queue of a client's events is the server's, and stays in on both sides.
"""

import asyncio
import gc
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from benchmarks.comparisons.table import Row, compare
from benchmarks.comparisons.turns import in_turns, worker
from benchmarks.launch.environments import python
from benchmarks.workers.measuring import MESSAGE, Score, Stopwatch, work

CONNECTIONS: Final = 100
BURST: Final = 100
SECONDS: Final = 0.4
FRAME: Final[dict[str, Any]] = {"type": "websocket.receive", "text": "x" * 67}
TARGETS: Final = {
    "layer, singly": 0.6,
    "client, singly": 0.6,
    "layer, bursts": 0.15,
    "client, bursts": 0.3,
}

Feed = Callable[[dict[str, Any]], object]


def rows() -> Iterator[Row]:
    """Yield a row for each kind of event and loop; the targets are meant for uvloop."""
    for loop in ("uvloop", "asyncio"):
        ours, theirs = in_turns(
            worker("events", "consumer", loop=loop),
            worker("events", "await_many_dispatch", loop=loop, python=python("channels")),
        )
        for kind, target in TARGETS.items():
            goal = target if loop == "uvloop" else None
            yield compare("events", f"{kind}, {loop}", ours[kind], theirs[kind], "us", at_most=goal)


async def consumers(score: Score) -> dict[str, list[Feed]]:
    """Serve our consumers; return what takes their events, and what only counts them."""
    from fast_channels import AsyncWebsocketConsumer, InMemoryChannelLayer, register_channel_layer

    class Counting(AsyncWebsocketConsumer):
        groups = ["room"]  # noqa: RUF012  # as users write it

        async def receive(
            self, text_data: str | None = None, bytes_data: bytes | None = None
        ) -> None:
            score.hit()

        async def chat_message(self, event: dict[str, Any]) -> None:
            score.hit()

    async def send(message: Any) -> None:
        if message["type"] != "websocket.accept":
            raise RuntimeError(f"the consumer sent {message!r}")

    layer = InMemoryChannelLayer()
    register_channel_layer("default", layer)
    application = Counting.as_asgi()
    clients: list[Feed] = []
    for _ in range(CONNECTIONS):
        queue: asyncio.Queue[Any] = asyncio.Queue()
        queue.put_nowait({"type": "websocket.connect"})
        tasks.append(asyncio.create_task(application({"type": "websocket"}, queue.get, send)))
        clients.append(queue.put_nowait)
    while len(layer.groups.get("room", ())) < CONNECTIONS:
        await asyncio.sleep(0.01)
        for task in tasks:
            if task.done():
                task.result()
    mailboxes = layer.groups["room"].values()
    return {
        "client": clients,
        "layer": [mailbox_feed(mailbox.put) for mailbox in mailboxes],
        "count client": [lambda _: score.hit()] * CONNECTIONS,
        "count layer": [mailbox_feed(lambda _: score.hit())] * CONNECTIONS,
    }


def mailbox_feed(put: Callable[[Any], object]) -> Feed:
    """Return what puts a message there as the hub does."""
    return lambda message: put((lambda: message, time.monotonic(), 100))


async def dispatchers(score: Score) -> dict[str, list[Feed]]:
    """Run ``await_many_dispatch``; return what takes its events, and what only counts them."""
    await_many_dispatch: Any = importlib.import_module("channels.utils").await_many_dispatch

    class Counting:
        async def dispatch(self, message: dict[str, Any]) -> None:
            await getattr(self, message["type"].replace(".", "_"))(message)

        async def websocket_receive(self, message: dict[str, Any]) -> None:
            await self.receive(text_data=message["text"])

        async def receive(
            self, text_data: str | None = None, bytes_data: bytes | None = None
        ) -> None:
            score.hit()

        async def chat_message(self, event: dict[str, Any]) -> None:
            score.hit()

    pairs = [(asyncio.Queue[Any](), asyncio.Queue[Any]()) for _ in range(CONNECTIONS)]
    for client, channel in pairs:
        serving = await_many_dispatch([client.get, channel.get], Counting().dispatch)
        tasks.append(asyncio.create_task(serving))
    counting: list[Feed] = [lambda _: score.hit()] * CONNECTIONS
    return {
        "client": [client.put_nowait for client, _ in pairs],
        "layer": [channel.put_nowait for _, channel in pairs],
        "count client": counting,
        "count layer": counting,
    }


async def cost(
    feeds: list[Feed], event: dict[str, Any], burst: int, score: Score, seconds: float = SECONDS
) -> float:
    """Feed ``burst`` events at a time for that CPU time; return microseconds for each."""

    def feed_all() -> None:
        for feed in feeds:
            for _ in range(burst):
                feed(event.copy())

    gc.collect()
    loop = asyncio.get_running_loop()
    first = score.count
    watch = Stopwatch()
    while watch.seconds < seconds:
        loop.call_soon(feed_all)  # as what a broker sends arrives: no task is running
        await score.until(score.count + len(feeds) * burst)
        for _ in range(4):  # until everybody waits again
            await asyncio.sleep(0)
    return watch.each(score.count - first)


async def main(kind: str) -> dict[str, float]:
    """Measure every kind of event on one side."""
    score = Score()
    feeds = await (consumers if kind == "consumer" else dispatchers)(score)
    await asyncio.sleep(0.1)
    result: dict[str, float] = {}
    for name in TARGETS:
        source, _, way = name.partition(", ")
        event = MESSAGE if source == "layer" else FRAME
        burst = BURST if way == "bursts" else 1
        await cost(feeds[source], event, burst, score, SECONDS / 4)
        gross = await cost(feeds[source], event, burst, score)
        result[name] = gross - await cost(feeds[f"count {source}"], event, burst, score, 0.1)
    return result


tasks: list[asyncio.Task[None]] = []

if __name__ == "__main__":
    work(main)
