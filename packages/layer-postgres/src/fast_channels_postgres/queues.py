"""Worker queues: rows of one table, taken with FOR UPDATE SKIP LOCKED.

A job that was taken is its taker's for the time of a lease, which the taker renews until the job is
finished; so what a process that died had in hand comes again, and no transaction stays open. A
taker waits for a notification, and looks again from time to time for jobs of dead takers.
"""

import asyncio
import itertools
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

from fast_channels.exceptions import (
    BackendUnavailable,
    ChannelFull,
    FastChannelsError,
    InvalidChannelLayerError,
)
from fast_channels_postgres.driver import Raw
from fast_channels_postgres.job_sql import CLEAR, DONE, EXPIRE, PUT, RELEASE, RENEW, REVIVE, TAKE
from fast_channels_postgres.listener import Listener
from fast_channels_postgres.names import shard_name
from fast_channels_postgres.tables import Tables

logger = logging.getLogger("fast_channels.postgres")
T = TypeVar("T")

LOOK_SECONDS: Final = 5.0
"""Between two looks for jobs of dead takers, and for expired ones, at most."""

RETRY_SECONDS: Final = 0.2
CLOSING_SECONDS: Final = 1.0


class PostgresJob:
    """A job that was taken."""

    __slots__ = ("_deleting", "_finished", "_queues", "id", "lifetime", "payload", "queue", "takes")

    def __init__(self, queues: "PostgresQueues", row: Any) -> None:
        self.id: int = row["id"]
        self.queue: str = row["queue"]
        self.payload: bytes = row["payload"]
        self.lifetime: timedelta = row["lifetime"]
        self.takes: int = row["takes"]
        """How often the job was taken; tells this taking from a later one."""
        self._queues = queues
        self._finished = False
        self._deleting: asyncio.Task[bool] | None = None

    async def done(self) -> None:
        """The job is deleted; where that fails, it comes again when its lease is over.

        Cancelled, it may be released after all.
        """
        if not self._finished:
            self._finished = True
            self._deleting = self._queues.delete(self)
            try:
                await asyncio.shield(self._deleting)
            except asyncio.CancelledError:
                self._finished = False
                raise

    async def release(self) -> None:
        """The job is free again, in its old place."""
        if not self._finished:
            self._finished = True
            await self._queues.put_back(self, self._deleting)


