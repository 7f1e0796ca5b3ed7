"""Which topics the broker delivers to this session, kept in step with the members.

One task talks to the backend, one call at a time, with all topics that wait. So the first joins of
a topic share one confirmation, many topics share one call, and a subscribe never overtakes an
unsubscribe of the same topic.
"""

import asyncio
import logging
from collections.abc import Callable

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers.backend import Backend
from fast_channels.layers.time_limit import TimeLimit

logger = logging.getLogger("fast_channels.layers")


class Subscriptions:
    """The subscribed topics of one session."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        backend: Backend,
        linger: float,
        timeout: float,
        dropped: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._backend = backend
        self._linger = linger
        self._timeout = timeout
        self._dropped = dropped
        """Told of a topic that is not subscribed any more."""
        self._live: set[str] = set()
        self._joining: dict[str, list[asyncio.Future[None]]] = {}
        """Who waits for each topic that is not confirmed yet; nobody, if all were cancelled."""
        self._limit = TimeLimit(loop)
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        self._leaving: dict[str, None] = {}
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    def live(self, topic: str) -> bool:
        """True when a publish that starts now arrives; keeps a topic that was to be left."""
        timer = self._lingering.pop(topic, None)
        if timer is not None:
            timer.cancel()
        self._leaving.pop(topic, None)
        return topic in self._live

    def live_at_once(self, topic: str) -> bool:
        """As ``live``, of a topic that the broker takes at once, too."""
        if self.live(topic):
            return True
        if self._worker is not None or self._closed or not self._backend.subscribe_at_once(topic):
            return False
        self._live.add(topic)
        return True

    async def ensure(self, *topics: str) -> None:
        """They are live; raises ``BackendUnavailable`` when the broker does not confirm one."""
        missing = [topic for topic in topics if not self.live(topic)]
        if not missing:
            return
        if self._closed:
            raise BackendUnavailable("the layer was closed")
        # A future for each who waits: one is cheaper than to shield one that all share.
        waiting = [self._loop.create_future() for _ in missing]
        for topic, confirmed in zip(missing, waiting, strict=True):
            self._joining.setdefault(topic, []).append(confirmed)
        self._work()
        try:
            for confirmed in waiting:
                await confirmed
        finally:
            for confirmed in waiting:
                if not confirmed.cancel() and not confirmed.cancelled():
                    confirmed.exception()  # seen, whichever was raised

    def release(self, topic: str) -> None:
        """The topic has no member: it is left after the linger time, unless one comes."""
        if self._closed:
            return
        timer = self._lingering.pop(topic, None)
        if timer is not None:
            timer.cancel()
        self._lingering[topic] = self._loop.call_later(self._linger, self._leave, topic)

    async def close(self) -> None:
        """No task or timer is left; whoever waits gets ``BackendUnavailable``."""
        self._closed = True
        for timer in self._lingering.values():
            timer.cancel()
        self._lingering.clear()
        worker = self._worker
        if worker is not None:
            worker.cancel()
            await asyncio.wait([worker])
        self._limit.close()
        self._confirm(list(self._joining), BackendUnavailable("the layer was closed"))

    def _leave(self, topic: str) -> None:
        self._lingering.pop(topic, None)
        self._leaving[topic] = None
        self._work()

    def _work(self) -> None:
        if self._worker is None:
            self._worker = self._loop.create_task(self._run(), name="fast-channels-subscriptions")
            self._worker.add_done_callback(self._finished)

    def _finished(self, worker: "asyncio.Task[None]") -> None:
        self._worker = None
        if not worker.cancelled() and (self._joining or self._leaving):
            self._work()

    async def _run(self) -> None:
        while self._joining or self._leaving:
            # One that is to be left as soon as it is confirmed: who joined was cancelled.
            leaving = [topic for topic in self._leaving if topic not in self._joining]
            if leaving:
                await self._unsubscribe(leaving)
            if self._joining:
                await self._subscribe(list(self._joining))

    async def _subscribe(self, joining: list[str]) -> None:
        error: Exception | None = None
        try:
            with self._limit(self._timeout):
                await self._backend.subscribe(joining)
        except TimeoutError:
            error = BackendUnavailable(
                f"the broker did not confirm a subscription within {self._timeout:g} s"
            )
        except Exception as failure:
            error = failure
        if error is None:
            self._live.update(joining)
        self._confirm(joining, error)

    def _confirm(self, topics: list[str], error: Exception | None) -> None:
        """Tell those who wait for the topics how it ended."""
        for topic in topics:
            for confirmed in self._joining.pop(topic):
                if confirmed.done():
                    continue  # it was cancelled
                if error is None:
                    confirmed.set_result(None)
                else:
                    confirmed.set_exception(error)

    async def _unsubscribe(self, leaving: list[str]) -> None:
        for topic in leaving:
            del self._leaving[topic]
        self._live.difference_update(leaving)
        try:
            with self._limit(self._timeout):
                await self._backend.unsubscribe(leaving)
        except Exception as error:
            # No loss: an unreachable broker forgets by itself, and unwanted payloads reach nobody.
            logger.info("leaving %d topics failed: %r", len(leaving), error)
        for topic in leaving:
            self._dropped(topic)
