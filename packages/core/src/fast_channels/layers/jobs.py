"""Worker queues behind channel names without ``!``: messages that wait until a worker comes."""

import asyncio
from contextlib import suppress
from typing import Any

from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError, LayerClosed
from fast_channels.layers.backend import Job, WorkerQueues
from fast_channels.layers.codec import Entry, SealError, decode_entries, encode_entries
from fast_channels.layers.counters import Counters
from fast_channels.layers.messages import decode_message
from fast_channels.layers.names import queue_name
from fast_channels.layers.options import LayerOptions
from fast_channels.layers.session import Session


class Lease:
    """A message of a worker queue, taken and not yet finished: the broker keeps it until then."""

    __slots__ = ("_counters", "_job", "message")

    def __init__(self, message: dict[str, Any], job: Job, counters: Counters) -> None:
        self.message = message
        self._job = job
        self._counters = counters

    async def done(self) -> None:
        """The message is finished, and nobody else gets it."""
        await self._job.done()
        self._counters.delivered += 1

    async def release(self) -> None:
        """The message is back in its queue; another taker gets it."""
        await self._job.release()


class JobQueues:
    """The worker queues as a layer's ``send`` and ``receive`` see them."""

    __slots__ = ("_layer", "_options", "_session")

    def __init__(self, session: Session, options: LayerOptions, layer: object) -> None:
        self._session = session
        self._options = options
        self._layer = layer

    async def put(self, channel: str, payload: bytes) -> None:
        """The broker holds the message until a worker takes it, at most for ``expiry``."""
        session, timeout = self._session, self._options.send_timeout
        queue = queue_name(self._options.prefix, channel)
        body = encode_entries([Entry(payload, channel)])
        frame = session.frames.encode(queue, session.node, 0, 0, body)
        try:
            async with asyncio.timeout(timeout):
                await self._queues(channel).put(queue, frame, self._options.expiry)
        except TimeoutError as error:
            session.counters.failed += 1
            raise BackendUnavailable(
                f"the broker did not answer within {timeout:g} s; the message was perhaps sent"
            ) from error
        except Exception:
            session.counters.failed += 1
            raise
        session.counters.sent += 1

    async def take(self, channel: str) -> dict[str, Any]:
        """Wait for a message of the queue; it is finished when this returns."""
        lease = await self.lease(channel)
        try:
            await lease.done()
        except asyncio.CancelledError:
            with suppress(BackendUnavailable):  # then it comes back later
                await lease.release()
            raise
        return lease.message

    async def lease(self, channel: str) -> Lease:
        """Wait for a message of the queue; what cannot be read is counted, finished and skipped."""
        queues = self._queues(channel)
        queue = queue_name(self._options.prefix, channel)
        while True:
            try:
                job = await queues.take(queue)
            except BackendUnavailable as error:
                if self._session.closed:
                    raise LayerClosed(f"{self._layer} was closed") from error
                raise
            try:
                _, frame = self._session.frames.decode(queue, job.payload)
                (entry,) = decode_entries(frame.body)
                return Lease(decode_message(entry.payload), job, self._session.counters)
            except ValueError as error:
                reason = "refused" if isinstance(error, SealError) else "malformed"
                self._session.losses.note(reason, f"in queue {channel}: {error}")
                await job.done()

    def _queues(self, channel: str) -> WorkerQueues:
        queues = self._session.backend.queues
        if queues is None:
            raise InvalidChannelLayerError(
                f"{self._layer} has no worker queues, and channel {channel!r} is one (it has no "
                "'!'); use a channel made by new_channel(), or another backend"
            )
        return queues
