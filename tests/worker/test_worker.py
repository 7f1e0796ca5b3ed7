"""Worker: which messages reach which handler, how many at once, and when they are done."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from fast_channels import AsyncConsumer, AsyncWebsocketConsumer, InMemoryChannelLayer
from fast_channels.exceptions import (
    BackendUnavailable,
    InvalidChannelLayerError,
    LayerClosed,
    LayerNotFound,
    RouteNotFound,
)
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker
from fast_channels.middleware import BaseMiddleware
from fast_channels.routing import ChannelNameRouter, ProtocolTypeRouter
from fast_channels.worker import Worker

from .running import Journal, soon

Start = Callable[[Worker], asyncio.Task[None]]


def job(n: int, **more: Any) -> dict[str, Any]:
    return {"type": "test.job", "n": n, **more}


class Jobs(AsyncConsumer):
    """Notes its jobs; one with ``waits`` ends when ``may_end`` is set."""

    journal: Journal = Journal()
    may_end: asyncio.Event = asyncio.Event()

    async def test_job(self, message: dict[str, Any]) -> None:
        n = message["n"]
        self.journal(("begun", n))
        try:
            if message.get("waits"):
                await self.may_end.wait()
            if "fails" in message:
                raise RuntimeError(message["fails"])
            self.journal(("done", n))
        except asyncio.CancelledError:
            self.journal(("cancelled", n))
            raise


@pytest.fixture
def jobs(journal: Journal) -> Any:
    """An application of ``Jobs`` with a journal and an event of its own."""
    return Jobs.as_asgi(journal=journal, may_end=asyncio.Event())


def may_end(jobs: Any) -> asyncio.Event:
    event: asyncio.Event = jobs.consumer_initkwargs["may_end"]
    return event


def unread(layer: InMemoryChannelLayer, channel: str = "jobs") -> int:
    """How many jobs are in the queue."""
    return len(layer.channels.get(channel, ()))


async def turns(count: int = 20) -> None:
    """Let everything that is ready run, several times over."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_message_calls_the_consumer_s_method_in_a_channel_scope(
    layer: InMemoryChannelLayer, journal: Journal, start: Start
) -> None:
    class Mail(AsyncConsumer):
        async def mail_send(self, message: dict[str, Any]) -> None:
            journal((self.scope, message, self.channel_layer is layer))

    start(Worker(Mail.as_asgi(), ["mail"], layer))
    await layer.send("mail", {"type": "mail.send", "to": "ann"})
    scope = {"type": "channel", "channel": "mail"}
    await journal.has((scope, {"type": "mail.send", "to": "ann"}, True))


async def test_each_message_has_an_instance_of_its_own(
    layer: InMemoryChannelLayer, journal: Journal, start: Start
) -> None:
    class Counts(AsyncConsumer):
        count = 0

        async def test_job(self, message: dict[str, Any]) -> None:
            self.count += 1
            journal(self.count)

    start(Worker(Counts.as_asgi(), ["jobs"], layer))
    for n in range(5):
        await layer.send("jobs", job(n))
    await journal.until(lambda: len(journal) == 5)
    assert journal == [1] * 5


async def test_a_router_gives_each_channel_to_its_application(
    layer: InMemoryChannelLayer, journal: Journal, start: Start
) -> None:
    def named(name: str) -> Any:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            journal((name, scope["channel"], (await receive())["n"]))

        return application

    router = ChannelNameRouter({"a": named("first"), "b": named("second")})
    application = ProtocolTypeRouter({"channel": BaseMiddleware(router)})
    start(Worker(application, ["a", "b", "a"], layer))
    await layer.send("b", job(1))
    await layer.send("a", job(2))
    await journal.has(("second", "b", 1), ("first", "a", 2))
    assert len(journal) == 2


