"""Topics over one connection to an MQTT broker.

Publications have quality of service 1, so the broker confirms each. Subscriptions have 0: while a
connection lasts, nothing is lost on it, and a new one begins with a clean session and a gap.
"""

import asyncio
import logging
from asyncio import FIRST_COMPLETED, Future, Task
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Final

from aiomqtt import Client, MqttError
from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Backend, Inbox, Publication, reconnect_delays

from fast_channels_mqtt.broker import Broker

PATIENCE: Final = 1.0  # seconds that a call waits for a connection that is coming back
LONGEST_DELAY: Final = 0.5

logger = logging.getLogger("fast_channels.mqtt")


class MqttBackend(Backend):
    """A backend over one broker."""

    max_payload = 131_072  # what hosted brokers take at least

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._topics: set[str] = set()
        """What the broker has confirmed, and every new connection subscribes to."""
        self._subscribing = asyncio.Lock()
        self._running: Task[None] | None = None
        self._closing: Task[None] | None = None
        self._why = "the MQTT backend is not open"
        """Why there is no connection, while there is none."""

    async def open(self, inbox: Inbox, /) -> None:
        """Connected. When the first attempt fails, further ones are made until ``close``."""
        self._client: Future[Client] = Future()
        self._ended: Future[None] = Future()
        first: set[Future[Any]] = {self._client, self._ended}
        self._running = asyncio.create_task(self._run(inbox), name="fast-channels-mqtt")
        await asyncio.wait(first, return_when=FIRST_COMPLETED)
        if not self._client.done():
            raise BackendUnavailable(self._why)

    async def close(self) -> None:
        """The connection is gone."""
        if self._running is not None and self._closing is None:
            self._why = "the MQTT backend was closed"
            self._closing = asyncio.create_task(_end(self._running))
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _run(self, inbox: Inbox) -> None:
        """Be connected, again and again, until cancelled."""
        delays, gap = reconnect_delays(most=LONGEST_DELAY), None
        while True:
            try:
                async with self._broker.connect() as client:
                    async with self._subscribing:
                        await _subscribe(client, list(self._topics))
                        if gap is not None:
                            inbox.gap(gap)
                        self._client.set_result(client)
                    delays = reconnect_delays(most=LONGEST_DELAY)
                    async for message in client.messages:
                        if (topic := message.topic.value) in self._topics:
                            inbox.deliver(topic, message.payload)
            except MqttError as error:
                self._why = f"{self._broker} cannot be reached: {error}"
            finally:
                connected, ended = self._client.done(), self._ended
                self._client, self._ended = Future() if connected else self._client, Future()
                ended.set_result(None)
            if connected:
                gap = BackendUnavailable(self._why)
                logger.warning("%s; connecting again", gap)
            await asyncio.sleep(next(delays))

    async def subscribe(self, topics: Collection[str], /) -> None:
        """The broker has confirmed the topics."""
        client = await self._ready()
        async with self._subscribing:
            await self._ask(lambda: [_subscribe(client, list(topics))])
            self._topics.update(topics)

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        """The topics are not delivered any more."""
        self._topics.difference_update(topics)
        async with self._subscribing:
            if topics and self._running is not None and self._client.done():
                client = self._client.result()
                await self._ask(lambda: [client.unsubscribe(list(topics))])

    async def publish(self, publications: Sequence[Publication], /) -> None:
        """The broker has the publications."""
        client = await self._ready()
        await self._ask(lambda: (client.publish(*each, qos=1) for each in publications))

    async def _ready(self) -> Client:
        if self._running is not None and not self._running.done():
            await asyncio.wait([self._client], timeout=PATIENCE)
        if self._running is None or not self._client.done():
            raise BackendUnavailable(f"{self._why}; nothing was sent")
        return self._client.result()

    async def _ask(self, calls: Callable[[], Iterable[Awaitable[None]]]) -> None:
        """The broker has answered the calls, which began in this order."""
        asking = asyncio.create_task(_answers(calls))
        first: set[Future[Any]] = {asking, self._ended}
        try:
            await asyncio.wait(first, return_when=FIRST_COMPLETED)
        finally:
            await _end(asking)
        if asking.cancelled():
            raise BackendUnavailable(f"{self._why}; it was perhaps sent")
        for error in filter(None, asking.result()):
            raise BackendUnavailable(f"{self._broker}: {error}; it was perhaps sent") from error


async def _answers(calls: Callable[[], Iterable[Awaitable[None]]]) -> list[BaseException | None]:
    return await asyncio.gather(*calls(), return_exceptions=True)


async def _end(task: Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _subscribe(client: Client, topics: list[str]) -> None:
    """The broker has confirmed the topics; raises ``MqttError`` when it refuses one."""
    if topics:
        answers = await client.subscribe([(topic, 0) for topic in topics])
        for topic, answer in zip(topics, answers, strict=True):
            if getattr(answer, "value", answer) == 0x80:
                raise MqttError(f"it refuses the subscription to {topic!r}")
