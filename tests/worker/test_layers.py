"""Workers of closed, failing and other people's layers."""

import asyncio
from typing import Any

import pytest
from tests.journal import Journal
from tests.waiting import soon

from fast_channels import InMemoryChannelLayer
from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError, LayerClosed
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker
from fast_channels.worker import Worker

from .jobs import Start, job


async def test_a_closed_layer_ends_the_worker_with_an_error(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    running = start(Worker(jobs, ["jobs"], layer))
    await layer.send("jobs", job(1))
    await journal.has(("done", 1))
    await layer.close()
    with pytest.raises(LayerClosed):
        await soon(running)


class NoQueues(BaseChannelLayer):
    def create_backend(self) -> MemoryBackend:
        return MemoryBackend(MemoryBroker())


async def test_a_layer_without_queues_ends_the_worker_with_an_error(jobs: Any) -> None:
    layer = NoQueues()
    with pytest.raises(InvalidChannelLayerError, match="has no worker queues"):
        await soon(Worker(jobs, ["jobs"], layer).run())
    await layer.close()


class Failing(InMemoryChannelLayer):
    """Cannot be taken from a few times."""

    failures = 2

    async def take(self, queue: str) -> Any:
        if self.failures:
            self.failures -= 1
            raise BackendUnavailable("the broker is down")
        return await super().take(queue)


async def test_a_worker_outlives_an_outage_of_the_broker(
    journal: Journal, jobs: Any, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    layer = Failing()
    worker = Worker(jobs, ["jobs"], layer)
    running = start(worker)
    await layer.send("jobs", job(1))
    await journal.has(("done", 1))
    assert caplog.text.count("cannot take from 'jobs', and will try again") == 2
    worker.stop()
    await soon(running)
    await layer.close()


async def test_a_job_whose_end_the_broker_does_not_note_is_told_in_the_log(
    layer: InMemoryChannelLayer,
    journal: Journal,
    jobs: Any,
    start: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Lease:
        message = job(1)

        async def done(self) -> None:
            raise BackendUnavailable("the broker is down")

    class Layer(InMemoryChannelLayer):
        leases = 1

        async def take(self, queue: str) -> Any:
            if self.leases:
                self.leases = 0
                return Lease()
            return await super().take(queue)

    other = Layer()
    worker = Worker(jobs, ["jobs"], other)
    running = start(worker)
    await journal.has(("done", 1))
    await other.send("jobs", job(2))
    await journal.has(("done", 2))
    assert "a message of 'jobs' may be handed out again" in caplog.text
    worker.stop()
    await soon(running)
    await other.close()


class Foreign:
    """A layer of the upstream kind: it has no leases."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self.failures = 1

    def queue(self, channel: str) -> asyncio.Queue[dict[str, Any]]:
        return self.queues.setdefault(channel, asyncio.Queue())

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self.queue(channel).put_nowait(message)

    async def receive(self, channel: str) -> dict[str, Any]:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the broker was restarted")
        return await self.queue(channel).get()

    async def new_channel(self, prefix: str = "specific.") -> str:
        return f"{prefix}x!y"


async def test_a_layer_of_another_kind_is_served_by_its_receive(
    journal: Journal, jobs: Any, start: Start
) -> None:
    layer: Any = Foreign()
    worker = Worker(jobs, ["jobs"], layer, 1)
    running = start(worker)
    await layer.send("jobs", job(1))
    await layer.send("jobs", {"n": "no type"})
    await layer.send("jobs", job(2, waits=True))
    await journal.has(("done", 1), ("begun", 2))
    worker.stop(now=True)
    await soon(running)
    assert layer.queue("jobs").get_nowait() == job(2, waits=True)  # sent again


class Overridden(Foreign, BaseChannelLayer):
    """Has our base class, as Django Channels' layers have theirs, and no backend."""

    def __init__(self) -> None:
        BaseChannelLayer.__init__(self)
        Foreign.__init__(self)


async def test_a_layer_that_overrides_receive_is_served_by_it(
    journal: Journal, jobs: Any, start: Start
) -> None:
    layer: Any = Overridden()
    start(Worker(jobs, ["jobs"], layer))
    await layer.send("jobs", job(1))
    await journal.has(("done", 1))
