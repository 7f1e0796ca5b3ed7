"""Runs consumers for named channels: the worker queues of a layer.

A job is done when its handler has ended, however it ended, and not before: what a worker had not
begun, or had to cut off, goes to another one, and so does everything of a worker that is killed.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Collection, Generator, Sequence
from contextlib import contextmanager, nullcontext
from math import inf
from typing import Any, Final, cast

from fast_channels.exceptions import LayerClosed, RouteNotFound, StopConsumer
from fast_channels.layers import (
    BaseChannelLayer,
    ChannelLayer,
    Lease,
    channel_layers,
    reconnect_delays,
)
from fast_channels.layers.names import check_channel
from fast_channels.routing.routers import served_channels
from fast_channels.type_defs import ChannelApplication, ChannelMessage
from fast_channels.utils import require_application

logger = logging.getLogger("fast_channels.worker")

HOLD_SECONDS: Final = 1.0
"""How long a job that came when every place was taken may wait here, rather than elsewhere."""

SETTLE_SECONDS: Final = 5.0
"""How long the broker may take to note that a job is done or back in its queue."""

RETRY_SECONDS: Final = (0.1, 10.0)
"""The shortest and the longest pause before taking from a broker that failed is tried again."""


class Worker:
    """Gives each message of the channels to an instance of the application of its own.

    The application's scope is ``{"type": "channel", "channel": name}``, and the message is its one
    event: a consumer's method for the message's type is called. At most ``max_applications``
    messages are handled at once; any number of workers may share a channel. An exception is logged,
    and its message is done: it is not tried again.

    ``channel_layer`` is a layer or its alias. On a layer that is no ``BaseChannelLayer`` a message
    is done when it is received, and sent again where it would be released.

    Raises ``ValueError`` for no channels, for an unknown alias, for numbers that are none of their
    kind, and (``RouteNotFound``) for a channel that the application's ``ChannelNameRouter`` does
    not have.
    """

    def __init__(
        self,
        application: ChannelApplication,
        channels: Sequence[str],
        channel_layer: ChannelLayer | str,
        max_applications: int = 1000,
        *,
        shutdown_timeout: float = 30.0,
    ) -> None:
        require_application(application)
        if isinstance(channels, str):
            raise TypeError(f"channels must be a list of names: pass [{channels!r}]")
        if not channels:
            raise ValueError("a worker needs at least one channel to serve")
        if cast("object", channel_layer) is None:
            raise ValueError("the channel layer is None; register one, or pass it")
        if not _is_number(max_applications, int) or max_applications < 1:
            raise ValueError(f"max_applications must be at least 1, got {max_applications!r}")
        if not (_is_number(shutdown_timeout, int, float) and 0 <= shutdown_timeout < inf):
            raise ValueError(f"shutdown_timeout must be seconds from 0, got {shutdown_timeout!r}")
        served = served_channels(application)
        for name in channels:
            if "!" in check_channel(name):
                raise ValueError(f"channel {name!r} is one process's mailbox and no worker queue")
            if served is not None and name not in served:
                raise RouteNotFound("channel", name, sorted(served))
        if isinstance(channel_layer, str):
            channel_layer = channel_layers.require(channel_layer)
        self.application = application
        self.channels = list(dict.fromkeys(channels))
        self.channel_layer = channel_layer
        self.max_applications = max_applications
        self.shutdown_timeout = shutdown_timeout
        self._take_one = _taker(channel_layer)
        self._places = asyncio.Semaphore(max_applications)
        self._stopping = asyncio.Event()
        self._jobs: set[asyncio.Task[None]] = set()
        self._handling: set[asyncio.Task[None]] = set()
        """Those of the jobs whose handler runs."""
        self._cutting = False

    async def run(self, *, handle_signals: bool = False) -> None:
        """Serve the channels until ``stop()``; then what was begun has ended.

        Taking is tried again, for ever, while the broker is unavailable. Cancelling cuts handlers
        off. Raises ``LayerClosed`` when the layer was closed, ``InvalidChannelLayerError`` when it
        has no worker queues. With ``handle_signals`` (in the main thread) SIGTERM or SIGINT stops,
        and a second one stops now.
        """
        loop = asyncio.get_running_loop()
        takers: list[asyncio.Task[Any]] = [loop.create_task(self._stopping.wait())]
        if not self._stopping.is_set():
            takers += [loop.create_task(self._serve(channel)) for channel in self.channels]
        logger.info("serves %s on %s", ", ".join(self.channels), self.channel_layer)
        with self._signals(loop) if handle_signals else nullcontext():
            try:
                await asyncio.wait(takers, return_when=asyncio.FIRST_COMPLETED)
                await _cancel(takers)
                if self._jobs:
                    logger.info("stops; %d jobs are being finished", len(self._jobs))
                    await asyncio.wait(self._jobs, timeout=self.shutdown_timeout)
            finally:
                self._cut_off()
                await _cancel(takers)
                if self._jobs:
                    await asyncio.wait(self._jobs)
        for taker in takers:
            if not taker.cancelled():
                taker.result()

    arun = run
    """The name in Django Channels, whose ``run()`` starts an event loop of its own."""

    def stop(self, *, now: bool = False) -> None:
        """Nothing more is taken, and ``run()`` ends with what was begun, for good.

        What still runs after ``shutdown_timeout`` seconds, or ``now``, is cancelled and released.
        """
        self._stopping.set()
        if now:
            self._cut_off()

    # --- inside -------------------------------------------------------------------------------

    async def _serve(self, channel: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            async with self._places:
                pass  # begin no take while there is no place for what it may bring
            lease = await self._take(channel)
            try:
                async with asyncio.timeout(HOLD_SECONDS):
                    await self._places.acquire()
            except TimeoutError:
                await _settle(lease.release(), channel)
                continue
            except asyncio.CancelledError:
                await _settle(lease.release(), channel)
                raise
            job = loop.create_task(self._work(channel, lease))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)

    async def _take(self, channel: str) -> "Lease | _Received":
        for pause in reconnect_delays(*RETRY_SECONDS):
            try:
                return await self._take_one(channel)
            except (TypeError, ValueError, LayerClosed):
                raise
            except Exception as error:
                logger.warning("cannot take from %r, and will try again: %r", channel, error)
            await asyncio.sleep(pause)
        raise AssertionError("the pauses never end")

    async def _work(self, channel: str, lease: "Lease | _Received") -> None:
        """Handle one message; afterwards it is done, or released if the handler was cut off."""
        job = cast("asyncio.Task[None]", asyncio.current_task())
        settle = lease.release if self._cutting else lease.done
        if not self._cutting:
            self._handling.add(job)
            try:
                await self._handle(channel, lease.message)
            except StopConsumer:
                pass
            except asyncio.CancelledError:
                if self._cutting:
                    settle = lease.release
                    logger.warning("a handler of %r was cut off; its message is released", channel)
                else:
                    logger.exception("a handler of %r was cancelled, not by the worker", channel)
            except Exception:
                kind = lease.message.get("type")
                logger.exception("a message of type %r failed in channel %r", kind, channel)
            self._handling.discard(job)
        await _settle(settle(), channel)
        self._places.release()

    async def _handle(self, channel: str, message: dict[str, Any]) -> None:
        events = [message]

        async def receive() -> ChannelMessage:
            if not events:
                raise StopConsumer  # a consumer ends when it has handled what it has received
            return events.pop()

        async def send(event: ChannelMessage) -> None:
            raise RuntimeError(
                f"{event.get('type')!r} was sent by the application of channel {channel!r}, which "
                "has no client; send through the channel layer"
            )

        await self.application({"type": "channel", "channel": channel}, receive, send)

    def _cut_off(self) -> None:
        self._stopping.set()
        if not self._cutting:  # a second cancellation would end what cleans up after the first
            self._cutting = True
            for job in self._handling:
                job.cancel()

    @contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Generator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT)
        try:
            for number in numbers:
                loop.add_signal_handler(number, lambda: self.stop(now=self._stopping.is_set()))
        except NotImplementedError:
            pass  # on Windows, where Ctrl+C ends asyncio.run(), which cuts handlers off
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


class _Received:
    """A message of a layer that has no leases."""

    def __init__(self, layer: ChannelLayer, channel: str, message: dict[str, Any]) -> None:
        self.message = message
        self._layer = layer
        self._channel = channel

    async def done(self) -> None:
        """It is; the layer forgot it when it was received."""

    async def release(self) -> None:
        """It is the last one in its channel."""
        await self._layer.send(self._channel, self.message)


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _taker(layer: ChannelLayer) -> "Callable[[str], Awaitable[Lease | _Received]]":
    ours = BaseChannelLayer
    if isinstance(layer, ours) and type(layer).receive is ours.receive:
        return layer.take

    async def receive(channel: str) -> _Received:
        return _Received(layer, channel, await layer.receive(channel))

    return receive


async def _settle(settling: Awaitable[None], channel: str) -> None:
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            await settling
    except Exception as error:
        logger.warning("a message of %r may be handed out again: %r", channel, error)


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
