"""Handlers that start in place act as if the connection's own task had run them.

Each test runs with handlers started in place and not: what it says holds both ways.
"""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import subprocess
import sys

import pytest

from fast_channels import (
    AsyncWebsocketConsumer,
    BaseChannelLayer,
    InMemoryChannelLayer,
    get_channel_layer,
    register_channel_layer,
)
from fast_channels.layers.backend import Backend

from .noted import NOTE, Noted

pytestmark = pytest.mark.timeout(20)


def callers():
    """Names of the functions that the calling handler runs inside of."""
    frame = sys._getframe(1)
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


async def test_a_handler_starts_in_place_exactly_where_that_is_on(connect, tell, journal, in_place):
    class Consumer(Noted):
        async def note(self, message):
            journal("in_place_runner" in callers())

    await tell(await connect(Consumer))
    await journal.has(in_place)
    assert journal == [in_place]


async def test_a_handler_that_starts_in_place_has_ended_before_its_sender_goes_on(
    connect, layer, journal, in_place
):
    class Consumer(Noted):
        async def note(self, message):
            journal("handled")

    await connect(Consumer)
    await layer.group_send("all", NOTE)
    assert journal == (["handled"] if in_place else [])
    await journal.has("handled")


async def test_the_current_task_is_the_servers_before_and_after_an_await(connect, tell, journal):
    class Consumer(Noted):
        async def connect(self):
            journal(asyncio.current_task())
            await self.accept()

        async def note(self, message):
            journal(asyncio.current_task())
            await asyncio.sleep(0)
            journal(asyncio.current_task())

        async def disconnect(self, code):
            journal(asyncio.current_task())

    client = await connect(Consumer)
    await tell(client)
    await journal.until(lambda: len(journal) == 3)
    await client.end()
    assert journal == [client.task] * 4


async def test_the_sender_is_its_own_task_again_after_a_handler_ran_in_place(connect, layer):
    class Consumer(Noted):
        async def note(self, message):
            raise RuntimeError("even after this")

        async def on_error(self, exception, message):
            pass

    client = await connect(Consumer)
    me = asyncio.current_task()
    await layer.group_send("all", NOTE)
    assert asyncio.current_task() is me
    client.says("x")
    await client.read()
    assert asyncio.current_task() is me


async def test_a_message_after_a_cancel_starts_nothing_although_the_task_did_not_run_yet(
    connect, layer, journal
):
    class Consumer(Noted):
        async def note(self, message):
            journal("handled")

    client = await connect(Consumer)
    # The layer delivers in the next turn, right after this, and before the task that it wakes.
    asyncio.get_running_loop().call_soon(client.task.cancel)
    await layer.group_send("all", NOTE)
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert journal == []


# --- suspending -----------------------------------------------------------------------------------


async def test_a_handler_that_only_yields_to_the_loop_goes_on_in_the_next_turn(
    connect, tell, journal
):
    class Consumer(Noted):
        async def note(self, message):
            for step in range(3):
                journal(step)
                await asyncio.sleep(0)
            journal("done")

    await tell(await connect(Consumer))
    await journal.has("done")
    assert journal == [0, 1, 2, "done"]