class PostgresQueues:
    """The worker queues of one session."""

    def __init__(self, capacity_of: Callable[[str], int], lease: float) -> None:
        self.expired = 0
        """Jobs that nobody took in time, as far as this session noticed."""
        self._capacity_of = capacity_of
        self._lease = timedelta(seconds=lease)
        self._pause = min(LOOK_SECONDS, lease / 3)
        """Between two looks, and two renewals."""
        self._takers: dict[str, deque[asyncio.Future[PostgresJob]]] = {}
        self._held: dict[int, PostgresJob] = {}
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._working: asyncio.Task[None] | None = None
        self._looked = 0.0
        self._renewed = 0.0
        self._closed = False
        self._tables: Tables | None = None
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, loop: asyncio.AbstractEventLoop, tables: Tables, listener: Listener) -> None:
        """Uses these connections, which it closes in the end; wakes by what the listener hears."""
        self._loop = loop
        self._tables = tables
        self._listener = listener
        listener.on_back = self._woken.set

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        """The job is last in its queue."""
        capacity = self._capacity_of(queue.rpartition(":q.")[2])
        lifetime = timedelta(seconds=expires_in)
        self._expire_now_and_then()
        rows = await self._owned(
            self._ask(
                lambda raw: raw.fetch(PUT, queue, payload, lifetime, capacity, shard_name(queue))
            )
        )
        if not rows:
            raise ChannelFull(f"queue {queue!r} holds {capacity} jobs, its capacity")

    async def take(self, queue: str, /) -> PostgresJob:
        """Wait for the first job of the queue."""
        loop = self._opened()
        taker: asyncio.Future[PostgresJob] = loop.create_future()
        self._takers.setdefault(queue, deque()).append(taker)
        self._woken.set()
        self._work()
        try:
            return await taker
        except asyncio.CancelledError:
            if taker.cancelled():
                self._leave(queue, taker)
            elif taker.exception() is None:
                self._hand(taker.result())
            raise

    async def clear(self, prefix: str, /) -> None:
        """Every job in every queue whose name begins with ``prefix`` is gone."""
        await self._owned(self._ask(lambda raw: raw.execute(CLEAR, prefix)))

    def delete(self, job: PostgresJob) -> "asyncio.Task[bool]":
        """Return what deletes the job, and tells whether it was this taker's."""
        self._held.pop(job.id, None)
        return self._task(self._ask(lambda raw: _deleted(raw, job)))

    async def put_back(self, job: PostgresJob, deleting: "asyncio.Task[bool] | None") -> None:
        """The job is free, once ``deleting`` it has ended."""
        self._held.pop(job.id, None)
        await self._owned(self._put_back(job, deleting))

    async def _put_back(self, job: PostgresJob, deleting: "asyncio.Task[bool] | None") -> None:
        name = shard_name(job.queue)
        if deleting is not None:
            await asyncio.wait([deleting])
            if deleting.exception() is None and deleting.result():
                values = (job.id, job.queue, job.payload, job.lifetime, job.takes, name)
                await self._ask(lambda raw: raw.fetch(REVIVE, *values))
                return
        await self._ask(lambda raw: raw.fetch(RELEASE, job.id, job.takes, name))

    async def close(self) -> None:
        """Nobody waits any more; jobs that were not finished are free, if the server answers."""
        self._closed = True
        for taker in itertools.chain.from_iterable(self._takers.values()):
            if not taker.done():
                taker.set_exception(BackendUnavailable("the layer was closed"))
        self._takers.clear()
        self._woken.set()
        tables = self._tables
        if tables is None:
            return
        if self._working is not None:  # a job that is on its way here goes back
            await asyncio.wait([self._working], timeout=CLOSING_SECONDS)
        for job in list(self._held.values()):
            self._start(job.release())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_SECONDS)
        await tables.close()
        rest = [*self._tasks, *([self._working] if self._working else [])]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)

    # --- statements ---------------------------------------------------------------------------

    def _opened(self) -> asyncio.AbstractEventLoop:
        if self._closed or self._loop is None:
            raise BackendUnavailable("the layer was closed")
        return self._loop

    async def _ask(self, call: Callable[[Raw], Awaitable[T]]) -> T:
        if self._tables is None:
            raise BackendUnavailable("the postgres backend is not open")
        return await self._tables.run(call)

    async def _owned(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work returns; it goes on when the caller is cancelled."""
        return await asyncio.shield(self._task(work))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task(work).add_done_callback(lambda _: None)

    def _task(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work, name="fast-channels-postgres-job")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it raises it

    # --- takers -------------------------------------------------------------------------------

    def _leave(self, queue: str, taker: "asyncio.Future[PostgresJob]") -> None:
        takers = self._takers.get(queue)
        if takers is not None and taker in takers:
            takers.remove(taker)
            if not takers:
                del self._takers[queue]

    def _hand(self, job: PostgresJob) -> None:
        """The job is the next taker's; with none here, it goes back."""
        takers = self._takers.get(job.queue, ())
        while takers:
            taker = takers[0]
            self._leave(job.queue, taker)
            if not taker.done():
                taker.set_result(job)
                return
        self._start(self._return(job))

    async def _return(self, job: PostgresJob) -> None:
        try:
            await job.release()
        except FastChannelsError as error:
            logger.warning("a job of queue %r comes again later: %s", job.queue, error)

    def _work(self) -> None:
        if self._working is None and not self._closed and (self._takers or self._held):
            assert self._loop is not None
            name = "fast-channels-postgres-take"
            self._working = self._loop.create_task(self._run(), name=name)
            self._working.add_done_callback(self._worked)

    def _worked(self, working: "asyncio.Task[None]") -> None:
        self._working = None
        if not working.cancelled():
            working.result()
        self._work()

    async def _run(self) -> None:
        """Take jobs while anyone waits for one, and keep those that are in hand."""
        while (self._takers or self._held) and not self._closed:
            self._woken.clear()
            try:
                came = await self._look()
            except BackendUnavailable as error:
                logger.debug("no jobs can be taken: %s", error)
                await self._wait(RETRY_SECONDS)
                continue
            except InvalidChannelLayerError as error:
                self._give_up(error)
                continue
            if not came or not self._takers:
                await self._wait(self._pause)
        if self._listener is not None:
            self._listener.attend((), self._woken.set)

    async def _look(self) -> bool:
        """Take what is there, and renew leases; return whether anything came."""
        loop = self._opened()
        assert self._listener is not None
        lease = self._lease
        if self._held and loop.time() - self._renewed > self._pause:
            ids = [job.id for job in self._held.values()]
            takes = [job.takes for job in self._held.values()]
            await self._ask(lambda raw: raw.execute(RENEW, ids, takes, lease))
            self._renewed = loop.time()
        queues = {queue: len(takers) for queue, takers in self._takers.items()}
        self._listener.attend(queues, self._woken.set)
        await self._listener.hears(queues)
        self._expire_now_and_then()
        if not queues:
            return False
        names, most = list(queues), list(queues.values())
        rows: list[Any] = await self._ask(lambda raw: raw.fetch(TAKE, names, most, lease))
        for row in sorted(rows, key=lambda row: int(row["id"])):
            job = PostgresJob(self, row)
            self._held[job.id] = job
            self._hand(job)
        return bool(rows)

    def _give_up(self, error: InvalidChannelLayerError) -> None:
        for queue, takers in list(self._takers.items()):
            for taker in list(takers):
                self._leave(queue, taker)
                if not taker.done():
                    taker.set_exception(InvalidChannelLayerError(str(error)))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    # --- what expired -------------------------------------------------------------------------

    def _expire_now_and_then(self) -> None:
        loop = self._opened()
        if loop.time() - self._looked >= LOOK_SECONDS:
            self._looked = loop.time()
            self._start(self._expire())

    async def _expire(self) -> None:
        try:
            rows: Sequence[Any] = await self._ask(lambda raw: raw.fetch(EXPIRE))
        except FastChannelsError as error:
            logger.debug("expired jobs stay for now: %s", error)
            return
        self.expired += len(rows)
        for queue, count in Counter(str(row["queue"]) for row in rows).items():
            logger.warning("queue %r lost %d jobs that nobody took in time", queue, count)


async def _deleted(raw: Raw, job: PostgresJob) -> bool:
    return await raw.execute(DONE, job.id, job.takes) == "DELETE 1"