async def test_an_application_that_asks_for_more_than_its_message_is_ended(
    layer: InMemoryChannelLayer, journal: Journal, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def loops(scope: Any, receive: Any, send: Any) -> None:
        while True:
            journal((await receive())["n"])

    start(Worker(loops, ["jobs"], layer))
    for n in range(3):
        await layer.send("jobs", job(n))
    await journal.has(0, 1, 2)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_several_workers_share_a_channel_and_each_message_reaches_one(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    for _ in range(3):
        start(Worker(jobs, ["jobs"], layer))
    for n in range(200):
        await layer.send("jobs", job(n))
    await journal.until(lambda: len(journal) >= 400)
    assert sorted(n for what, n in journal if what == "done") == list(range(200))
    assert unread(layer) == 0


# --- how many at once -------------------------------------------------------------------------


async def test_no_more_messages_are_handled_at_once_than_allowed(
    layer: InMemoryChannelLayer, journal: Journal, start: Start
) -> None:
    running = most = 0

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        journal((await receive())["n"])

    start(Worker(application, ["a", "b"], layer, 3))
    for n in range(100):
        await layer.send("ab"[n % 2], job(n))
    await journal.until(lambda: len(journal) == 100)
    assert most == 3


async def test_a_worker_that_is_busy_leaves_jobs_to_others(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    start(Worker(jobs, ["jobs"], layer, 1))
    await layer.send("jobs", job(0, waits=True))
    await journal.has(("begun", 0))
    await layer.send("jobs", job(1))
    await turns()
    assert unread(layer) == 1  # were it taken ahead, it would wait for the first one
    assert (await soon(layer.receive("jobs")))["n"] == 1
    may_end(jobs).set()
    await journal.has(("done", 0))


async def test_a_job_that_came_when_every_place_was_taken_goes_back_in_time(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    # A worker of two channels waits for both; when one brings a job, the other's is one too many.
    start(Worker(jobs, ["a", "b"], layer, 1))
    await layer.send("a", job(0, waits=True))
    await journal.has(("begun", 0))
    await layer.send("b", job(1))
    await turns()
    assert unread(layer, "b") == 0
    assert (await soon(layer.receive("b")))["n"] == 1
    await layer.send("b", job(2))
    may_end(jobs).set()
    await journal.has(("done", 0), ("done", 2))


async def test_a_job_that_waits_for_a_place_goes_back_when_the_worker_is_stopped(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    worker = Worker(jobs, ["a", "b"], layer, 1)
    running = start(worker)
    await layer.send("a", job(0, waits=True))
    await journal.has(("begun", 0))
    await layer.send("b", job(1))
    await turns()
    assert unread(layer, "b") == 0
    worker.stop()
    await turns()
    assert unread(layer, "b") == 1
    may_end(jobs).set()
    await soon(running)
    assert journal == [("begun", 0), ("done", 0)]


# --- errors -----------------------------------------------------------------------------------


async def test_a_handler_that_fails_is_logged_once_and_its_message_is_done(
    layer: InMemoryChannelLayer,
    journal: Journal,
    jobs: Any,
    start: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker(jobs, ["jobs"], layer, 1)
    running = start(worker)
    await layer.send("jobs", job(1, fails="marker"))
    await layer.send("jobs", job(2))
    await journal.has(("done", 2))
    worker.stop()
    await soon(running)
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage() == "a message of type 'test.job' failed in channel 'jobs'"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "marker"
    assert journal == [("begun", 1), ("begun", 2), ("done", 2)]
    assert layer.stats()["delivered"] == 2


async def test_a_handler_that_cancels_itself_is_a_handler_that_fails(
    layer: InMemoryChannelLayer,
    journal: Journal,
    jobs: Any,
    start: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["channel"] == "cancels":
            raise asyncio.CancelledError
        await jobs(scope, receive, send)

    start(Worker(application, ["jobs", "cancels"], layer))
    await layer.send("cancels", job(1))
    await layer.send("jobs", job(2))
    await journal.has(("done", 2))
    assert "a handler of 'cancels' was cancelled, not by the worker" in caplog.text


@pytest.mark.parametrize(
    "kind", ["unknown", "dispatch", "send", "as_asgi", "_private", "on_error", "websocket.receive"]
)
async def test_a_message_that_no_handler_is_for_is_logged_and_done(
    layer: InMemoryChannelLayer,
    journal: Journal,
    jobs: Any,
    start: Start,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    worker = Worker(jobs, ["jobs"], layer, 1)
    running = start(worker)
    await layer.send("jobs", {"type": kind})
    await layer.send("jobs", job(1))
    await journal.has(("done", 1))
    worker.stop()
    await soon(running)
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert isinstance(record.exc_info[1], ValueError)  # type: ignore[index]
    assert kind in str(record.exc_info[1])  # type: ignore[index]
    assert layer.stats()["delivered"] == 2


async def test_a_consumer_of_sockets_is_refused_a_worker_s_message(
    layer: InMemoryChannelLayer, start: Start, caplog: pytest.LogCaptureFixture, journal: Journal
) -> None:
    class Chat(AsyncWebsocketConsumer): ...

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await Chat.as_asgi()(scope, receive, send)
        except ValueError as error:
            journal(str(error))

    start(Worker(application, ["jobs"], layer))
    await layer.send("jobs", job(1))
    await journal.has("Chat does not serve scopes of type 'channel'")


async def test_an_application_that_sends_to_a_client_is_told_that_there_is_none(
    layer: InMemoryChannelLayer, start: Start, journal: Journal
) -> None:
    class Sends(AsyncConsumer):
        async def test_job(self, message: dict[str, Any]) -> None:
            try:
                await self.send({"type": "websocket.send", "text": ""})
            except RuntimeError as error:
                journal(str(error))

    start(Worker(Sends.as_asgi(), ["jobs"], layer))
    await layer.send("jobs", job(1))
    await journal.until(lambda: len(journal) == 1)
    assert "the application of channel 'jobs', which has no client" in journal[0]


# --- the end ----------------------------------------------------------------------------------


async def test_a_worker_that_is_stopped_finishes_what_it_has_begun(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    worker = Worker(jobs, ["jobs"], layer, 2)
    running = start(worker)
    for n in range(4):
        await layer.send("jobs", job(n, waits=True))
    await journal.has(("begun", 0), ("begun", 1))
    worker.stop()
    await asyncio.sleep(0)
    assert not running.done()
    may_end(jobs).set()
    await soon(running)
    assert journal[2:] == [("done", 0), ("done", 1)]
    assert unread(layer) == 2


async def test_what_takes_longer_than_the_timeout_is_cancelled_and_released(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    worker = Worker(jobs, ["jobs"], layer, shutdown_timeout=0.01)
    running = start(worker)
    await layer.send("jobs", job(1, waits=True))
    await journal.has(("begun", 1))
    worker.stop()
    await soon(running)
    assert journal == [("begun", 1), ("cancelled", 1)]
    assert (await soon(layer.receive("jobs")))["n"] == 1


async def test_a_worker_that_is_stopped_now_or_cancelled_releases_what_it_has_begun(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    for n in range(2):
        worker = Worker(jobs, ["jobs"], layer)
        running = start(worker)
        await layer.send("jobs", job(n, waits=True))
        await journal.has(("begun", n))
        if n == 0:
            worker.stop(now=True)
            await soon(running)
        else:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(running)
        assert journal[-1] == ("cancelled", n)
        assert (await soon(layer.receive("jobs")))["n"] == n


@pytest.mark.parametrize("turns", range(6))
async def test_a_worker_stopped_at_any_moment_loses_no_job(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start, turns: int
) -> None:
    for n in range(20):
        worker = Worker(jobs, ["jobs"], layer, 3)
        running = start(worker)
        await layer.send("jobs", job(n))
        for _ in range(turns):
            await asyncio.sleep(0)
        worker.stop(now=n % 2 == 0)
        await soon(running)
    done = {n for what, n in journal if what == "done"}
    left = {(await soon(layer.receive("jobs")))["n"] for _ in range(unread(layer))}
    assert (done | left, done & left) == (set(range(20)), set())


async def test_a_handler_that_cleans_up_when_cut_off_is_not_cut_off_again(
    layer: InMemoryChannelLayer, journal: Journal, start: Start
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            journal("begun")
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            journal("cleaned up")

    worker = Worker(application, ["jobs"], layer)
    running = start(worker)
    await layer.send("jobs", job(1))
    await journal.has("begun")
    worker.stop(now=True)
    await asyncio.sleep(0)
    worker.stop(now=True)
    await soon(running)
    assert journal == ["begun", "cleaned up"]
    assert unread(layer) == 1


async def test_a_worker_that_was_stopped_takes_nothing_any_more(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any
) -> None:
    worker = Worker(jobs, ["jobs"], layer)
    worker.stop()
    await layer.send("jobs", job(1))
    await soon(worker.run())
    assert (unread(layer), journal) == (1, [])


async def test_a_worker_leaves_no_task_behind(
    layer: InMemoryChannelLayer, journal: Journal, jobs: Any, start: Start
) -> None:
    await layer.open()
    before = asyncio.all_tasks()
    worker = Worker(jobs, ["a", "b"], layer)
    running = start(worker)
    await layer.send("a", job(1))
    await journal.has(("done", 1))
    worker.stop()
    await soon(running)
    assert asyncio.all_tasks() == before


# --- layers -----------------------------------------------------------------------------------


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
    start(worker)
    await layer.send("jobs", job(1))
    await journal.has(("done", 1))
    assert caplog.text.count("cannot take from 'jobs', and will try again") == 2
    worker.stop()
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
    start(Worker(jobs, ["jobs"], other))
    await journal.has(("done", 1))
    await other.send("jobs", job(2))
    await journal.has(("done", 2))
    assert "a message of 'jobs' may be handed out again" in caplog.text
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


# --- mistakes, found when the worker is made ----------------------------------------------------


def test_a_channel_that_no_route_serves_is_refused(layer: InMemoryChannelLayer, jobs: Any) -> None:
    router = BaseMiddleware(ProtocolTypeRouter({"channel": ChannelNameRouter({"mails": jobs})}))
    with pytest.raises(RouteNotFound) as caught:
        Worker(router, ["mail"], layer)
    assert str(caught.value) == (
        "no route found for channel 'mail'; routes tried: 'mails'; did you mean 'mails'?"
    )
    with pytest.raises(ValueError, match="no route found for scope type 'channel'"):
        Worker(ProtocolTypeRouter({"http": jobs}), ["mail"], layer)


@pytest.mark.parametrize(
    ("channels", "error", "reason"),
    [
        ("jobs", TypeError, r"pass \['jobs'\]"),
        ([], ValueError, "at least one channel"),
        (["a!b"], ValueError, "one process's mailbox and no worker queue"),
        (["a b"], TypeError, "illegal character ' '"),
        ([None], TypeError, "must be a str"),
    ],
)
def test_bad_channels_are_refused(
    layer: InMemoryChannelLayer, jobs: Any, channels: Any, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        Worker(jobs, channels, layer)


def test_what_is_no_application_no_layer_or_no_number_is_refused(
    layer: InMemoryChannelLayer, jobs: Any
) -> None:
    with pytest.raises(TypeError, match=r"pass Jobs\.as_asgi\(\)"):
        Worker(Jobs, ["jobs"], layer)
    with pytest.raises(ValueError, match="the channel layer is None"):
        Worker(jobs, ["jobs"], None)  # type: ignore[arg-type]
    with pytest.raises(LayerNotFound, match="registered: 'default'"):
        Worker(jobs, ["jobs"], "defualt")
    with pytest.raises(ValueError, match="max_applications must be at least 1, got 0"):
        Worker(jobs, ["jobs"], layer, 0)
    worker = Worker(jobs, ["jobs", "more", "jobs"], "default")
    assert (worker.channel_layer, worker.channels) == (layer, ["jobs", "more"])
