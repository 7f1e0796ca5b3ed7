"""Natural batching: a lone send pays no delay, and a hot group costs one payload per round trip.

While nothing is in flight, a send publishes at once. While a publish is in flight, further sends
gather; when it returns, all that gathered goes out as one ``publish`` call, messages for the same
topic packed into one frame. Nothing is dropped here: when too much waits, senders wait.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable, FastChannelsError, PublishFailed
from fast_channels.layers.backend import Backend, Publication
from fast_channels.layers.codec import CONTROL, FRAGMENT, OVERHEAD, Entry, Frames, encode_entries
from fast_channels.layers.counters import Counters
from fast_channels.layers.fragments import split
from fast_channels.layers.sequence import Sequencer
from fast_channels.layers.tails import Tails
from fast_channels.layers.time_limit import TimeLimit

MAX_WAITING: Final = 10_000
"""Messages that may wait for a publish; more senders wait for room."""

MAX_WAITING_BYTES: Final = 16 * 1_048_576


_make: Final[Any] = vars(tuple)["__new__"]
"""``_make(Publication, parts)`` is ``Publication(*parts)`` in a third of the time."""

_Send = tuple[str, Entry, "asyncio.Future[None]", float]
"""One message that waits for the next publish: its topic, itself, its sender, and since when."""


class Outbox:
    """The send path of one session."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        backend: Backend,
        node: str,
        timeout: float,
        counters: Counters,
        frames: Frames,
    ) -> None:
        self._loop = loop
        self._backend = backend
        self._node = node
        self._encode = frames.encode
        self._timeout = timeout
        self._counters = counters
        self._sequencer = Sequencer()
        self._limit = TimeLimit(loop)
        self._in_flight = False
        self._idle: asyncio.Future[None] | None = None
        self._closed = False
        self._waiting: deque[_Send] = deque()
        self._waiting_bytes = 0
        self._room: deque[asyncio.Future[None]] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._quiet: list[str] = []
        self._tails = Tails(loop, self._gone_quiet)
        limit = backend.max_payload
        self._frame_bytes = backend.frame_bytes
        if limit is not None:
            if limit < 2 * OVERHEAD:
                raise ValueError(f"max_payload must be at least {2 * OVERHEAD}, got {limit}")
            self._frame_bytes = min(self._frame_bytes, limit - OVERHEAD)

    def send(self, topic: str, entry: Entry) -> Awaitable[None]:
        """The broker has the message; to be awaited at once.

        Raises ``BackendUnavailable`` at the latest when the send timeout is over. A cancelled
        sender's message is withdrawn if it is not in flight yet.
        """
        if self._in_flight and not (self._closed or self._room or self._full()):
            return self._gather(topic, entry)
        return self._send(topic, entry)

    async def _send(self, topic: str, entry: Entry) -> None:
        if not self._in_flight and not self._closed:
            self._in_flight = True
            try:
                await self._publish([(topic, [entry])], self._timeout)
            except PublishFailed as failure:
                self._counters.failed += _counts(entry)
                raise next(iter(failure.errors.values()), failure) from failure
            except Exception:
                self._counters.failed += _counts(entry)
                raise
            finally:
                self._landed()
            self._counters.sent += _counts(entry)
            return
        if self._full() or self._room:
            await self._wait_for_room(entry)
        if self._closed:
            self._counters.failed += _counts(entry)
            raise BackendUnavailable("the layer was closed; the message was not sent")
        sent = self._gather(topic, entry)
        if not self._in_flight:  # what was in flight landed while this sender waited for room
            self._landed()
        await sent

    @property
    def waiting(self) -> int:
        """Messages that wait for a publish."""
        return len(self._waiting)

    async def drain(self) -> None:
        """All that was in flight or waiting has been published, or has failed."""
        while self._in_flight:
            self._idle = self._loop.create_future()
            await self._idle

    async def close(self) -> None:
        """What waits fails with ``BackendUnavailable``; no task or timer is left."""
        self._closed = True
        self._tails.close()
        self._limit.close()
        flusher = self._flusher
        if flusher is not None:
            flusher.cancel()
            await asyncio.wait([flusher])
        self._fail(list(self._waiting), BackendUnavailable("the layer was closed while sending"))
        self._waiting.clear()
        for waiter in self._room:
            if not waiter.done():
                waiter.set_result(None)

    def _gather(self, topic: str, entry: Entry) -> "asyncio.Future[None]":
        """Return what is done when the message was published with the next ones.

        Where its sender is cancelled, the flusher finds it done and withdraws the message.
        """
        sent = self._loop.create_future()
        self._waiting.append((topic, entry, sent, self._loop.time()))
        self._waiting_bytes += len(entry.payload)
        return sent

    def _full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES

    async def _wait_for_room(self, entry: Entry) -> None:
        waiter = self._loop.create_future()
        self._room.append(waiter)
        try:
            async with asyncio.timeout(self._timeout):
                await waiter
        except TimeoutError:
            self._counters.failed += _counts(entry)
            raise BackendUnavailable(
                f"{len(self._waiting)} messages wait for the broker, and none went out for "
                f"{self._timeout:g} s; the message was not sent"
            ) from None
        finally:
            if waiter in self._room:
                self._room.remove(waiter)

    def _landed(self) -> None:
        """Nothing is in flight: let the flusher take what gathered meanwhile."""
        self._in_flight = False
        if (self._waiting or self._quiet) and self._flusher is None and not self._closed:
            self._in_flight = True
            self._flusher = self._loop.create_task(self._flush(), name="fast-channels-outbox")
            self._flusher.add_done_callback(self._flushed)
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _flushed(self, flusher: "asyncio.Task[None]") -> None:
        self._flusher = None
        self._in_flight = False
        if not flusher.cancelled():
            self._landed()

    async def _flush(self) -> None:
        while self._waiting or self._quiet:
            batch = [send for send in self._waiting if not send[2].done()]
            self._waiting.clear()
            self._waiting_bytes = 0
            for waiter in list(self._room)[:MAX_WAITING]:
                if not waiter.done():
                    waiter.set_result(None)
            await self._flush_batch(batch)

    async def _flush_batch(self, batch: list[_Send]) -> None:
        grouped = self._pack(batch)
        if self._quiet:
            busy = {topic for topic, _, _ in grouped}
            grouped += [(topic, [], []) for topic in self._quiet if topic not in busy]
            self._quiet.clear()
        if not grouped:  # every sender was cancelled meanwhile
            return
        left = self._timeout - (self._loop.time() - batch[0][3] if batch else 0)
        try:
            if left <= 0:
                raise BackendUnavailable(
                    f"the broker took nothing for {self._timeout:g} s; the message was not sent"
                )
            await self._publish([(topic, entries) for topic, entries, _ in grouped], left)
        except PublishFailed as failure:
            for index, (_, _, sends) in enumerate(grouped):
                error = failure.errors.get(index)
                self._fail(sends, error) if error else self._succeed(sends)
        except asyncio.CancelledError:
            self._fail(
                batch, BackendUnavailable("the layer was closed; the message was perhaps sent")
            )
            raise
        except Exception as error:
            self._fail(batch, error)
        else:
            self._succeed(batch)

    def _pack(self, batch: list[_Send]) -> list[tuple[str, list[Entry], list[_Send]]]:
        """Group the messages by topic, in frames of at most ``frame_bytes``, order kept."""
        frames: list[tuple[str, list[Entry], list[_Send]]] = []
        current: dict[str, tuple[str, list[Entry], list[_Send]]] = {}
        sizes: dict[str, int] = {}
        limit = self._frame_bytes
        for send in batch:
            topic, entry = send[0], send[1]
            size = len(entry.payload) + OVERHEAD
            total = sizes.get(topic, limit) + size
            if total > limit:
                frame = current[topic] = (topic, [entry], [send])
                frames.append(frame)
                sizes[topic] = size
            else:
                frame = current[topic]
                frame[1].append(entry)
                frame[2].append(send)
                sizes[topic] = total
        return frames

    async def _publish(self, frames: Sequence[tuple[str, list[Entry]]], timeout: float) -> None:
        """Publish the frames; ``PublishFailed`` names their indices."""
        publications: list[Publication] = []
        origin: list[int] = []  # publication -> frame, for a frame may take several
        for index, (topic, entries) in enumerate(frames):
            if entries:
                self._tails.touch(topic)
            for payload in self._payloads(topic, encode_entries(entries)):
                publications.append(_make(Publication, (topic, payload)))
                origin.append(index)
        self._counters.published += len(publications)
        began = time.monotonic()
        try:
            with self._limit(timeout):
                await self._backend.publish(publications)
        except TimeoutError as error:
            raise BackendUnavailable(
                f"the broker did not answer within {timeout:.3g} s; the message was perhaps sent"
            ) from error
        except PublishFailed as failure:
            raise PublishFailed({origin[i]: e for i, e in failure.errors.items()}) from failure
        finally:
            self._counters.publishing.note(time.monotonic() - began)

    def _payloads(self, topic: str, body: bytes) -> list[bytes]:
        limit = self._backend.max_payload
        if limit is None or len(body) + OVERHEAD <= limit:
            return [self._encode(topic, self._node, *self._sequencer.next(topic), body)]
        return [
            self._encode(topic, self._node, *self._sequencer.next(topic), piece, FRAGMENT)
            for piece in split(body, limit)
        ]

    def _gone_quiet(self, topics: list[str]) -> None:
        self._quiet += topics
        if not self._in_flight:
            self._landed()

    def _succeed(self, sends: list[_Send]) -> None:
        for _, entry, sent, _ in sends:
            self._counters.sent += _counts(entry)
            if not sent.done():
                sent.set_result(None)

    def _fail(self, sends: list[_Send], error: Exception) -> None:
        for _, entry, sent, _ in sends:
            self._counters.failed += _counts(entry)
            if not sent.done():
                sent.set_exception(_copy(error))


def _counts(entry: Entry) -> bool:
    """It is a message of the application, and none of those that nodes send each other."""
    return entry.target is None or not entry.target.startswith(CONTROL)


def _copy(error: Exception) -> Exception:
    """Return an exception of its own for each sender: tracebacks grow on a shared one."""
    if isinstance(error, FastChannelsError) and not isinstance(error, PublishFailed):
        # Not by calling the class, whose __init__ may want other arguments.
        copy = type(error).__new__(type(error), *error.args)
        copy.__dict__.update(error.__dict__)
        copy.__cause__ = error.__cause__
        return copy
    return error