async def test_a_handler_gets_the_result_or_the_exception_of_what_it_awaits(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            loop = asyncio.get_running_loop()
            first, second = loop.create_future(), loop.create_future()
            loop.call_soon(first.set_result, "result")
            journal(await first)
            loop.call_soon(second.set_exception, ValueError("broken"))
            try:
                await second
            except ValueError as error:
                journal(str(error))

    await tell(await connect(Consumer))
    await journal.has("result", "broken")


async def test_a_handler_may_await_what_is_there_already(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            future = asyncio.get_running_loop().create_future()
            future.set_result("at once")
            journal(await future)

    await tell(await connect(Consumer))
    await journal.has("at once")


# --- sending --------------------------------------------------------------------------------------


class Loopback(Backend):
    """Delivers inside ``publish``, in the task that sends: as early as a backend can."""

    async def open(self, inbox):
        self.inbox = inbox
        self.topics = set()

    async def close(self):
        self.topics.clear()

    async def subscribe(self, topics):
        self.topics.update(topics)

    async def unsubscribe(self, topics):
        self.topics.difference_update(topics)

    async def publish(self, publications):
        for publication in publications:
            if publication.topic in self.topics:
                self.inbox.deliver(publication.topic, publication.payload)


class LoopbackLayer(BaseChannelLayer):
    def create_backend(self):
        return Loopback()


@pytest.fixture(params=[InMemoryChannelLayer, LoopbackLayer])
async def any_layer(request):
    layer = register_channel_layer("default", request.param())
    yield layer
    await layer.close()


async def test_a_relay_of_400_consumers_does_not_recurse(connect, any_layer, journal):
    class Consumer(AsyncWebsocketConsumer):
        async def hop(self, message):
            journal(len(callers()))
            names = message["names"]
            if names:
                await self.channel_layer.send(names[0], {"type": "hop", "names": names[1:]})

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(self.channel_name)

    clients = [await connect(Consumer) for _ in range(400)]
    names = []
    for client in clients:
        client.says("name?")
        names.append(await client.hears())
    await any_layer.send(names[0], {"type": "hop", "names": names[1:]})
    await journal.until(lambda: len(journal) == 400)
    assert max(journal) <= min(journal[1:]) + 5


async def test_no_handler_starts_inside_a_send(connect, any_layer, journal):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

        async def receive(self, text_data=None, bytes_data=None):
            journal("sends")
            await self.channel_layer.group_send("all", {"type": "note"})
            journal("sent")

        async def note(self, message):
            journal("send" in callers() or "group_send" in callers())

    clients = [await connect(Consumer) for _ in range(3)]
    clients[0].says("x")
    await journal.has("sent")
    await journal.until(lambda: journal.count(False) == 3)
    assert True not in journal


# --- what must not be caught ----------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
import uvloop
from fast_channels import AsyncWebsocketConsumer, InMemoryChannelLayer, register_channel_layer

exception, source, loop = sys.argv[1:]

class Consumer(AsyncWebsocketConsumer):
    groups = ["all"]
    async def receive(self, text_data=None, bytes_data=None):
        await self.note({})
    async def note(self, message):
        raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt()}[exception]
    async def disconnect(self, code):
        print("disconnect", code, flush=True)

async def main():
    global task
    layer = register_channel_layer("default", InMemoryChannelLayer())
    events = asyncio.Queue()
    events.put_nowait({"type": "websocket.connect"})
    sent = asyncio.Queue()
    task = asyncio.create_task(Consumer.as_asgi()({"type": "websocket"}, events.get, sent.put))
    await sent.get()
    for _ in range(5):
        await asyncio.sleep(0)
    if source == "client":
        events.put_nowait({"type": "websocket.receive", "text": "x"})
    else:
        await layer.group_send("all", {"type": "note"})
    await asyncio.sleep(5)
    print("went on")

factory = {"asyncio": None, "uvloop": uvloop.new_event_loop}[loop]
try:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
finally:
    task.cancelled() or task.exception()  # seen, as by a server
"""


@pytest.mark.parametrize(("source", "loop"), [("client", "asyncio"), ("layer", "uvloop")])
@pytest.mark.parametrize("exception", ["exit", "interrupt"])
def test_an_exit_and_an_interrupt_end_the_process(exception, source, loop):
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, exception, source, loop],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "went on" not in ended.stdout
    if exception == "exit":
        assert (ended.returncode, ended.stderr) == (3, "")
    else:
        assert ended.returncode != 0
        assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
    assert ended.stdout.count("disconnect") == 1


def test_these_tests_leave_no_layer_behind():
    assert get_channel_layer() is None
