"""The memory layer's worker queues: jobs that wait in this process."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

from fast_channels.exceptions import BackendUnavailable, ChannelFull
from fast_channels.layers import events

logger = logging.getLogger("fast_channels.layers")


class MemoryJob:
    """A job taken from a memory queue."""

    __slots__ = ("_queue", "deadline", "payload")

    def __init__(self, payload: bytes, deadline: float, queue: "MemoryQueue") -> None:
        self.payload = payload
        self.deadline = deadline
        self._queue: MemoryQueue | None = queue

    async def done(self) -> None:
        """The job is finished; it left the queue when it was taken."""
        self._queue = None

    async def release(self) -> None:
        """The job is first in its queue again, unless it was finished or released already."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.put_back(MemoryJob(self.payload, self.deadline, queue))


class MemoryQueue:
    """One worker queue, used from any thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.jobs: deque[MemoryJob] = deque()
        self.expired = 0
        """Jobs that nobody took in time."""
        self._takers: deque[asyncio.Future[None]] = deque()
        self._lock = threading.Lock()

    def put(self, payload: bytes, expires_in: float, capacity: int, layer: object = None) -> None:
        """The job is last in the queue; raises ``ChannelFull`` if it has ``capacity`` already.

        Plugins are told of jobs that expired as losses of ``layer``.
        """
        with self._looked_at(layer):
            if len(self.jobs) >= capacity:
                self._drop_expired()
            if len(self.jobs) >= capacity:
                raise ChannelFull(f"queue {self.name!r} holds {capacity} jobs, its capacity")
            self.jobs.append(MemoryJob(payload, time.monotonic() + expires_in, self))
            self._wake_one()

    def put_back(self, job: MemoryJob) -> None:
        """The job is first in the queue."""
        with self._lock:
            self.jobs.appendleft(job)
            self._wake_one()

    async def take(self, waiting: "set[asyncio.Future[None]]", layer: object = None) -> MemoryJob:
        """Wait for the first job that has not expired; ``waiting`` holds what it waits for."""
        while True:
            with self._looked_at(layer):
                self._drop_expired()
                if self.jobs:
                    return self.jobs.popleft()
                taker = asyncio.get_running_loop().create_future()
                self._takers.append(taker)
            waiting.add(taker)
            try:
                await taker
            except (asyncio.CancelledError, BackendUnavailable):
                with self._lock:
                    if taker in self._takers:
                        self._takers.remove(taker)
                    else:
                        self._wake_one()  # this wake-up is the next taker's
                raise
            finally:
                waiting.discard(taker)

    @contextmanager
    def _looked_at(self, layer: object) -> Generator[None]:
        """Hold the lock; after it the log and the plugins are told of jobs that expired."""
        lost = 0
        try:
            with self._lock:
                before = self.expired
                try:
                    yield
                finally:
                    lost = self.expired - before
        finally:
            if lost:
                logger.warning("queue %r lost %d jobs that nobody took in time", self.name, lost)
                events.emit("messages_dropped", layer=layer, losses={"expired": lost})

    def _drop_expired(self) -> None:
        now = time.monotonic()
        while self.jobs and self.jobs[0].deadline < now:
            self.jobs.popleft()
            self.expired += 1

    def _wake_one(self) -> None:
        while self._takers and self.jobs:
            taker = self._takers.popleft()
            try:
                taker.get_loop().call_soon_threadsafe(_wake, taker)
            except RuntimeError:
                continue  # its loop is closed
            return


def _wake(taker: "asyncio.Future[None]") -> None:
    if not taker.done():
        taker.set_result(None)
