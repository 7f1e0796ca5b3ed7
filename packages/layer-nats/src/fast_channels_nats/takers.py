"""Who waits at one worker queue, and what the server was asked for on their behalf.

For each waiting taker the server is asked for one job, and for no more: a busy worker holds what
it works on. Such a request cannot be withdrawn; a job that comes when nobody waits any more is
given back at once.
"""

import asyncio
import json
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError
from fast_channels.layers import reconnect_delays
from fast_channels_nats.connection import Message
from fast_channels_nats.link import LONGEST_DELAY, logger
from fast_channels_nats.requests import Requests, status_of
from fast_channels_nats.stream import WORKERS, QueueStream

if TYPE_CHECKING:
    from fast_channels_nats.queues import NatsJob

PULL_SECONDS: Final = 2.0
"""How long the server keeps a request for a job: not for ever, for a request may be lost."""

GRACE_SECONDS: Final = 1.0
PASSING: Final = (404, 408)
"""Answers that say only that there was no job in time."""


class Takers:
    """The takers of one queue in this process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stream: QueueStream,
        requests: Requests,
        came: Callable[["Takers", Message], None],
    ) -> None:
        self.stream = stream
        self._loop = loop
        self._requests = requests
        self._job_came = came
        self._sid = requests.listen(self._came)
        self._waiting: deque[asyncio.Future[NatsJob]] = deque()
        self._pulls: dict[bytes, float] = {}
        """What was asked for, by the subject of the answer, and when it is overdue."""
        self._changed = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._refused = False
        """The server has ended a request for a job otherwise than for lack of jobs."""
        self._closed = False

    async def take(self) -> "NatsJob":
        """Wait for a job."""
        taker: asyncio.Future[NatsJob] = self._loop.create_future()
        self._waiting.append(taker)
        self._wake()
        try:
            return await taker
        except asyncio.CancelledError:
            if taker.cancelled():
                if taker in self._waiting:
                    self._waiting.remove(taker)
            elif taker.exception() is None:
                self.hand(taker.result())
            raise

    def hand(self, job: "NatsJob") -> None:
        """The job is the next taker's; with none here, it goes back."""
        while self._waiting:
            taker = self._waiting.popleft()
            if not taker.done():
                taker.set_result(job)
                return
        job.give_back()

    def lost(self) -> None:
        """What was asked for does not come any more."""
        self._pulls.clear()
        self._changed.set()

    async def close(self, cause: Exception) -> None:
        """Nobody waits any more."""
        self._closed = True
        self._fail(cause)
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _fail(self, cause: Exception) -> None:
        waiting, self._waiting = self._waiting, deque()
        for taker in waiting:
            if not taker.done():
                taker.set_exception(type(cause)(*cause.args))

    # --- asking -------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._changed.set()
        if self._asking is None and not self._closed:
            self._asking = self._loop.create_task(self._ask(), name="fast-channels-nats-take")
            self._asking.add_done_callback(self._asked)

    def _asked(self, asking: "asyncio.Task[None]") -> None:
        self._asking = None
        if not asking.cancelled():
            asking.result()
            if self._waiting:
                self._wake()

    async def _ask(self) -> None:
        delays = reconnect_delays(most=LONGEST_DELAY)
        while self._waiting and not self._closed:
            try:
                await self._requests.link.ready(math.inf)
                await self.stream.make_consumer()
                await self._pull()
                if self._refused:
                    # A server of 2.9 breaks a stream made while it deletes one of that name.
                    self._refused = False
                    await asyncio.sleep(next(delays))
                else:
                    delays = reconnect_delays(most=LONGEST_DELAY)
            except InvalidChannelLayerError as error:
                self._fail(error)
            except BackendUnavailable as error:
                logger.debug("waiting at queue %r: %s", self.stream.queue, error)
                self.stream.doubt()
                await asyncio.sleep(next(delays))

    async def _pull(self) -> None:
        """Ask for as many jobs as there are takers; return when something has changed."""
        now = self._loop.time()
        for subject in [subject for subject, overdue in self._pulls.items() if overdue < now]:
            del self._pulls[subject]
            self.stream.doubt()
        self._changed.clear()
        command = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream.name}.{WORKERS}".encode()
        body = json.dumps({"batch": 1, "expires": int(PULL_SECONDS * 1e9)}).encode()
        while len(self._pulls) < len(self._waiting):
            subject = self._requests.inbox(self._sid)
            self._pulls[subject] = self._loop.time() + PULL_SECONDS + GRACE_SECONDS
            try:
                await self._requests.send(self._sid, command, body, subject)
            except BackendUnavailable:
                self._pulls.pop(subject, None)
                raise
        if self._waiting and self._pulls:
            first = min(self._pulls.values())
            timer = self._loop.call_at(first + 0.01, self._changed.set)
            try:
                await self._changed.wait()
            finally:
                timer.cancel()

    def _came(self, message: Message) -> None:
        status = status_of(message)
        if status is not None and 100 <= status < 200:
            return
        # A job comes under its queue's subject, not the request's: it answers the oldest.
        if self._pulls.pop(message.subject, None) is None and self._pulls:
            del self._pulls[next(iter(self._pulls))]
        self._changed.set()
        if status is None:
            self._job_came(self, message)
        elif status not in PASSING:
            self._refused = True
            self.stream.doubt()
