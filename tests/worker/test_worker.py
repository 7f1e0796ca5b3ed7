"""Worker: which messages reach which handler, how many at once, and what it refuses."""

import asyncio
import logging
from typing import Any

import pytest
from tests.journal import Journal
from tests.waiting import soon, turns

from fast_channels import AsyncConsumer, AsyncWebsocketConsumer, InMemoryChannelLayer
from fast_channels.exceptions import LayerNotFound, RouteNotFound
from fast_channels.middleware import BaseMiddleware
from fast_channels.routing import ChannelNameRouter, ProtocolTypeRouter
from fast_channels.worker import Worker

from .jobs import Jobs, Start, job, may_end, unread


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
    for number in (0, 1.5, "9", True):
        with pytest.raises(ValueError, match=f"must be at least 1, got {number!r}"):
            Worker(jobs, ["jobs"], layer, number)  # type: ignore[arg-type]
    for seconds in (-1, float("nan"), float("inf"), "30", None, True):
        with pytest.raises(ValueError, match=f"must be seconds from 0, got {seconds!r}"):
            Worker(jobs, ["jobs"], layer, shutdown_timeout=seconds)  # type: ignore[arg-type]
    worker = Worker(jobs, ["jobs", "more", "jobs"], "default")
    assert (worker.channel_layer, worker.channels) == (layer, ["jobs", "more"])
